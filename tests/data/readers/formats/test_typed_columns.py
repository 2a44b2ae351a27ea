"""Columns of typed sources: dates beyond the calendar, bytes and Python objects end in no panic of the library."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue.data.readers.events import read_events
from segue.data.readers.formats.typed_columns import settle_columns
from segue.data.readers.items import read_items

T0 = 1_700_000_000
NO_TIME = "timestamp is missing or no time between 1970 and 2200"


def log_with(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"user": ["a", "b", "c"], "item": ["x", "y", "z"], "time": [T0, T0 + 1, T0 + 2]} | columns)


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([20_000, 2**31 - 1, -(2**31)], dtype=pl.Int32).cast(pl.Date),
        pl.Series([T0 * 1000, 2**62, -(2**62)]).cast(pl.Datetime("ms")),
        pl.Series([T0 * 1000, 2**62, -(2**62)]).cast(pl.Datetime("ms", "Asia/Shanghai")),
        pl.Series([T0 * 10**6, 2**63 - 1, -(2**63)]).cast(pl.Datetime("us", "America/New_York")),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".parquet", ".arrow"])
def test_times_beyond_the_calendar_are_rejected_rows(times: pl.Series, suffix: str, tmp_path: Path) -> None:
    frame = log_with(time=times, seen=times)
    path = tmp_path / f"log{suffix}"
    if suffix:
        frame.write_parquet(path) if suffix == ".parquet" else frame.write_ipc(path)
    log = read_events(path if suffix else frame, allow_loss=True, rejected=tmp_path / "rejected.csv")
    assert log.frame["user_id"].to_list() == ["a"] and log.report.rejected == {NO_TIME: 2}
    note = "2 dates of column 'seen' lie outside the years 1 to 9999 and are read as missing."
    assert note in log.report.notes


def test_the_edges_of_the_calendar_stay() -> None:
    days = pl.Series("day", [dt.date(1, 1, 1), dt.date(9999, 12, 31), None])
    times = pl.Series("time", [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59), None])
    frame = pl.DataFrame([days, times, times.dt.cast_time_unit("ms").alias("ms")])
    settled, notes = settle_columns(frame)
    assert settled.equals(frame) and notes == []


def test_the_smallest_number_is_no_time() -> None:
    log = read_events(log_with(time=[-(2**63), T0, 2**63 - 1]), time_unit="s", allow_loss=True)
    assert log.frame["user_id"].to_list() == ["b"]
    for unit in ("s", "ms"):
        times = np.array([T0 if unit == "s" else T0 * 1000, 2**53, -(2**63)]).view(f"datetime64[{unit}]")
        pandas = log_with().to_pandas().assign(time=times)
        assert read_events(pandas, allow_loss=True).frame["user_id"].to_list() == ["a"]


def test_bytes_that_are_text_are_ids() -> None:
    """Old writers of Parquet store text without its type."""
    table = pa.table({"user": [b"a", b"b"], "item": ["x", "y"], "time": [T0, T0], "raw": [b"\xff", b"x"]})
    log = read_events(table)
    assert log.frame["user_id"].to_list() == ["a", "b"] and log.frame["raw"].dtype == pl.Binary
    assert "Column 'user' holds bytes, which are read as text in UTF-8." in log.report.notes
    with pytest.raises(ValueError, match=r"^Column 'user' holds Binary, so it cannot be user_id: "):
        read_events(table.set_column(0, "user", pa.array([b"\xff", b"b"])))
    for dtype in ("Binary", r"Duration\(.*\)"):
        kinds = pl.Series([b"\xff"] * 3) if dtype == "Binary" else pl.Series([dt.timedelta(1)] * 3)
        with pytest.raises(ValueError, match=rf"^Column 'event' holds {dtype}, so it cannot be the event type"):
            read_events(log_with(event=kinds))


def test_python_objects_are_read_as_their_text() -> None:
    frame = log_with(user=pl.Series([1j, None, 2j], dtype=pl.Object))
    log = read_events(frame, allow_loss=True)
    assert log.frame["user_id"].to_list() == ["1j", "2j"]
    assert "Column 'user' holds Python objects, which are read as their text." in log.report.notes


def test_a_condition_on_any_type_is_an_answer_or_a_sentence() -> None:
    frame = log_with(
        span=pl.Series([1, 2, 3]).cast(pl.Duration("ms")),
        raw=pl.Series([b"\xff", b"a", None], dtype=pl.Binary),
        nested=[{"a": 1}, None, {"a": 2}],
        pairs=[[{"a": 1}], [], None],
    )
    for where, users in (
        ("span > 0.0015", ["b", "c"]),
        ('raw == "a"', ["b"]),
        ("nested is missing", ["b"]),
        ("nested == '{\"a\": 1}'", ["a"]),
        ("'{\"a\": 1}' in pairs", ["a"]),
    ):
        assert read_events(frame, where=where).frame["user_id"].to_list() == users, where


def test_tables_that_arrow_holds_and_polars_does_not_are_one_sentence() -> None:
    column = pa.array([1, 2], pa.int32())
    table = pa.table([column, column, column], names=["user", "item", "user"])
    with pytest.raises(ValueError, match=r"^The table has two columns named 'user': rename or drop one\.$"):
        read_events(table)
    months = pa.array([pa.scalar((1, 2, 3), pa.month_day_nano_interval())] * 2)
    with pytest.raises(ValueError, match=r"^The Arrow table cannot be read: .*\.$"):
        read_events(pa.table({"user": ["a", "b"], "item": ["x", "y"], "span": months}))
    with pytest.raises(ValueError, match=r"^The table has a column named '__row__', which Segue adds to it"):
        read_events(log_with(__row__=[1, 2, 3]))


@pytest.mark.parametrize("dtype", ["Float32", "float[pyarrow]", "halffloat[pyarrow]"])
def test_a_narrow_float_that_may_be_another_id_is_rejected(dtype: str) -> None:
    first = 2.0**11 if dtype == "halffloat[pyarrow]" else 2.0**24
    users = pd.Series([first, first - 1, None]).astype(dtype)
    log = read_events(log_with().to_pandas().assign(user=users), allow_loss=True)
    assert log.frame["user_id"].to_list() == [str(int(first - 1))]
    assert log.report.rejected == {"user_id is not an exact whole number": 1, "user_id is missing": 1}


def test_cells_of_pandas_that_do_not_fit_together_are_text() -> None:
    tags = pd.Series([[dt.date(2024, 1, 1)], None, {"a": np.array([1])}], dtype=object)
    log = read_events(log_with().to_pandas().assign(tags=tags))
    assert log.frame["tags"].to_list() == ['["2024-01-01"]', None, '{"a": "[1]"}']


def test_a_dictionary_with_more_values_than_rows_is_no_damage(tmp_path: Path) -> None:
    """pandas keeps all categories of a column, also in one day of a log."""
    table = pd.DataFrame({"user": pd.Categorical([f"u{i}" for i in range(100)]), "item": "x", "time": T0})
    path = tmp_path / "day.parquet"
    pq.write_table(pa.Table.from_pandas(table.head(3)), path)
    assert read_events(path).frame["user_id"].to_list() == ["u0", "u1", "u2"]


def test_the_names_of_very_many_columns_are_checked_once(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    names = [f"c{i}" for i in range(10_000)]
    path.write_text(",".join(["user", "item", "time", *names]) + f"\na,x,{T0}" + ",1" * len(names) + "\n")
    assert len(read_events(path)) == 1
    path.write_text(",".join(["user", "item", "time", *names, "c7"]) + "\n")
    with pytest.raises(ValueError, match=r"has two columns named 'c7'; rename one in its first line\.$"):
        read_events(path)


def test_lines_with_an_invalid_item_are_counted_whole(tmp_path: Path) -> None:
    path = tmp_path / "items.txt"
    path.write_text("a b\x1fc\nd\n")
    table = read_items(path, format="sessions", allow_loss=True)
    assert table.ids == ["d"]
    assert "1 rows of the items table rejected: another event of the line is invalid." in table.notes
