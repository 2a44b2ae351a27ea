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
