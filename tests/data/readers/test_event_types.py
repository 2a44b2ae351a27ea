"""Event types of a log: rows of some types are kept, others are counted."""

import polars as pl
import pytest

from segue.data.readers.events import read_events

TABLE = pl.DataFrame(
    {
        "user": list("aabb"),
        "item": list("xyzx"),
        "time": [1_700_000_000 + i for i in range(4)],
        "行为": ["点击", " 购买", "退货", None],
    }
)


def test_rows_of_some_event_types_are_kept_and_the_others_counted() -> None:
    log = read_events(TABLE, events=["点击", "购买"])
    assert log.frame["item_id"].to_list() == ["x", "y"]
    assert (log.report.rows_read, log.report.filtered_out) == (4, 2)


def test_a_type_that_no_row_has_is_named() -> None:
    notes = read_events(TABLE, events=["点击", "buy"]).report.notes
    assert "No row is of the type buy. The types: 点击, 购买, 退货." in notes
    with pytest.raises(ValueError, match="no usable row"):
        read_events(TABLE, events=["buy"])


def test_types_need_their_column() -> None:
    with pytest.raises(ValueError, match=r"No column of this log is the event type, so only buy cannot be kept"):
        read_events(TABLE.drop("行为"), events=["buy"])
    with pytest.raises(ValueError, match="events is a list of event types"):
        read_events(TABLE, events="buy")
    nested = TABLE.with_columns(pl.Series("行为", [["a"]] * 4))
    with pytest.raises(ValueError, match="cannot be the event type, which is text"):
        read_events(nested, events=["a"])


def test_numbers_as_types() -> None:
    numbers = TABLE.with_columns(pl.Series("行为", [1, 2, 2, 3]))
    assert len(read_events(numbers, events=["2"])) == 2
