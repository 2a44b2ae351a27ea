"""Background check: damage anywhere in a log is repaired and reported, errors end nothing, a stop waits for nothing."""

import logging
import time

import apsw
import pytest

from segue.serving.store import background_check
from segue.serving.store.background_check import BackgroundCheck
from segue.serving.store.event_store import EventStore

LOGGER = "a test of the check"


@pytest.fixture
def log(tmp_path, event, monkeypatch):
    """Path of a log of ten events that is read three rows at a time, almost without a pause."""
    store = EventStore(tmp_path / "log")
    store.append([[event(event_id=str(n)) for n in range(10)]])
    store.close()
    monkeypatch.setattr(background_check, "_CHUNK_ROWS", 3)
    monkeypatch.setattr(background_check, "_PAUSE_S", 0.001)
    monkeypatch.setattr(background_check, "_log", logging.getLogger(LOGGER))
    return tmp_path / "log"


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "not in 20 seconds"
        time.sleep(0.005)


@pytest.mark.parametrize("seq", [1, 3, 4, 10])
def test_a_damaged_row_of_any_chunk_is_repaired_and_reported(log, caplog, seq):
    connection = apsw.Connection(str(log))
    connection.execute("UPDATE events SET value = 7 WHERE seq = ?", (seq,)).fetchall()
    connection.close()
    repairs = []
    with caplog.at_level("ERROR", LOGGER):
        check = BackgroundCheck(log, lambda: repairs.append(1), at_once=True)
        until(lambda: check.num_checks == 1)
        check.close()
    assert repairs == [1]
    assert [record.message for record in caplog.records if record.name == LOGGER] == [
        f"{log} was damaged: its indexes were built again from the sound rows."
    ]


def test_a_check_is_repeated_at_its_interval(log):
    check = BackgroundCheck(log, lambda: pytest.fail("the log is sound"), at_once=True, interval_s=0.01)
    until(lambda: check.num_checks >= 3)
    check.close()
    rare = BackgroundCheck(log, lambda: pytest.fail("the log is sound"), at_once=True, interval_s=60)
    until(lambda: rare.num_checks == 1)
    rare.close()
    assert rare.num_checks == 1


def test_the_first_check_may_wait(log, monkeypatch):
    check = BackgroundCheck(log, lambda: None, at_once=False)
    check.close()
    assert check.num_checks == 0, "a server that stops at once waits for no check"
    monkeypatch.setattr(background_check, "FIRST_S", 0.01)
    check = BackgroundCheck(log, lambda: None, at_once=False)
    until(lambda: check.num_checks == 1)
    check.close()


def test_an_error_is_reported_and_the_next_check_comes(tmp_path, log, caplog):
    missing = tmp_path / "missing"
    with caplog.at_level("ERROR", LOGGER):
        check = BackgroundCheck(missing, lambda: None, at_once=True, interval_s=0.01)
        until(lambda: len(caplog.records) >= 2)
        assert check.num_checks == 0
        log.rename(missing)
        until(lambda: check.num_checks == 1)
        check.close()
    assert caplog.records[0].message == (
        f"The check of {missing} failed with CantOpenError: unable to open database file"
    )


def test_a_stop_ends_a_check_under_way_without_a_repair(log, monkeypatch, caplog):
    """Between two chunks, and within a query."""
    monkeypatch.setattr(background_check, "_PAUSE_S", 60)
    check = BackgroundCheck(log, lambda: pytest.fail("the log is sound"), at_once=True)
    until(lambda: check._connection is not None)
    check.close()
    assert not check._thread.is_alive()
    assert check._connection is None

    def slow(connection, *, complete):
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        ).fetchall()
        return True

    monkeypatch.setattr(background_check, "is_sound", slow)
    with caplog.at_level("ERROR", LOGGER):
        check = BackgroundCheck(log, lambda: pytest.fail("the log is sound"), at_once=True)
        until(lambda: check._connection is not None)
        time.sleep(0.02)
        check.close()
    assert not check._thread.is_alive()
    assert (check.num_checks, caplog.records) == (0, [])


def test_the_whole_log_is_compared_with_its_indexes(log, monkeypatch):
    complete = []
    monkeypatch.setattr(background_check, "is_sound", lambda connection, **options: (complete.append(options), True)[1])
    check = BackgroundCheck(log, lambda: None, at_once=True)
    until(lambda: check.num_checks == 1)
    check.close()
    assert complete == [{"complete": True}]


def test_the_thread_has_a_name_and_does_not_keep_a_process(log):
    check = BackgroundCheck(log, lambda: None, at_once=False)
    assert (check._thread.name, check._thread.daemon, check._interval_s) == ("segue-log-check", True, 86_400.0)
    check.close()
