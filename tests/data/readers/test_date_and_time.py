"""Timestamps in two columns."""

import datetime as dt

import polars as pl
import pytest

from segue.data.readers.events import read_events

TIMES = [1_714_557_600_000_000, 1_714_561_200_000_000]


def log(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"user": ["a", "a"], "item": ["x", "y"], **columns})


@pytest.mark.parametrize(
    "columns",
    [
        {"date": ["2024-05-01", "2024-05-01"], "time": ["10:00:00", "11:00"]},
        {"date": ["2024/5/1", "2024/5/1"], "time": ["10:00 ", "12:00+01"]},
        {"date": [dt.date(2024, 5, 1)] * 2, "time": [dt.time(10), dt.time(11)]},
        {"date": [dt.datetime(2024, 5, 1)] * 2, "time": ["10:00", "11:00"]},
        {"日期": ["2024年5月1日", "2024-05-01"], "时间": ["10:00", "11:00"]},
        {"日期": ["2024/5/1", "2024/5/1"], "时间": ["上午 10:00", "上午11:00:00"]},
        {"date": ["2024/5/1", "2024/5/1"], "time": ["10:00 AM", "11:00 am"]},
    ],
)
def test_a_date_and_a_time_of_day_are_read_together(columns: dict[str, list[object]]) -> None:
    read = read_events(log(**columns))
    assert read.frame["timestamp"].to_list() == TIMES
    date, time = columns
    assert f"Columns '{date}' and '{time}' are read together as timestamp." in read.report.notes


def test_named_columns_are_joined() -> None:
    table = log(d=["2024-05-01"] * 2, t=["10:00", "11:00"])
    assert read_events(table, columns={"timestamp": "d+t"}).frame["timestamp"].to_list() == TIMES
    with pytest.raises(
        ValueError, match=r"^The log has no column 'z' for timestamp=d\+z: write timestamp=DATE\+TIME\.$"
    ):
        read_events(table, columns={"timestamp": "d+z"})


def test_a_column_that_is_no_time_of_day_is_not_joined() -> None:
    table = log(date=["2024-05-01"] * 2, time=["1714557600", "1714561200"])
    assert read_events(table).frame["timestamp"].to_list() == TIMES
    dates = log(date=["2024-05-01"] * 2, hour=[10, 11])
    assert read_events(dates).frame["timestamp"].to_list() == [TIMES[0] - 36_000_000_000] * 2
