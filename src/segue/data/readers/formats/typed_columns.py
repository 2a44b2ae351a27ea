"""Columns of typed sources (Parquet, Arrow, data frames) in forms that every later step can convert.

Dates outside the years 1 to 9999 end later conversions in a panic of the library, and old writers store text as bytes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""Days since 1970 of 0001-01-01 and 9999-12-31."""
_UNITS_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000}


def settle_columns(frame: "pl.DataFrame") -> "tuple[pl.DataFrame, list[str]]":
    """Read dates outside the years 1 to 9999 as missing, and Python objects and bytes that are UTF-8 as text.

    Args:
        frame: columns of a source.

    Returns:
        The columns, and a sentence about each that has changed.
    """
    import polars as pl

    settled, notes = [], []
    for column in frame.get_columns():
        if column.dtype in (pl.Date, pl.Datetime):
            kept = _in_calendar(column)
            if count := kept.null_count() - column.null_count():
                settled.append(kept)
                notes.append(
                    f"{count:,} dates of column '{column.name}' lie outside the years 1 to 9999 and are read as "
                    "missing."
                )
        elif column.dtype == pl.Object:
            texts = [None if value is None else str(value) for value in column.to_list()]
            settled.append(pl.Series(column.name, texts, dtype=pl.String))
            notes.append(f"Column '{column.name}' holds Python objects, which are read as their text.")
        elif column.dtype == pl.Binary and column.null_count() < len(column):
            try:
                settled.append(column.cast(pl.String))
            except pl.exceptions.PolarsError:
                continue
            notes.append(f"Column '{column.name}' holds bytes, which are read as text in UTF-8.")
    return (frame.with_columns(settled) if settled else frame), notes


def _in_calendar(column: "pl.Series") -> "pl.Series":
    """Return dates or date-times with null for those outside the years 1 to 9999."""
    import polars as pl

    unit = getattr(column.dtype, "time_unit", None)
    if unit == "ns":  # 64 bits hold the years 1677 to 2262
        return column
    per_day = _UNITS_PER_DAY.get(str(unit), 1)
    margin = per_day if getattr(column.dtype, "time_zone", None) else 0  # the day of a zone may lie beyond the edge
    first, last = FIRST_DAY * per_day + margin, (LAST_DAY + 1) * per_day - 1 - margin
    inside = column.to_physical().cast(pl.Int64).is_between(first, last)
    return column if inside.fill_null(True).all() else pl.select(pl.when(inside).then(column)).to_series()
