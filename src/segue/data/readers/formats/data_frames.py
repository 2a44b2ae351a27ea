"""Polars, pandas and Arrow tables as raw columns. Values are kept as they are, so that no two ids merge."""

from datetime import date
from typing import Any

import numpy as np

from segue.data.read_report import shorten_list
from segue.data.readers.formats.json_lines import MixedTypeColumn
from segue.data.readers.formats.raw_table import ROW, RawTable


def read_data_frame(source: Any) -> RawTable:
    """Read a Polars, pandas or Arrow table. Raises ValueError for any other object."""
    import polars as pl

    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return RawTable(source.with_row_index(ROW, offset=1))
    type_name = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    if type_name == "pandas.DataFrame":
        return _from_pandas(source)
    if type_name == "pyarrow.Table":
        table = pl.from_arrow(source)
        assert isinstance(table, pl.DataFrame)
        return RawTable(table.with_row_index(ROW, offset=1))
    raise ValueError(f"A log is read from a path or a Polars, pandas or Arrow table, not from {type_name}.")


def _from_pandas(source: Any) -> RawTable:
    """Read columns of Python objects value by value: they may mix 1 with "1", which are one text."""
    import polars as pl

    names = [str(name) for name in source.columns]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"The table has two columns named '{shorten_list(duplicates[:1])}': rename or drop one.")
    row_numbers = range(1, len(source) + 1)
    columns: dict[str, Any] = {ROW: pl.Series(row_numbers, dtype=pl.UInt32)}
    mixed_type_rows: dict[str, dict[int, str]] = {}
    for name in source.columns:
        values = _column_values(source[name])
        if isinstance(values, list):
            column = MixedTypeColumn()
            column.add(0, values)
            if column.is_mixed:
                mixed_type_rows[str(name)] = column.minority_reasons(str(name), row_numbers)
                values = column.to_series(len(values))
        columns[str(name)] = _series(str(name), values, str(source[name].dtype))
    return RawTable(pl.DataFrame(columns), mixed_type_rows=mixed_type_rows)


def _series(name: str, values: Any, dtype: str) -> Any:
    """Return a column as a Polars series. ValueError for values that it cannot hold."""
    import polars as pl

    try:
        return pl.Series(name, values, strict=False)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        cause = (str(error).splitlines() or ["unknown"])[0]
        raise ValueError(f"Column '{name}' ({dtype}) cannot be read: {cause}.") from None


def _column_values(column: Any) -> Any:
    """Return a numpy array for a plain type, else a list with None for missing values."""
    import polars as pl

    if column.dtype.kind == "M":  # values with a zone would arrive as Python objects
        arrow = getattr(column.dtype, "pyarrow_dtype", None)
        has_zone = getattr(column.dtype if arrow is None else arrow, "tz", None) is not None
        if has_zone:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        times = pl.Series(column.astype("datetime64[us]").to_numpy(dtype="datetime64[us]"))
        return times.dt.replace_time_zone("UTC") if has_zone else times
    if type(column.dtype).__module__.startswith("numpy") and column.dtype.kind in "iufb":
        return column.to_numpy()
    values = column.astype(object).where(column.notna(), None).tolist()
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if any(isinstance(value, date) for value in plain):  # date-times may have zones or not, each of its own
        return [value.isoformat() if isinstance(value, date) else value for value in plain]
    return plain
