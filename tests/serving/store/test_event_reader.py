"""Event reader: limits and order of every query, and damaged rows that are left out, counted and logged once."""

import logging

import apsw
import pytest

from segue.serving.store import event_reader
from segue.serving.store.event_reader import EventReader, scan_events
from segue.serving.store.event_store import EventStore


@pytest.fixture
def filled(store, event):
    """Ten events: item a, b or c, of ann or of a session, with times that go back every third event."""
    users = ["ann", "bob", None]
    store.append(
        [
            [
                event("abc"[n % 3], users[n % 3], event_id=str(n), timestamp=10 - n % 3, session_id=f"s{n % 2}")
                for n in range(10)
            ]
        ]
    )
    return store


def seqs(stored):
    return [one.seq for one in stored]


def test_arrivals_after_a_time_and_a_number(filled):
    assert seqs(filled.events_after(0, 0, 99)) == list(range(1, 11))
    assert seqs(filled.events_after(0, 0, 3)) == [8, 9, 10], "the newest arrivals"
    assert seqs(filled.events_after(0, 7, 99)) == [8, 9, 10]
    assert seqs(filled.events_after(8_000_000, 0, 99)) == [1, 2, 4, 5, 7, 8, 10]
    assert seqs(filled.events_after(9_000_000, 4, 99)) == [7, 10]
    assert filled.events_after(10_000_000, 0, 99) == []


def test_intervals_of_arrivals(filled):
    assert [filled.seq_after(seq, count) for seq, count in [(0, 4), (4, 4), (8, 4), (9, 1), (10, 4)]] == [
        4, 8, 10, 10, None,
    ]  # fmt: skip
    assert seqs(filled.events_between(3, 6)) == [4, 5, 6]
    assert filled.events_between(6, 6) == []


def test_arrivals_of_items(filled):
    assert seqs(filled.newest_of_items(["a", "c", "zz"], 0, 99)) == [1, 3, 4, 6, 7, 9, 10]
    assert seqs(filled.newest_of_items(["a", "c"], 4, 2)) == [9, 10]
    assert seqs(filled.newest_of_items(["a"], 7, 9)) == [10]
    assert filled.newest_of_items([], 0, 99) == []
    assert filled.count_of_items(["a", "b", "zz"], 0) == {"a": 4, "b": 3}
    assert filled.count_of_items(["a", "b"], 8) == {"a": 1}


def test_users_and_sessions(filled, event):
    assert seqs(filled.user_events("ann")) == [1, 4, 7, 10]
    filled.append([[event("d", "ann", timestamp=1)]])
    assert seqs(filled.user_events("ann")) == [11, 1, 4, 7, 10], "by time, then by arrival"
    assert list(filled.user_events("nobody")) == []
    assert sorted(filled.user_ids()) == ["ann", "bob"]
    assert sorted(filled.session_ids()) == ["s0", "s1"]
    assert [filled.has_events_until("ann", time_us) for time_us in (999_999, 1_000_000)] == [False, True]
    assert not filled.has_events_until("nobody", 10**15)
    assert filled.rows("SELECT item_id FROM events WHERE seq = ?", (2,)) == [("b",)]
    assert filled.rows("SELECT count(*) FROM events") == [(11,)]


def damage(store, statement):
    other = apsw.Connection(str(store.path))
    other.execute(statement).fetchall()
    other.close()


def test_a_damaged_row_is_left_out_of_every_result(filled, monkeypatch, caplog):
    monkeypatch.setattr(event_reader, "_log", logging.getLogger("a test of the reader"))
    assert filled.num_left_out == 0
    damage(filled, "UPDATE events SET value = 5 WHERE seq IN (4, 7)")
    with caplog.at_level("ERROR", "a test of the reader"):
        for _ in range(2):
            assert seqs(filled.newest("user_id", "ann", 99)) == [1, 10]
            assert seqs(filled.user_events("ann")) == [1, 10]
            assert seqs(filled.newest_of_items(["a"], 0, 99)) == [1, 10]
            assert seqs(filled.events_between(3, 7)) == [5, 6]
            assert seqs(filled.events_after(0, 6, 99)) == [8, 9, 10]
    assert filled.num_left_out == 2
    assert [record.message for record in caplog.records] == [
        f"{filled.path} holds damaged rows, which are not served: a restart sets them aside."
    ]


def test_rows_that_are_no_text_are_left_out(filled):
    damage(filled, "UPDATE events SET item_id = CAST(x'ff' AS TEXT) WHERE seq IN (4, 10)")
    assert seqs(filled.newest("user_id", "ann", 99)) == [1, 7]
    assert seqs(filled.events_between(0, 99)) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert filled.num_left_out == 1, "their numbers cannot be read either"


def test_a_row_whose_index_names_another_user_is_left_out(filled):
    """A damaged index leads from one user to a row of another, whose checksum is right."""
    (row,) = filled.rows("SELECT * FROM events WHERE seq = 2")
    real = filled._query
    filled._query = lambda query, values=(): [*real(query, values), row]
    assert "bob" not in {one.event.user_id for one in filled.user_events("ann")}
    assert "bob" not in {one.event.user_id for one in filled.newest("user_id", "ann", 99)}


def test_the_count_of_damaged_rows_has_a_limit(filled, monkeypatch):
    monkeypatch.setattr(event_reader, "_MAX_COUNTED", 3)
    damage(filled, "UPDATE events SET value = 5")
    assert filled.events_between(0, 99) == []
    assert filled.num_left_out == 3


@pytest.mark.parametrize(("chunk", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (10_000, [10])])
def test_a_log_is_scanned_in_chunks(filled, chunk, sizes):
    parts = list(scan_events(filled.path, chunk))
    assert [len(part) for part in parts] == sizes
    assert seqs(row for part in parts for row in part) == list(range(1, 11))


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "unable to open database file"), (b"no database" * 99, "file is not a database")]
)
def test_a_file_that_is_no_log_is_one_sentence(tmp_path, content, reason):
    path = tmp_path / "log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        list(scan_events(path))
    assert str(error.value) == f"{path} cannot be read as an event log: {reason}."
    assert path.exists() is (content is not None), "a reader makes no file"


def test_a_reader_never_writes(tmp_path, event):
    EventStore(tmp_path / "log").close()
    reader = EventReader(str(tmp_path / "log"))
    with pytest.raises(apsw.ReadOnlyError):
        reader.connection.execute("DELETE FROM events").fetchall()
    reader.close()
    with pytest.raises(apsw.ConnectionClosedError):
        reader.count()
