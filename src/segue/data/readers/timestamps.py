"""Columns of times as int64 UTC microseconds. An invalid time becomes null; guesses are reported."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
US_PER_UNIT = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
LATEST_US = 7_258_118_400_000_000
"""Year 2200: later times, and times before 1970, are faults of the log."""
FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")


def to_microseconds(
    column: "pl.Series", unit: TimeUnit = "auto", pattern: str | None = None
) -> "tuple[pl.Series, str]":
    """Convert a column of times to UTC microseconds.

    Numbers, also as text, are epoch counts. Text may be ISO 8601 with or without a zone, or a date; without a zone it
    is read as UTC.

    Args:
        column: numbers, text, dates or date-times.
        unit: unit of numbers; "auto": guessed by size.
        pattern: format of other text in chrono syntax, such as ``%d/%m/%Y %H:%M``; None: ISO 8601.

    Returns:
        int64 with null for invalid times, and a sentence about the guess.

    Raises:
        ValueError: the column has another type.
    """
    import polars as pl

    if column.dtype in (pl.Date, pl.Datetime):
        return _from_temporal(column)
    if column.dtype.is_numeric():
        return _from_numbers(column, unit)
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise ValueError(
            f"Column '{column.name}' holds {column.dtype}, so it cannot be the timestamp: times are numbers, text, "
            "dates or date-times."
        )
    text = column.cast(pl.String)
    if text.str.contains(r"^\s|\s$").any():
        text = text.str.strip_chars()
    if pattern is not None:
        parsed = text.str.to_datetime(pattern, time_unit="us", strict=False)
        if parsed.dtype.time_zone is not None:  # type: ignore[attr-defined]
            parsed = parsed.dt.convert_time_zone("UTC")
        return parsed.cast(pl.Int64), f"Times are read as '{pattern}'."
    whole = text.cast(pl.Int64, strict=False)
    numbers = whole if whole.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)
    if numbers.is_not_null().sum() * 2 > text.is_not_null().sum():
        return _from_numbers(whole if whole.null_count() == numbers.null_count() else numbers, unit)
    return _from_text(text)


def _from_temporal(column: "pl.Series") -> "tuple[pl.Series, str]":
    import polars as pl

    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")).cast(pl.Int64), "Times are dates; each is read as midnight UTC."
    zone = getattr(column.dtype, "time_zone", None)
    column = column.dt.convert_time_zone("UTC") if zone else column
    note = "Times are date-times." if zone else "Times are date-times without a zone, read as UTC."
    return column.cast(pl.Datetime("us", "UTC" if zone else None)).cast(pl.Int64), note


def _from_numbers(column: "pl.Series", unit: TimeUnit) -> "tuple[pl.Series, str]":
    """Convert epoch counts. Seconds as floats keep their microseconds: 1e9 * 1e6 is below 2**53."""
    import polars as pl

    note = f"Times are epoch {unit}, as given."
    if unit == "auto":
        numbers = column.cast(pl.Float64)
        numbers = numbers.filter(numbers.is_finite())
        median = abs(float(numbers.quantile(0.5, "lower") or 0.0))
        unit = "s" if median < 1e11 else "ms" if median < 1e14 else "us" if median < 1e17 else "ns"
        note = f"Times are read as epoch {unit}, guessed from their size."
    if column.dtype.is_integer() and unit != "ns":
        wide = column.cast(pl.Int64, strict=False)
        bound = LATEST_US // int(US_PER_UNIT[unit])
        scaled = pl.select(pl.when(wide.abs() <= bound).then(wide * int(US_PER_UNIT[unit]))).to_series()
        return scaled, note
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False) // 1000, note
    times_us = (column.cast(pl.Float64) * US_PER_UNIT[unit]).round()
    in_range = times_us.is_finite() & (times_us.abs() <= 2 * LATEST_US)
    times_us = pl.select(pl.when(in_range).then(times_us)).to_series()
    return times_us.cast(pl.Int64), note


def _from_text(text: "pl.Series") -> "tuple[pl.Series, str]":
    """Convert ISO 8601 text, also with a space for its T and UTC for its Z: with a zone, without, and dates."""
    import polars as pl

    iso = text.str.replace(" ", "T", literal=True).str.replace("(Z|T?UTC)$", "+00:00")
    frame = pl.DataFrame({"text": iso})
    zoned = [
        pl.col("text")
        .str.to_datetime(format + "%z", time_unit="us", strict=False)
        .dt.convert_time_zone("UTC")
        .cast(pl.Int64)
        for format in FORMATS
    ]
    naive = [pl.col("text").str.to_datetime(format, time_unit="us", strict=False).cast(pl.Int64) for format in FORMATS]
    dates = pl.col("text").str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).cast(pl.Int64)
    parsed = frame.select(pl.coalesce(*zoned).alias("zoned"), pl.coalesce(*naive, dates).alias("naive"))
    with_zone = int(parsed["zoned"].is_not_null().sum())
    note = "Times are ISO 8601 text."
    if with_zone < len(text):
        note = "Times are ISO 8601 text without a zone, read as UTC."
    return parsed.select(pl.coalesce("zoned", "naive")).to_series(), note
