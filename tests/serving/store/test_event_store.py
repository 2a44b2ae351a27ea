"""Event store: each event once, requests all or nothing, in order, and no damaged row is served."""

import re
import shutil
import subprocess
import sys

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.serving.exit_codes import TemporaryError
from segue.serving.schemas.problems import Problem
from segue.serving.store.event_store import AppendResult, EventStore, check_sqlite, import_events
from segue.serving.store.file_digest import remove_digest


def newest(store, value="ann", limit=100, key="user_id"):
    return [one.event.item_id for one in store.newest(key, value, limit)]


def test_a_resend_counts_once_and_a_changed_one_is_refused(store, event):
    first, again, changed = event(event_id="1"), event(event_id="1", now_us=5), event("b", event_id="1")
    other_source = event("b", event_id="1", source="app")
    outcomes, stored = store.append([[first], [again], [changed], [other_source]])
    assert [outcomes[0], outcomes[1], outcomes[3]] == [AppendResult(1, 0), AppendResult(0, 1), AppendResult(1, 0)]
    assert isinstance(outcomes[2], Problem)
    assert outcomes[2].status == 409
    assert outcomes[2].detail == (
        "Event '1' of source 'api' is already stored with another body; "
        "the first one stays, and nothing of this request was stored."
    )
    assert [one.seq for one in stored] == [1, 2]
    assert store.append([[event(event_id="1", now_us=9)]])[0] == [AppendResult(0, 1)], "also in a later transaction"


def test_a_request_is_stored_completely_or_not_at_all(store, event):
    store.append([[event("a", event_id="1")]])
    outcomes, stored = store.append([[event("x", event_id="2"), event("y", event_id="1")], [event("z", event_id="3")]])
    assert isinstance(outcomes[0], Problem)
    assert outcomes[1] == AppendResult(1, 0)
    assert [one.event.item_id for one in stored] == ["z"]
    assert newest(store) == ["a", "z"]


def test_one_request_may_repeat_itself_but_not_contradict_itself(store, event):
    same = event(event_id="1")
    outcomes, _ = store.append([[same, same], [event("x", event_id="2"), event("y", event_id="2")]])
    assert outcomes[0] == AppendResult(1, 1)
    assert isinstance(outcomes[1], Problem)
    assert store.count() == 1


def test_repeats_with_new_ids_are_all_kept(store, event):
    store.append([[event("a"), event("a"), event("a")]])
    assert newest(store) == ["a", "a", "a"]


def test_order_is_by_time_then_by_arrival(store, event):
    store.append([[event("c", timestamp=30)], [event("a", timestamp=10)], [event("b", timestamp=20)]])
    store.append([[event("d", timestamp=30), event("e", timestamp=30)]])
    assert newest(store) == ["a", "b", "c", "d", "e"]
    assert newest(store, limit=2) == ["d", "e"]


def test_users_and_sessions_are_apart(store, event):
    store.append([[event("a", "x"), event("b", None, session_id="x"), event("c", "x", session_id="x")]])
    assert newest(store, "x") == ["a", "c"]
    assert newest(store, "x", key="session_id") == ["b", "c"]


def test_every_field_is_read_as_it_was_stored(tmp_path, event):
    sent = event("é\u202e", "用户", session_id="'; --", value=0.1, context={"z": None, "a": True, "n": 2**60})
    first = EventStore(tmp_path / "log")
    first.append([[sent]])
    first.close()
    again = EventStore(tmp_path / "log")
    (one,) = again.newest("user_id", "用户", 5)
    assert (one.seq, one.event) == (1, sent)
    assert one.event.context == '{"a":true,"n":1152921504606846976,"z":null}'
    again.append([[event("b", "用户")]])
    assert [one.seq for one in again.newest("user_id", "用户", 5)] == [1, 2]
    again.close()


def tamper(path, statement, *values):
    connection = apsw.Connection(str(path))
    connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE events SET item_id = ? WHERE seq = 2", "z"),
        ("UPDATE events SET user_id = ? WHERE seq = 2", "bob"),
        ("UPDATE events SET time_us = ? WHERE seq = 2", 7),
        ("UPDATE events SET value = ? WHERE seq = 2", 0.5),
        ("UPDATE events SET body = ? WHERE seq = 2", b"0" * 16),
        ("UPDATE events SET seq = ? WHERE seq = 2", 9),
        ("UPDATE events SET item_id = CAST(? AS TEXT) WHERE seq = 2", b"\xff"),
        ("UPDATE events SET event_id = CAST(? AS TEXT) WHERE seq = 2", b"\xff"),
    ],
)
def test_a_damaged_row_is_moved_and_not_served(tmp_path, event, statement, value):
    path = tmp_path / "log"
    store = EventStore(path)
    store.append([[event("a", event_id="1"), event("b", event_id="2"), event("c", event_id="3")]])
    store.close()
    tamper(path, statement, value)
    store = EventStore(path)
    assert store.num_damaged == 1
    assert newest(store) == ["a", "c"]
    assert newest(store, "bob") == []
    outcomes, stored = store.append([[event("a", event_id="1"), event("b", event_id="2")]])
    assert outcomes == [AppendResult(1, 1)], "the healthy one is still known, the damaged one may be sent again"
    assert stored[0].seq >= 4, "a place in the log is never given twice"
    store.close()
    again = EventStore(path)
    assert again.num_damaged == 1
    assert newest(again) == ["a", "c", "b"]
    again.close()


