"""Server time of events: it never goes back, not even over a restart."""

import logging

import pytest

from segue.serving.schemas.requests import EventIn
from segue.serving.store import server_clock
from segue.serving.store.event import has_server_time, validate_event
from segue.serving.store.event_store import EventStore
from segue.serving.store.server_clock import ServerClock

YEAR_US = 365 * 86_400_000_000
NOW_US = 1_800_000_000_000_000


def send(store, item, now_us, **fields):
    """Store an event as the engine does, with the system's clock at a time."""
    store.clock.now_us = lambda: now_us
    event = validate_event(EventIn(item_id=item, user_id="ann", **fields), now_us, store.clock.stamp_us())
    store.append([[event]])
    return event


def items(store):
    return [row.event.item_id for row in store.newest("user_id", "ann", 99)]


@pytest.mark.parametrize("restart", [False, True])
def test_events_after_a_corrected_clock_follow_those_before(tmp_path, restart):
    store = EventStore(tmp_path / "log")
    send(store, "before", NOW_US)
    send(store, "ahead", NOW_US + YEAR_US)
    if restart:
        store.close()
        store = EventStore(tmp_path / "log")
    for n in range(3):
        send(store, f"after-{n}", NOW_US + n)
    assert items(store) == ["before", "ahead", "after-0", "after-1", "after-2"]
    assert store.clock.behind_us == YEAR_US - 2
    send(store, "caught-up", NOW_US + YEAR_US + 5)
    assert store.clock.behind_us == 0
    assert items(store)[-1] == "caught-up"
    store.close()


def test_a_clock_that_starts_in_1970_reorders_nothing(tmp_path):
    store = EventStore(tmp_path / "log")
    send(store, "before", NOW_US)
    store.close()
    store = EventStore(tmp_path / "log")
    send(store, "after", 0)
    assert items(store) == ["before", "after"]
    store.close()


def test_a_clients_time_does_not_move_the_servers(tmp_path):
    store = EventStore(tmp_path / "log")
    send(store, "own", NOW_US)
    for n in range(250):
        send(store, "clients", NOW_US, timestamp=NOW_US / 1e6 + 299, event_id=str(n))
    store.close()
    store = EventStore(tmp_path / "log")
    assert store.clock.behind_us == 0 or store.clock._newest_us == NOW_US
    assert send(store, "next", NOW_US + 7).time_us == NOW_US + 7
    store.close()


def test_a_future_timestamp_is_measured_by_the_systems_clock(tmp_path):
    """Not by the server time, which may be a year ahead."""
    store = EventStore(tmp_path / "log")
    send(store, "ahead", NOW_US + YEAR_US)
    with pytest.raises(ValueError, match="lies in the future"):
        send(store, "planted", NOW_US, timestamp=(NOW_US + YEAR_US) / 1e6)
    store.close()


@pytest.mark.parametrize("timestamp", [None, 5, "2020-01-01"])
def test_the_origin_of_a_time_is_known_from_the_row(timestamp):
    sent = EventIn(item_id="a", user_id="u", timestamp=timestamp, value=0.1, context={"z": 1.5, "a": [None]})
    assert has_server_time(validate_event(sent, NOW_US)) is (timestamp is None)


def test_a_clock_that_is_far_behind_is_reported_once(caplog, monkeypatch):
    times = iter([NOW_US, NOW_US - YEAR_US, NOW_US - YEAR_US, NOW_US, NOW_US - YEAR_US])
    clock = ServerClock(now_us=lambda: next(times))
    monkeypatch.setattr(server_clock, "_log", logging.getLogger("a test of the clock"))
    with caplog.at_level("WARNING", "a test of the clock"):
        assert [clock.stamp_us() for _ in range(5)] == [NOW_US] * 5
    assert [record.message for record in caplog.records] == [ServerClock.report(YEAR_US)] * 2


def test_the_sentence_about_a_clock_that_is_behind():
    assert ServerClock.report(2_000_999_999) == (
        "The clock is 2000 s behind the newest event, whose time it gave: events without a timestamp get that time "
        "until the clock catches up."
    )


def test_the_clock_is_reported_above_five_minutes(caplog, monkeypatch):
    times = iter([NOW_US, NOW_US - server_clock.BEHIND_US, NOW_US - server_clock.BEHIND_US - 1])
    clock = ServerClock(now_us=lambda: next(times))
    monkeypatch.setattr(server_clock, "_log", logging.getLogger("a test of the clock"))
    with caplog.at_level("WARNING", "a test of the clock"):
        clock.stamp_us()
        clock.stamp_us()
        assert caplog.records == []
        clock.stamp_us()
    assert [record.message for record in caplog.records] == [ServerClock.report(server_clock.BEHIND_US + 1)]


def test_a_time_of_before_does_not_move_the_clock():
    clock = ServerClock(7, lambda: 5)
    clock.advance(6)
    assert (clock.stamp_us(), clock.behind_us) == (7, 2)
    clock.advance(9)
    assert (clock.stamp_us(), clock.behind_us) == (9, 4)
    assert ServerClock(3, lambda: 5).behind_us == 0
