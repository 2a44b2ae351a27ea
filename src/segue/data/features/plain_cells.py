"""Cells of feature columns as plain values: texts, numbers, truth values, times, and lists of them."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_PER_SECOND = {"ms": 1e3, "us": 1e6, "ns": 1e9}


def to_plain(column: "pl.Series") -> "pl.Series":
    """Return a column whose cells artifacts and encoders can hold.

    Durations become seconds, arrays lists, decimals in lists floats, and bytes text in UTF-8 (null: no such text).
    Other values, such as structs, become JSON text, in lists as well.

    Args:
        column: cells of any dtype.
    """
    import polars as pl

    dtype = column.dtype
    if isinstance(dtype, pl.Duration):
        return (column.to_physical().cast(pl.Float64) / _PER_SECOND[dtype.time_unit or "us"]).alias(column.name)
    if isinstance(dtype, pl.Array):
        column = column.arr.to_list()
        dtype = column.dtype
    if not isinstance(dtype, pl.List | pl.Struct | pl.Object | pl.Binary):
        return column
    if not isinstance(dtype, pl.List):
        return pl.Series(column.name, [_text(cell) for cell in cells_of(column)], dtype=pl.String)
    inner = dtype.inner
    if isinstance(inner, pl.Decimal):
        return column.cast(pl.List(pl.Float64))
    if inner.is_numeric() or inner in (pl.String, pl.Boolean):
        return column
    lists = [None if cell is None else [_text(part) for part in cell] for cell in cells_of(column)]
    return pl.Series(column.name, lists, dtype=pl.List(pl.String))


def cells_of(column: "pl.Series") -> list[Any]:
    """Return the cells of a column as Python values; None for a nested time that Python lacks.

    Args:
        column: cells of any dtype.
    """
    import polars as pl

    try:
        return column.to_list()
    except (OverflowError, ValueError, pl.exceptions.PanicException):
        half = len(column) // 2
        return cells_of(column[:half]) + cells_of(column[half:]) if half else [None]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
