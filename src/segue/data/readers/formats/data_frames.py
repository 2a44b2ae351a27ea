"""Polars, pandas and Arrow tables as raw columns. Values are kept as they are, so that no two ids merge."""

from collections import Counter
from datetime import date
from typing import Any

import numpy as np

from segue.data.read_report import shorten_list
from segue.data.readers.formats.json_lines import MixedTypeColumn, to_text
from segue.data.readers.formats.raw_table import ROW, RawTable
from segue.data.readers.formats.typed_columns import settle_columns

_MOST_US = 2**43 * 1_000_000
"""Largest distance of a date-time from 1970 in microseconds; a later or earlier one is no timestamp."""


def read_data_frame(source: Any) -> RawTable:
    """Read a Polars, pandas or Arrow table. Raises ValueError for any other object."""
    import polars as pl

    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return _to_raw(source)
    type_name = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    if type_name == "pandas.DataFrame":
        return _from_pandas(source)
    if type_name == "pyarrow.Table":
        _refuse_duplicates(source.column_names)
        try:
            table = pl.from_arrow(source)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError) as error:
            raise ValueError(f"The Arrow table cannot be read: {_first_line(error)}.") from None
        assert isinstance(table, pl.DataFrame)
        return _to_raw(table)
    raise ValueError(f"A log is read from a path or a Polars, pandas or Arrow table, not from {type_name}.")


def _to_raw(frame: Any) -> RawTable:
    """Return a Polars table as raw columns."""
    if ROW in frame.columns:
        raise ValueError(f"The table has a column named '{ROW}', which Segue adds to it: rename or drop it.")
    frame, notes = settle_columns(frame)
    return RawTable(frame.with_row_index(ROW, offset=1), notes=notes)


def _refuse_duplicates(names: list[str]) -> None:
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise ValueError(f"The table has two columns named '{shorten_list(duplicates[:1])}': rename or drop one.")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["it is broken"])[0].removesuffix(".")


def _from_pandas(source: Any) -> RawTable:
    """Read columns of Python objects value by value: they may mix 1 with "1", which are one text."""
    import polars as pl

    _refuse_duplicates([str(name) for name in source.columns])
    row_numbers = range(1, len(source) + 1)
    columns: dict[str, Any] = {}
    mixed_type_rows: dict[str, dict[int, str]] = {}
    for name in source.columns:
        values = _column_values(source[name])
        if isinstance(values, list):
            column = MixedTypeColumn()
            column.add(0, values)
            if column.is_mixed:
                mixed_type_rows[str(name)] = column.minority_reasons(str(name), row_numbers)
                values = column.to_series(len(values))
        columns[str(name)] = _series(str(name), values)
    raw = _to_raw(pl.DataFrame(columns))
    raw.mixed_type_rows = mixed_type_rows
    return raw


def _series(name: str, values: Any) -> Any:
    """Return a column as a Polars series, or as texts where its values do not fit together."""
    import polars as pl

    try:
        series = pl.Series(name, values, strict=False)
        if "Object" not in str(series.dtype):
            return series
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError, OverflowError):
        pass
    return pl.Series(name, [None if value is None else to_text(value) for value in values], dtype=pl.String)


def _times(column: Any) -> Any:
    """Return date-times without a zone as a Polars series, in microseconds where these hold them."""
    import polars as pl

    try:
        return pl.Series(column.astype("datetime64[us]").to_numpy(dtype="datetime64[us]"))
    except (ValueError, OverflowError):  # a year beyond 294,000, in milliseconds or seconds
        numbers = column.to_numpy()
        unit_us = {"s": 1_000_000, "ms": 1000}[np.datetime_data(numbers.dtype)[0]]
        numbers, most = pl.Series(numbers.astype("int64")), _MOST_US // unit_us
        in_range = pl.select(pl.when(numbers.is_between(-most, most)).then(numbers * unit_us)).to_series()
        return in_range.cast(pl.Datetime("us"))


def _column_values(column: Any) -> Any:
    """Return a series or a numpy array for a column of one type, else a list with None for missing values."""
    import polars as pl

    if getattr(column.dtype, "pyarrow_dtype", None) is not None:
        return pl.Series(pl.from_arrow(column.array.__arrow_array__()))
    if column.dtype.kind == "M":  # values with a zone would arrive as Python objects
        has_zone = getattr(column.dtype, "tz", None) is not None
        if has_zone:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        times = _times(column)
        return times.dt.replace_time_zone("UTC") if has_zone else times
    if type(column.dtype).__module__.startswith("numpy") and column.dtype.kind in "iufb":
        return column.to_numpy()
    if column.dtype.kind == "f":  # nullable floats keep their width, which limits the ids that they can hold
        return column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=np.nan)
    values = column.astype(object).where(column.notna(), None).tolist()
    plain = [value.tolist() if isinstance(value, np.generic | np.ndarray) else value for value in values]
    if any(isinstance(value, date) for value in plain):  # date-times may have zones or not, each of its own
        return [value.isoformat() if isinstance(value, date) else value for value in plain]
    return plain