def test_a_row_damaged_while_running_is_not_served(store, event):
    store.append([[event("a"), event("b")]])
    tamper(store.path, "UPDATE events SET item_id = 'z' WHERE seq = 1")
    assert newest(store) == ["b"]


def test_a_file_that_is_no_log_is_refused(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"no database, but long enough to have a header" * 100)
    with pytest.raises(ValueError) as error:
        EventStore(path)
    assert str(error.value) == (
        f"{path} is damaged beyond its rows (file is not a database): restore it from a backup."
    )


def test_a_directory_is_refused_as_a_log(tmp_path):
    with pytest.raises(ValueError) as error:
        EventStore(tmp_path)
    assert str(error.value) == (f"{tmp_path} cannot be opened as an event log: unable to open database file.")


def test_a_newer_format_is_refused(tmp_path, event):
    EventStore(tmp_path / "log").close()
    tamper(tmp_path / "log", "PRAGMA user_version = 2")
    with pytest.raises(ValueError) as error:
        EventStore(tmp_path / "log")
    assert str(error.value) == (f"{tmp_path / 'log'} has format 2; this version of Segue reads format 1: update Segue.")


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.9.0"])
def test_an_old_sqlite_is_refused(version):
    with pytest.raises(ValueError) as error:
        check_sqlite(version)
    assert str(error.value) == (
        f"SQLite {version} can corrupt its write-ahead log; Segue needs 3.51.3 or newer: update apsw."
    )


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "4.0.0"])
def test_a_sound_sqlite_is_accepted(version):
    check_sqlite(version)


def test_a_file_that_cannot_keep_a_write_ahead_log_is_refused():
    with pytest.raises(ValueError) as error:
        EventStore(":memory:")
    assert str(error.value) == (
        ":memory: cannot promise durable events: SQLite answered journal_mode memory, synchronous 2."
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=25))
def test_any_sends_and_restarts_equal_a_dict(tmp_path_factory, event, sends):
    """Send, resend, resend changed, restart, in any order: a dict holds the expected events."""
    path = tmp_path_factory.mktemp("log") / "log"
    store = EventStore(path)
    model: dict[str, str] = {}
    for number, item, restart in sends:
        sent = event("abc"[item], event_id=str(number))
        (outcome,), _ = store.append([[sent]])
        before = model.setdefault(str(number), "abc"[item])
        assert isinstance(outcome, Problem) == (before != "abc"[item])
        if restart:
            store.close()
            store = EventStore(path)
    assert sorted((one.event.event_id, one.event.item_id) for one in store.newest("user_id", "ann", 100)) == sorted(
        model.items()
    )
    store.close()


