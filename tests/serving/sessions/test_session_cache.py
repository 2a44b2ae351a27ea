"""Session cache: histories equal the log, whatever the order of arrival, evictions and restarts."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.config.history_events import HistoryEvents
from segue.data.catalog import PAD, Catalog
from segue.serving.config import SessionsConfig
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

CATALOG = Catalog("abcdef")


def names(sessions, value="ann", key="user_id"):
    return "".join("?" if item == PAD else CATALOG.ids[item - 1] for item in sessions.history((key, value)))


def test_an_event_updates_its_user_and_its_session(store, event):
    sessions = SessionCache(store, CATALOG)
    for item, fields in [("a", {}), ("b", {"session_id": "s"}), ("c", {"user": None, "session_id": "s"})]:
        sessions.add(store.append([[event(item, **fields)]])[1])
        sessions.history(("user_id", "ann")), sessions.history(("session_id", "s"))
    assert names(sessions) == "ab"
    assert names(sessions, "s", "session_id") == "bc"
    assert names(sessions, "ann", "session_id") == "", "a session of the user's name is somebody else"


def test_a_late_event_is_inserted_at_its_time(store, event):
    sessions = SessionCache(store, CATALOG)
    sessions.add(store.append([[event("c", timestamp=30)]])[1])
    assert names(sessions) == "c"
    for item, timestamp in (("a", 10), ("e", 30), ("b", 20)):
        sessions.add(store.append([[event(item, timestamp=timestamp)]])[1])
    assert names(sessions) == "abce"


def test_an_unknown_item_keeps_its_position_as_padding(store, event):
    sessions = SessionCache(store, CATALOG)
    sessions.add(store.append([[event("a"), event("zzz"), event("b")]])[1])
    assert names(sessions) == "a?b"


def test_memory_is_bounded_and_evicted_histories_are_read_again(store, event):
    sessions = SessionCache(store, CATALOG, SessionsConfig(max_length=3, max_histories=2))
    for user in "xyz":
        sessions.add(store.append([[event(item, user) for item in "abcd"]])[1])
        assert names(sessions, user) == "bcd"
    assert len(sessions) == 2
    sessions.add(store.append([[event("e", "x")]])[1])
    assert names(sessions, "x") == "cde"
    assert len(sessions) == 2


def test_unknown_users_take_no_memory(store):
    sessions = SessionCache(store, CATALOG)
    assert [names(sessions, str(number)) for number in range(100)] == [""] * 100
    assert len(sessions) == 0


def test_an_event_that_was_read_from_the_store_is_not_added_twice(store, event):
    """A request reads the store between a commit and its delivery to the cache."""
    sessions = SessionCache(store, CATALOG)
    stored = store.append([[event("a", timestamp=10), event("b", timestamp=10), event("c", timestamp=5)]])[1]
    assert names(sessions) == "cab"
    sessions.add(stored)
    assert names(sessions) == "cab"


@pytest.mark.parametrize("fields", [{"max_length": 0}, {"max_histories": 0}])
def test_session_settings_out_of_range_are_refused(fields):
    with pytest.raises(ValueError) as error:
        SessionsConfig(**fields)
    assert str(error.value) == f"{next(iter(fields))} must be at least 1, got 0."


STEP = st.tuples(st.sampled_from("abcdefz"), st.sampled_from("xyz"), st.integers(0, 6), st.sampled_from("xyz?"))


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, max_size=30), st.integers(1, 5), st.integers(1, 3))
def test_any_arrivals_and_evictions_equal_the_sorted_log(tmp_path_factory, event, steps, length, keys):
    """Naive: sort all events of a user by (time, arrival) and take the newest."""
    store = EventStore(tmp_path_factory.mktemp("log") / "log")
    sessions = SessionCache(store, CATALOG, SessionsConfig(max_length=length, max_histories=keys))
    log: dict[str, list[tuple[int, int, str]]] = {"x": [], "y": [], "z": []}
    for arrival, (item, user, second, requested) in enumerate(steps):
        sessions.add(store.append([[event(item, user, timestamp=second)]])[1])
        log[user].append((second, arrival, item.replace("z", "?")))
        if requested != "?":
            assert names(sessions, requested) == "".join(item for _, _, item in sorted(log[requested])[-length:])
            assert len(sessions) <= keys
    for user, events in log.items():
        assert names(sessions, user) == "".join(item for _, _, item in sorted(events)[-length:])
    store.close()


def test_an_acknowledged_event_is_in_every_later_history(store, event):
    """Eight threads write to one session while another key keeps evicting it; nothing is stale, nothing is lost."""
    sessions = SessionCache(store, CATALOG, SessionsConfig(max_length=1000, max_histories=1))
    writer = GroupCommitWriter(store, sessions.add)
    stale = []

    def send(name):
        for number in range(25):
            writer.submit([event("a", "shared", event_id=f"{name}-{number}", source=str(name))]).result(20)
            mine = sum(one.event.source == str(name) for one in store_view("shared"))
            if len(sessions.history(("user_id", "shared"))) < mine:
                stale.append((name, number))
            sessions.history(("user_id", f"other-{name}"))

    lock = threading.Lock()

    def store_view(user):
        with lock, sessions._lock:
            return store.newest("user_id", user, 1000)

    writer.submit([event("b", f"other-{name}") for name in range(8)]).result(20)
    threads = [threading.Thread(target=send, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert stale == []
    assert len(sessions.history(("user_id", "shared"))) == 200
    writer.close()


def test_times_and_items_are_in_the_same_order(store, event):
    sessions = SessionCache(store, CATALOG)
    sessions.add(store.append([[event("c", timestamp=30)]])[1])
    assert sessions.view(("user_id", "ann")).times == [30_000_000]
    sessions.add(store.append([[event("a", timestamp=10)]])[1])
    live = sessions.view(("user_id", "ann"))
    assert (live.items, live.times) == ([1, 3], [10_000_000, 30_000_000])
    assert sessions.view(("user_id", "nobody")).times == []


def test_events_of_other_types_do_not_enter_a_history(store, event):
    """The newest event of the right type counts, however many others came after it."""
    buys = HistoryEvents(("buy",))
    sessions = SessionCache(store, CATALOG, SessionsConfig(max_length=3), history_events=buys)
    assert names(sessions) == ""
    for item, kind in [("a", "buy"), ("b", "view"), ("c", "buy"), *[("d", "view")] * 9]:
        sessions.add(store.append([[event(item, event=kind)]])[1])
    again = SessionCache(store, CATALOG, SessionsConfig(max_length=3), history_events=buys)
    assert names(sessions) == names(again) == "ac"
    for item in "ef":
        stored = store.append([[event(item, event="buy")]])[1]
        sessions.add(stored), again.add(stored)
    assert names(sessions) == names(again) == "cef"
    assert names(SessionCache(store, CATALOG, SessionsConfig(max_length=3))) == "def"


def test_rules_on_event_types_read_all_events(store, event):
    sessions = SessionCache(store, CATALOG, history_events=HistoryEvents(("buy",)))
    sessions.keep_event_types()
    for item, kind in [("a", "buy"), ("b", "view")]:
        sessions.add(store.append([[event(item, event=kind)]])[1])
        view = sessions.view(("user_id", "ann"))
    assert view.items == [1] and view.types is None and view.seen == ([1, 2], ["buy", "view"])
    again = SessionCache(store, CATALOG, history_events=HistoryEvents(("buy",)))
    again.keep_event_types()
    assert again.view(("user_id", "ann")).seen == view.seen
    sessions.add(store.append([[event("zzz", event="view")]])[1])
    sessions.forget_unknown_items()
    assert ("user_id", "ann") not in sessions


def test_a_user_with_events_of_other_types_alone_is_read_once(store, event, monkeypatch):
    sessions = SessionCache(store, CATALOG, history_events=HistoryEvents(("buy",)))
    store.append([[event("a", event="view")]])
    assert names(sessions) == "" and len(sessions) == 1
    monkeypatch.setattr(store, "newest", None)
    assert names(sessions) == ""
    assert sessions.sample_keys(5) == []
