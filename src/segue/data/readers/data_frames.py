"""Tables of other libraries -> raw columns: values come over as they are, so that no two ids become one."""

from typing import Any

import numpy as np

from segue.data.readers.json_lines import MixedTypeColumn
from segue.data.readers.raw_table import ROW, RawTable


def read_data_frame(source: Any) -> RawTable:
    """A Polars, pandas or Arrow table; ValueError for anything else."""
    import polars as pl

    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return RawTable(source.with_row_index(ROW, offset=1))
    kind = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    if kind == "pandas.DataFrame":
        return _from_pandas(source)
    if kind == "pyarrow.Table":
        table = pl.from_arrow(source)
        assert isinstance(table, pl.DataFrame)
        return RawTable(table.with_row_index(ROW, offset=1))
    raise ValueError(f"A log is read from a path or a Polars, pandas or Arrow table, not from {kind}.")


def _from_pandas(source: Any) -> RawTable:
    """Columns of Python objects may mix 1 with "1", which would look alike as text."""
    import polars as pl

    places = range(1, len(source) + 1)
    columns: dict[str, Any] = {ROW: pl.Series(places, dtype=pl.UInt32)}
    mixed: dict[str, dict[int, str]] = {}
    for name in source.columns:
        values = _values(source[name])
        if isinstance(values, list):
            column = MixedTypeColumn()
            column.add(0, values)
            if column.mixed:
                mixed[str(name)] = column.odd(str(name), places)
                values = column.series(len(values))
        columns[str(name)] = values
    return RawTable(pl.DataFrame(columns, strict=False), mixed=mixed)


def _values(column: Any) -> Any:
    """A numpy array where the type is plain, else a list with None where a value is missing."""
    import polars as pl

    if column.dtype.kind == "M":  # a zone would come over as Python objects
        zoned = getattr(column.dtype, "tz", None) is not None
        if zoned:
            moments = pl.Series(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
            return moments.dt.replace_time_zone("UTC")
        return column.to_numpy()
    if type(column.dtype).__module__.startswith("numpy") and column.dtype.kind in "iufb":
        return column.to_numpy()
    plain = column.astype(object).where(column.notna(), None).tolist()
    return [value.item() if isinstance(value, np.generic) else value for value in plain]
