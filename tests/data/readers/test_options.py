"""Invalid options, and the sentences of a report."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segue.data.read_report import ReadReport
from segue.data.readers.events import read_events
from segue.data.readers.options import ReadOptions

FRAME = pl.DataFrame({"user": ["u", "", "v"], "item": ["a", "b", "c"], "time": [1, 2, 3], "price": ["5", "7", "9"]})


def test_the_report_in_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    FRAME.write_csv(path)
    log = read_events(path, where="price < 8", rejected=str(tmp_path / "bad.csv"))
    assert log.report.lines() == [
        f"{path}: 3 rows read as csv, 1 events kept.",
        "Column 'user' is read as user_id.",
        "Column 'item' is read as item_id.",
        "Column 'time' is read as timestamp.",
        "Times are read as epoch s, guessed from their size.",
        "All times lie before 1990: are they of another unit or form? See time_unit and time_format.",
        "1 rows filtered out by the condition.",
        "1 rows rejected: user_id is missing.",
        f"The rejected rows are in {tmp_path / 'bad.csv'}.",
        f"WARNING: 1 of 2 rows (50.0%) of {path} are lost: user_id is missing (1).",
    ]
    assert log.report.columns == {"user_id": "user", "item_id": "item", "timestamp": "time"}


def test_the_steps_after_reading_are_noted() -> None:
    report = ReadReport("x", "csv", {}, ("one",), 10, {})
    after = report.with_note("two", removed=3, reason="too old").with_note(removed=1, reason="too old").with_note()
    assert after.notes == ("one", "two")
    assert after.removed == {"too old": 4}
    assert (report.kept, after.kept) == (10, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"time_unit": "h"},
            r"^There is no unit of time 'h'\. Known units: auto, s, ms, us, ns; for times that are text, give "
            r"time_format\.$",
        ),
        (
            {"rejected": "/no/such/bad.csv"},
            r"^The rejected rows cannot be written to /no/such/bad\.csv: there is no such folder\.$",
        ),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadOptions(**options)


def test_a_misspelled_option_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Unknown setting 'stict'\. Did you mean 'strict'\?$"):
        read_events(FRAME, stict=True)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("price", r"^Column 'price' holds text: compare it, for example price is not missing\.\n  price\n  \^{5}$"),
        ("max(time) > 0", r"^'\(' does not belong here: a filter calls no functions\.\n"),
        ("nope > 3", r"^The log has no column 'nope'\. Its columns: user, item, time, price\.\n"),
        ("", r"^The filter ends where a column or a value must stand\.\n"),
        (
            "time > 5",
            r"^the table has no usable row; 3 were read\. 3 were filtered out by the condition\.$",
        ),
    ],
)
def test_conditions_that_cannot_be(condition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_events(FRAME, where=condition)


def test_a_condition_on_a_text_file_compares_numbers_but_ids_as_texts(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time,price\nu,01,1,10\nu,1,2,9\nu,01,3,-1\n")
    log = read_events(path, where="price > 2 and item == '01'")
    assert log.frame.select("item_id", "price").rows() == [("01", "10")]
    assert len(read_events(path, where="9 <= price <= 10")) == 2


def test_times_of_another_form_get_a_hint() -> None:
    frame = pl.DataFrame({"user": ["u"], "item": ["a"], "time": ["1/12/2010 8:26"]})
    with pytest.raises(
        ValueError,
        match=r"The first: timestamp is missing or no time between 1970 and 2200 \(row 1\)\. Times of another form are "
        r"read with time_format, for example %d/%m/%Y %H:%M\.$",
    ):
        read_events(frame)