def test_a_commit_is_forced_to_disk_only_with_fsync(tmp_path, event):
    """Counts the calls that force a file to disk, with strace, in a process of its own."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace.")
    program = (
        "import sys; from segue.serving.store.event_store import EventStore\n"
        "from segue.serving.store.event import validate_event\n"
        "from segue.serving.schemas.requests import EventIn\n"
        "store = EventStore(sys.argv[1]); mark = lambda text: print(text, file=sys.stderr, flush=True)\n"
        "new = lambda n: validate_event(EventIn(item_id='a', user_id='u', event_id=n), 10**15)\n"
        "mark('LOOSE'); [store.append([[new(str(n))]], force=False) for n in range(5)]\n"
        "mark('AGAIN'); store.append([[new('0')]]); mark('FORCED'); store.append([[new('x')]]); mark('END')\n"
    )
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync,write", sys.executable, "-c", program]
    done = subprocess.run([*command, str(tmp_path / "log")], capture_output=True, text=True, timeout=60, check=True)
    parts = re.split(r"write\(2, \"(?:LOOSE|AGAIN|FORCED|END)", done.stderr)
    forced = [len(re.findall(r"f(?:data)?sync\(", part)) for part in parts[1:4]]
    assert forced[0] == 0
    assert forced[1] >= 1, "a duplicate of what was not forced yet is only acknowledged once it is"
    assert forced[2] >= 1


@pytest.mark.parametrize("was_killed", [False, True])
def test_opening_a_long_log_after_a_crash_verifies_its_newest_rows(tmp_path, event, monkeypatch, was_killed):
    """A log that changed while no server ran is checked completely, whatever its length."""
    path = tmp_path / "log"
    store = EventStore(path)
    store.append([[event(event_id=str(n)) for n in range(20)]])
    store.close()
    tamper(path, "UPDATE events SET item_id = 'other' WHERE seq IN (3, 18)")
    if was_killed:
        remove_digest(path)
    monkeypatch.setattr("segue.serving.store.event_store.CHECKED_ROWS", 5)
    again = EventStore(path)
    # the newest row's damage leads to a complete check
    assert again.num_damaged == 2 and again.completely_checked
    assert [one.seq for one in again.newest("user_id", "ann", 99)] == [n for n in range(1, 21) if n not in (3, 18)]
    again.close()


def test_many_threads_read_at_once(store, event):
    """A connection refuses a second thread ("busy in another thread"): readers must wait for each other."""
    from concurrent.futures import ThreadPoolExecutor

    store.append([[event("a", event_id=str(i), context={"x": "y" * 200}) for i in range(2_000)]])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(store.newest("user_id", "ann", 1_500)), range(40)))
    assert found == [1_500] * 40


def test_events_are_imported_in_chunks_and_counted(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.event_store._IMPORT_CHUNK", 2)
    store.append([[event(event_id="0")]])
    groups = []

    def without_bob(batches):
        groups.append([len(batch) for batch in batches])
        return [[one for one in batch if one.user_id != "bob"] for batch in batches]

    users = ["ann", "ann", "bob", "ann", "bob"]
    events = (event(user=user, event_id=str(n)) for n, user in enumerate(users))
    assert import_events(store, events, without_bob) == AppendResult(2, 1, 2)
    assert groups == [[2], [2], [1]]
    assert import_events(store, iter([])) == AppendResult(0, 0, 0)
    assert import_events(store, [event(event_id="5"), event(event_id="0")]) == AppendResult(1, 1)
    with pytest.raises(Problem, match="already stored with another body"):
        import_events(store, [event(event_id="6"), event(event_id="7"), event("b", event_id="0")])
    assert [one.event.event_id for one in store.events_between(0, 99)] == ["0", "1", "3", "5", "6", "7"]


def test_the_newest_number_is_that_of_the_newest_event(store, event):
    assert store.newest_seq == 0
    store.append([[event(), event()]])
    assert store.newest_seq == 2


def test_a_disk_that_is_full_at_a_start_may_pass(tmp_path, monkeypatch):
    def full(path):
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr("segue.serving.store.event_store.connect", full)
    with pytest.raises(TemporaryError) as error:
        EventStore(tmp_path / "log")
    assert str(error.value) == (f"{tmp_path / 'log'} cannot be opened: database or disk is full. Is the disk full?")


def test_the_newest_server_time_is_searched_in_steps(tmp_path, event, monkeypatch):
    """Also behind many events whose times their clients gave, but not without end."""
    monkeypatch.setattr("segue.serving.store.event_store._STAMPED_STEP", 3)
    monkeypatch.setattr("segue.serving.store.event_store._STAMPED_ROWS", 9)

    def newest_us(count):
        path = tmp_path / str(count)
        store = EventStore(path)
        store.append([[event(now_us=5_000_000), event(now_us=7_000_000)]])
        store.append([[event(timestamp=9) for _ in range(count)]])
        store.close()
        store = EventStore(path)
        store.close()
        return store.clock._newest_us

    assert [newest_us(count) for count in (0, 1, 2, 8)] == [7_000_000] * 4
    assert newest_us(20) == 0


def test_older_rows_of_a_long_log_are_left_to_the_background_check(tmp_path, event, monkeypatch):
    """After a crash only the newest ones are compared with their checksums at the start."""
    path = tmp_path / "log"
    store = EventStore(path)
    store.append([[event(event_id=str(n)) for n in range(20)]])
    store.close()
    tamper(path, "UPDATE events SET item_id = 'other' WHERE seq = 15")
    remove_digest(path)
    monkeypatch.setattr("segue.serving.store.event_store.CHECKED_ROWS", 5)
    again = EventStore(path)
    assert (again.num_damaged, again.completely_checked, again.notices) == (0, False, [])
    again.close()
    tamper(path, "UPDATE events SET item_id = 'other' WHERE seq = 16")
    remove_digest(path)
    again = EventStore(path)
    assert (again.num_damaged, again.completely_checked) == (2, True)
    again.close()


def test_the_mode_of_a_commit_is_set_where_it_changes_only(store, event):
    assert (store.unsynced, store._forced) == (False, True)
    for force in (False, False, True):
        store.append([[event()]], force=force)
        assert (store.unsynced, store._forced) == (not force, force)
