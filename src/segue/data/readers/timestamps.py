"""Columns of times as int64 UTC microseconds. An invalid time becomes null; guesses are reported."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from segue.data.readers.timestamp_text import parse_texts
from segue.data.time_units import DAY_US

if TYPE_CHECKING:
    import polars as pl

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
US_PER_UNIT = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
LARGEST_OF_UNIT = {"s": 1e11, "ms": 1e14, "us": 1e17}
"""Numbers from here on have a smaller unit: 1e11 seconds is the year 5138."""
LATEST_US = 7_258_118_400_000_000
"""Year 2200: later times, and times before 1970, are faults of the log."""
EARLY_US = 631_152_000_000_000
"""Year 1990: a log whose times all lie before it is probably read with a wrong unit."""
EXCEL_EPOCH_US = -25_569 * DAY_US
"""Day 0 of a spreadsheet, 1899-12-30."""
EXCEL_DAYS = (36_526, 73_050)
"""Spreadsheet days of the years 2000 and 2100."""
_MARGIN_US = 3_650 * DAY_US
_CALENDAR_DIGITS = {8: "YYYYMMDD", 12: "YYYYMMDDHHMM", 14: "YYYYMMDDHHMMSS"}


@dataclass(frozen=True)
class TimeForm:
    """Form of a log's times, for conditions that compare a column with a time."""

    column: str | None = None
    """Column of the timestamps; None: no such column."""
    unit: TimeUnit = "auto"
    pattern: str | None = None
    zone: str = "UTC"

    def times_us(self, column: "pl.Series") -> "pl.Series | None":
        """Return a column as int64 UTC microseconds, null for a cell that is no time; None for other columns.

        Other columns than that of the timestamps hold times if they are texts and each one is a time.

        Args:
            column: a column of the log.
        """
        import polars as pl

        if column.name == self.column:
            return to_microseconds(column, self.unit, self.pattern, self.zone)[0]
        if column.dtype != pl.String or column.null_count() == len(column):
            return None
        times_us = _to_utc_texts(column.str.strip_chars(), self.zone)
        return None if times_us.null_count() > column.null_count() else times_us

    def parse(self, text: str) -> int | None:
        """Return a time with the year first, from 1970 on, in UTC microseconds; None for another text."""
        import polars as pl

        time_us = _to_utc_texts(pl.Series([text.strip()]), self.zone)[0]
        return None if time_us is None or time_us < 0 else int(time_us)


def _to_utc_texts(text: "pl.Series", zone: str) -> "pl.Series":
    import polars as pl

    times_us, zoned = parse_texts(text)
    return pl.select(pl.when(zoned).then(times_us).otherwise(_to_utc(times_us, zone))).to_series()


def to_microseconds(
    column: "pl.Series", unit: TimeUnit = "auto", pattern: str | None = None, zone: str = "UTC"
) -> "tuple[pl.Series, list[str]]":
    """Convert a column of times to UTC microseconds.

    Numbers, also as text, are epoch counts, calendar digits (``20240501``) or days of a spreadsheet. Text is a date and
    time of day with the year first (see ``timestamp_text``).

    Args:
        column: numbers, text, dates or date-times.
        unit: unit of numbers; "auto": guessed by size, each number by its own.
        pattern: format of other text in chrono syntax, such as ``%d/%m/%Y %H:%M``; None: year first.
        zone: IANA name of the zone of times that name none.

    Returns:
        int64 with null for invalid times, and sentences about the guesses.

    Raises:
        ValueError: the column has another type.
    """
    import polars as pl

    if column.dtype.is_numeric() and pattern is not None:
        column = column.cast(pl.Int64, strict=False).cast(pl.String)
    if column.dtype in (pl.Date, pl.Datetime):
        times_us, notes = _from_temporal(column, zone)
    elif column.dtype.is_numeric():
        times_us, notes = _from_numbers(column, unit, zone)
    elif column.dtype in (pl.String, pl.Categorical, pl.Enum):
        times_us, notes = _from_text(column.cast(pl.String), unit, pattern, zone)
    else:
        raise ValueError(
            f"Column '{column.name}' holds {column.dtype}, so it cannot be the timestamp: times are numbers, text, "
            "dates or date-times."
        )
    return times_us, notes + _early_note(times_us)


