"""Tables of other libraries: values are kept as they are."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from segue.data.readers.events import read_events
from segue.data.readers.formats.data_frames import read_data_frame

T0 = 1_700_000_000


def with_users(users: Any) -> pd.DataFrame:
    return pd.DataFrame({"user": users, "item": [f"i{k}" for k in range(len(users))], "time": T0})


@pytest.mark.parametrize(
    ("users", "ids"),
    [
        (pd.array([1, 2**53 + 1, None], dtype="Int64"), ["1", "9007199254740993"]),
        (pd.array(["1", None], dtype="string"), ["1"]),
        (pd.array(["1", "b"], dtype="string[pyarrow]"), ["1", "b"]),
        (pd.array([1, 2], dtype="int64[pyarrow]"), ["1", "2"]),
        (pd.Categorical(["x", "y"]), ["x", "y"]),
        (pd.Series(["x", np.nan, None], dtype=object), ["x"]),
        (pd.Series([np.int64(1), 2, np.int64(3)], dtype=object), ["1", "2", "3"]),
        (np.array([3.0, 4.0], dtype="float32"), ["3", "4"]),
        ([2**70, 2**70 + 1], ["1180591620717411303424", "1180591620717411303425"]),
    ],
)
def test_ids_of_every_pandas_type(users: Any, ids: list[str]) -> None:
    assert read_events(with_users(users)).frame["user_id"].to_list() == ids


def test_a_pandas_column_of_numbers_and_texts_does_not_merge_them() -> None:
    log = read_events(with_users(["1", 1, "2"]))
    assert log.frame["user_id"].to_list() == ["1", "2"]
    assert log.report.rejected == {"'user' is a number, and most rows have a text": 1}


@pytest.mark.parametrize(
    ("times", "hours"),
    [
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), 0),
        (pd.to_datetime(["2024-01-01", "2024-01-02"]).tz_localize("Asia/Shanghai"), -8),
        (pd.Series([dt.date(2024, 1, 1), dt.date(2024, 1, 2)]), 0),
        (pd.Series(["2024-01-01", "2024-01-02"]), 0),
    ],
)
def test_times_of_every_pandas_type(times: Any, hours: int) -> None:
    log = read_events(pd.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "time": times}))
    first = 1_704_067_200 + hours * 3600
    assert log.frame["timestamp"].to_list() == [first * 10**6, (first + 86_400) * 10**6]


def test_the_callers_pandas_table_is_left_alone() -> None:
    frame = with_users(["1", 1, None])
    before = frame.copy(deep=True)
    read_events(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_rows_count_from_one() -> None:
    assert read_data_frame(pl.DataFrame({"a": [5, 6]})).frame.rows() == [(1, 5), (2, 6)]


def test_from_frame_is_read_events() -> None:
    frame = pl.DataFrame({"shopper": ["u"], "item": ["a"], "time": [T0]})
    log = read_events(frame, columns={"user_id": "shopper"})
    assert log.frame.rows() == [("u", "a", T0 * 10**6)]


@pytest.mark.parametrize(
    ("source", "type_name"), [([1], "builtins.list"), (None, "builtins.NoneType"), (np.zeros(2), "numpy.ndarray")]
)
def test_anything_else_is_one_sentence(source: Any, type_name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^A log is read from a path or a Polars, pandas or Arrow table, not from {type_name}\.$"
    ):
        read_events(source)


DAYS = [dt.datetime(2024, 5, 1, 10), dt.datetime(2024, 5, 1, 11)]
EXPECTED = [1_714_557_600_000_000, 1_714_561_200_000_000]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        *((pd.Series(DAYS).astype(f"datetime64[{unit}]"), EXPECTED) for unit in ("s", "ms", "us", "ns")),
        *((pd.Series(DAYS).astype(f"timestamp[{unit}][pyarrow]"), EXPECTED) for unit in ("s", "ms", "us", "ns")),
        (pd.Series(DAYS).dt.tz_localize("Asia/Shanghai"), [time - 28_800_000_000 for time in EXPECTED]),
        (
            pd.Series(DAYS).astype("timestamp[us][pyarrow]").dt.tz_localize("Asia/Shanghai"),
            [time - 28_800_000_000 for time in EXPECTED],
        ),
        (pd.Series([day.date() for day in DAYS]), [1_714_521_600_000_000] * 2),
        (pd.Series([day.date() for day in DAYS]).astype("date32[day][pyarrow]"), [1_714_521_600_000_000] * 2),
        (
            pd.Series([pd.Timestamp(DAYS[0], tz="UTC"), pd.Timestamp(DAYS[1], tz="Asia/Tokyo")], dtype=object),
            [EXPECTED[0], EXPECTED[1] - 32_400_000_000],
        ),
        (pd.Series(["2024-05-01 10:00", "2024-05-01 11:00"], dtype="string"), EXPECTED),
        (pd.Series(["2024-05-01 10:00", "2024-05-01 11:00"]).astype("category"), EXPECTED),
        (pd.Series([1_714_557_600, 1_714_561_200], dtype="Int64"), EXPECTED),
        (pd.Series([b"2024-05-01 10:00", b"2024-05-01 11:00"]), EXPECTED),
        (pd.Series(pd.period_range("2024-05-01 10:00", periods=2, freq="h")), EXPECTED),
    ],
)
def test_date_times_of_every_precision_and_zone(times: pd.Series, expected: list[int]) -> None:
    table = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "time": times})
    assert read_events(table).frame["timestamp"].to_list() == expected
    table.loc[1, "time"] = None
    assert read_events(table).frame["timestamp"].to_list() == expected[:1]


@pytest.mark.parametrize(
    "times",
    [
        pd.Series(pd.period_range("2024-05-01", periods=2, freq="M")),
        pd.Series([1 + 2j, 2]),
        pd.Series([b"1", b"\xff"]),
        pd.Series([object(), object()]),
    ],
)
def test_columns_that_are_no_times_are_one_sentence(times: pd.Series) -> None:
    with pytest.raises(ValueError, match=r"^(Column 'time' [^\n]+|the table has no usable row[^\n]+)\.$"):
        read_events(pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "time": times}))


def test_two_columns_of_one_name_are_refused() -> None:
    table = pd.DataFrame({"user": ["a"], "item": ["x"], "time": [1]})
    with pytest.raises(ValueError, match=r"^The table has two columns named 'user': rename or drop one\.$"):
        read_events(pd.concat([table, table[["user"]]], axis=1))


def test_a_float_that_may_be_another_id_is_rejected() -> None:
    table = pd.DataFrame({"user": np.array([16_777_217, 5], dtype="float32"), "item": ["a", "b"], "time": [T0, T0]})
    log = read_events(table)
    assert log.frame["user_id"].to_list() == ["5"]
    assert log.report.rejected == {"user_id is not an exact whole number": 1}


@pytest.mark.parametrize(("role", "value"), [("event", [["a"], ["b"]]), ("rating", [[1], [2]])])
def test_lists_are_no_event_types_and_no_values(role: str, value: list[list[Any]]) -> None:
    with pytest.raises(ValueError, match=rf"^Column '{role}' holds List\(\w+\), so it cannot be the "):
        read_events(pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], role: value}))


@pytest.mark.parametrize("zone", [None, "Asia/Shanghai"])
def test_milliseconds_stay_beside_a_time_far_outside(zone):
    """A year beyond 294,000 fits no microseconds; the others keep theirs."""
    times = pd.Series(np.array([1_342_390_161_007, 2**62, -(2**63)]).astype("datetime64[ms]"))
    times = times if zone is None else times.dt.tz_localize("UTC").dt.tz_convert(zone)
    frame = read_data_frame(pd.DataFrame({"t": times})).frame
    assert frame["t"].dt.epoch("us").to_list() == [1_342_390_161_007_000, None, None]
