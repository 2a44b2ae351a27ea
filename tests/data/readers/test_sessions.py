"""Sessions of a log: blanks, guests, and session ids that users share."""

import polars as pl
import pytest

from segue.data.readers.events import read_events

ROWS = {
    "user": ["a", "b", "a", "b"],
    "item": ["w", "x", "y", "z"],
    "time": [1_600_000_000 + i for i in range(4)],
}


def test_a_guessed_session_column_with_blanks_takes_no_row_away() -> None:
    table = pl.DataFrame({**ROWS, "order_id": ["1", None, None, None]})
    log = read_events(table)
    assert len(log) == 4
    assert "session_id" not in log.report.columns
    assert log.report.notes[-2] == (
        "Column 'order_id' is blank in 3 rows and is not read as session_id; if it is, name it: session_id=order_id."
    )
    named = read_events(table, columns={"session_id": "order_id"}, allow_loss=True)
    assert named.report.rejected == {"session_id is missing": 3}


def test_a_role_is_declined() -> None:
    table = pl.DataFrame({**ROWS, "session": ["1", "2", "1", "2"], "type": ["view"] * 4})
    log = read_events(table, columns={"session_id": "none", "event": "none"})
    assert set(log.report.columns) == {"user_id", "item_id", "timestamp"}
    with pytest.raises(ValueError, match=r"^No column of this log looks like item_id"):
        read_events(table, columns={"item_id": "none"})


def test_guests_are_users_of_one_session() -> None:
    table = pl.DataFrame({**ROWS, "user": ["a", None, "a", ""], "session": ["1", "2", "1", "3"]})
    log = read_events(table)
    assert log.frame["user_id"].to_list() == ["a", "session:2", "a", "session:3"]
    assert "2 rows have a session but no user; each such session counts as a user." in log.report.notes
    lost = read_events(table, columns={"session_id": "none"})
    assert lost.report.rejected == {"user_id is missing": 2}


def test_a_counter_of_each_users_sessions_is_no_key() -> None:
    table = pl.DataFrame({**ROWS, "session": [1, 1, 1, 2]})
    log = read_events(table)
    assert log.frame["session_id"].to_list() == ["a/1", "b/1", "a/1", "2"]
    assert log.report.warnings == ("1 of 2 session ids are shared by users; each user's part is a session of its own.",)