def _early_note(times_us: "pl.Series") -> list[str]:
    latest = times_us.max()
    if not isinstance(latest, int) or not 0 < latest < EARLY_US:
        return []
    return ["All times lie before 1990: are they of another unit or form? See time_unit and time_format."]


def _from_temporal(column: "pl.Series", zone: str) -> "tuple[pl.Series, list[str]]":
    import polars as pl

    if column.dtype == pl.Date:
        return _to_utc(column.cast(pl.Datetime("us")).cast(pl.Int64), zone), [
            f"Times are dates; each is read as midnight {zone}."
        ]
    if getattr(column.dtype, "time_zone", None):
        return column.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")).cast(pl.Int64), [
            "Times are date-times."
        ]
    times_us = _to_utc(column.cast(pl.Datetime("us")).cast(pl.Int64), zone)
    return times_us, [f"Times are date-times without a zone, read as {zone}."]


def _to_utc(local_us: "pl.Series", zone: str) -> "pl.Series":
    """Convert local to UTC microseconds. An hour that occurs twice is the first, a skipped one is the hour after it."""
    import polars as pl

    if zone == "UTC":
        return local_us
    in_range = pl.select(pl.when(local_us.is_between(-LATEST_US, 2 * LATEST_US)).then(local_us)).to_series()
    hour_us = DAY_US // 24
    times = [
        (in_range + shift_us)
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
        .cast(pl.Int64)
        for shift_us in (0, hour_us)
    ]
    return pl.select(pl.coalesce(*times)).to_series()


def _from_text(text: "pl.Series", unit: TimeUnit, pattern: str | None, zone: str) -> "tuple[pl.Series, list[str]]":
    import polars as pl

    if text.str.contains(r"^\s|\s$").any():
        text = text.str.strip_chars()
    if pattern is not None:
        return _from_pattern(text, pattern, zone)
    numbers = _to_numbers(text)
    if numbers.is_not_null().sum() * 2 > text.is_not_null().sum():
        return _from_numbers(numbers, unit, zone)
    commas = text.str.contains(r"^-?\d+,\d+$")
    if commas.sum() * 2 > text.is_not_null().sum():
        times_us, notes = _from_numbers(_to_numbers(text.str.replace(",", ".", literal=True)), unit, zone)
        return times_us, [*notes, "Times have decimal commas."]
    times_us, zoned = parse_texts(text)
    naive = times_us.is_not_null() & ~zoned
    if not naive.any():
        return times_us, ["Times are ISO 8601 text."]
    times_us = pl.select(pl.when(zoned).then(times_us).otherwise(_to_utc(times_us, zone))).to_series()
    if num_zoned := int(zoned.sum()):
        return times_us, [f"{num_zoned:,} times name a zone; the {int(naive.sum()):,} others are read as {zone}."]
    return times_us, [f"Times are ISO 8601 text without a zone, read as {zone}."]


def _from_pattern(text: "pl.Series", pattern: str, zone: str) -> "tuple[pl.Series, list[str]]":
    import polars as pl

    parsed = text.str.to_datetime(pattern, time_unit="us", strict=False)
    if parsed.dtype.time_zone is not None:  # type: ignore[attr-defined]
        return parsed.dt.convert_time_zone("UTC").cast(pl.Int64), [f"Times are read as '{pattern}'."]
    in_zone = "" if zone == "UTC" else f" in {zone}"
    return _to_utc(parsed.cast(pl.Int64), zone), [f"Times are read as '{pattern}'{in_zone}."]


def _to_numbers(text: "pl.Series") -> "pl.Series":
    """Return texts as int64, or as floats if one has a fraction; null: no number."""
    import polars as pl

    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count():
        return whole
    numbers = text.cast(pl.Float64, strict=False)
    return whole if whole.null_count() == numbers.null_count() else numbers


def _from_numbers(column: "pl.Series", unit: TimeUnit, zone: str) -> "tuple[pl.Series, list[str]]":
    """Convert numbers of one unit or, with "auto", of the unit or form that their sizes show."""
    import polars as pl

    if unit != "auto":
        return _scale(column, unit), [f"Times are epoch {unit}, as given."]
    numbers = column.cast(pl.Float64, strict=False)
    numbers = pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()
    if (calendar := _from_calendar(numbers, zone)) is not None:
        return calendar
    low, high = numbers.min(), numbers.max()
    if low is not None and low >= EXCEL_DAYS[0] and high <= EXCEL_DAYS[1]:  # type: ignore[operator]
        local_us = (numbers * DAY_US).round().cast(pl.Int64) + EXCEL_EPOCH_US
        return _to_utc(local_us, zone), [
            f"Times are read as days of a spreadsheet, in {zone}, guessed from their size."
        ]
    return _from_epochs(column, numbers)


def _from_epochs(column: "pl.Series", numbers: "pl.Series") -> "tuple[pl.Series, list[str]]":
    """Convert epoch counts in the unit of their median.

    A number whose size shows another unit has that unit if it then lies near the other times, and not otherwise.
    """
    import polars as pl

    size = numbers.abs()
    main = _unit_of(float(size.quantile(0.5, "lower") or 0.0))
    times_us = _scale(column, main)
    notes = [f"Times are read as epoch {main}, guessed from their size."]
    names = pl.select(
        pl.when(size < LARGEST_OF_UNIT["s"])
        .then(pl.lit("s"))
        .when(size < LARGEST_OF_UNIT["ms"])
        .then(pl.lit("ms"))
        .when(size < LARGEST_OF_UNIT["us"])
        .then(pl.lit("us"))
        .when(size.is_not_null())
        .then(pl.lit("ns"))
    ).to_series()
    usual = times_us.filter(names == main)
    first, last = usual.min(), usual.max()
    if not isinstance(first, int) or not isinstance(last, int):
        return times_us, notes
    for name in (name for name in US_PER_UNIT if name != main and (names == name).any()):
        own_us = _scale(column, name)
        fits = (names == name) & own_us.is_between(max(EARLY_US, first - _MARGIN_US), last + _MARGIN_US)
        fits &= ~times_us.is_between(first, last).fill_null(False)
        if count := int(fits.sum()):
            times_us = times_us.zip_with(~fits.fill_null(False), own_us)
            notes.append(f"{count:,} times are epoch {name} by their size, unlike most, and are read so.")
    return times_us, notes


def _unit_of(size: float) -> TimeUnit:
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


def _from_calendar(numbers: "pl.Series", zone: str) -> "tuple[pl.Series, list[str]] | None":
    """Convert numbers whose digits are a date, such as 20240501; None if one of them is not."""
    import polars as pl

    present = numbers.drop_nulls()
    if not len(present) or not ((present == present.round()) & (present >= 1.9e7) & (present < 1e15)).all():
        return None
    digits = numbers.cast(pl.Int64).cast(pl.String)
    lengths = digits.str.len_chars().unique().drop_nulls().to_list()
    if len(lengths) != 1 or lengths[0] not in _CALENDAR_DIGITS:
        return None
    times_us, _ = parse_texts(digits)
    latest = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1e6
    if not times_us.is_between(0, latest).all() or times_us.null_count() > numbers.null_count():
        return None
    return _to_utc(times_us, zone), [f"Times are read as {_CALENDAR_DIGITS[lengths[0]]} in {zone}, guessed from them."]


def _scale(column: "pl.Series", unit: str) -> "pl.Series":
    """Convert epoch counts of one unit. Seconds as floats keep their microseconds: 1e9 * 1e6 is below 2**53."""
    import polars as pl

    if column.dtype.is_integer() and unit != "ns":
        wide = column.cast(pl.Int64, strict=False)
        bound = LATEST_US // int(US_PER_UNIT[unit])
        in_range = wide.is_between(-bound, bound)
        return pl.select(pl.when(in_range).then(wide * int(US_PER_UNIT[unit]))).to_series()
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False) // 1000
    times_us = (column.cast(pl.Float64) * US_PER_UNIT[unit]).round()
    in_range = times_us.is_finite() & (times_us.abs() <= 2 * LATEST_US)
    return pl.select(pl.when(in_range).then(times_us)).to_series().cast(pl.Int64)


def check_zone(zone: str) -> None:
    """Raise ValueError if there is no time zone of that name."""
    try:
        ZoneInfo(zone)
    except (KeyError, OSError, ValueError):  # KeyError: no such zone; the others: no name of one
        raise ValueError(f"There is no time zone '{zone}': write an IANA name such as Asia/Shanghai, or UTC.") from None
