"""Timestamps as text: date and time of day with the year first, in all their usual spellings, with or without a zone.

ISO 8601 in both forms, PostgreSQL's (``2024-05-01 10:00:00+02``), slashes and dots (``2024/5/1 8:05``), Chinese
(``2024年5月1日 8时5分``), with a half of the day (``下午 8:05``, ``8:05 PM``), a day of the week or full-width
characters, and web server logs (``01/May/2024:10:00:00 +0800``). A date with the month or the day first is ambiguous
and needs a pattern.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_ZONE = r"(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2}){0,2})?"
_FRACTION = r"(?:[.,](?P<fraction>[0-9]+))?"
SEPARATED = (
    r"^(?P<year>[0-9]{4})[-/.](?P<month>[0-9]{1,2})[-/.](?P<day>[0-9]{1,2})"
    r"(?:(?:T|\s+|\s*-\s+)(?:(?P<half>[AP])M\s*)?(?P<hour>[0-9]{1,2})"
    rf"(?::(?P<minute>[0-9]{{1,2}})(?::(?P<second>[0-9]{{1,2}}){_FRACTION})?)?)?\s*{_ZONE}$"
)
"""``2024-05-01T10:00:00.5Z`` and its relatives."""
BASIC = (
    r"^(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})(?:(?:T|\s+)?(?P<half>X)?(?P<hour>[0-9]{2})"
    rf"(?::?(?P<minute>[0-9]{{2}})(?::?(?P<second>[0-9]{{2}}){_FRACTION})?)?)?\s*{_ZONE}$"
)
"""``20240501T100000Z`` and its relatives. It has no half of the day."""
_NAMED_MONTHS = ("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z")
_CHINESE = {"年": "-", "月": "-", "日": " ", "时": ":", "時": ":", "点": ":", "點": ":", "分": ":", "秒": ""}
_DAY_OF_WEEK = r"\(?(星期|周|週|礼拜)[一二三四五六日天]\)?"
_HALVES = {"上午": " AM ", "下午": " PM "}
_HALF_BEHIND = r"([0-9]{1,2}(?::[0-9]{1,2}){0,2}(?:[.,][0-9]+)?)\s*([AP])M$"
_SECOND_US = 1_000_000


def parse_texts(text: "pl.Series") -> "tuple[pl.Series, pl.Series]":
    """Convert timestamps in text form to microseconds.

    Args:
        text: texts without spaces around them; null: missing.

    Returns:
        int64 microseconds, in UTC for a text with a zone and in local time for one without; null for no timestamp.
        bool: the text has a zone; null for no timestamp.
    """
    import polars as pl

    times, zoned = _parse_pattern(text, SEPARATED)
    rest = times.is_null() & text.is_not_null()
    if not rest.any():
        return times, zoned
    rows, others = rest.arg_true(), text.filter(rest)
    plain = others.str.normalize("NFKC").str.replace(_DAY_OF_WEEK, " ")
    words = {**_CHINESE, **_HALVES}
    cleaned = plain.str.replace_many(list(words), list(words.values())).str.strip_chars(" :").str.to_uppercase()
    cleaned = cleaned.str.replace(_HALF_BEHIND, "${2}M $1")
    for pattern in (SEPARATED, BASIC):
        found, found_zoned = _parse_pattern(cleaned, pattern)
        keep = found.is_not_null() & times.gather(rows).is_null()
        times = times.scatter(rows.filter(keep), found.filter(keep))
        zoned = zoned.scatter(rows.filter(keep), found_zoned.filter(keep))
    named = others.str.replace("GMT$", "+0000")
    for pattern in _NAMED_MONTHS:
        parsed = named.str.to_datetime(pattern, time_unit="us", strict=False).cast(pl.Int64)
        keep = parsed.is_not_null()
        times = times.scatter(rows.filter(keep), parsed.filter(keep))
        zoned = zoned.scatter(rows.filter(keep), True)
    return times, zoned


def _parse_pattern(text: "pl.Series", pattern: str) -> "tuple[pl.Series, pl.Series]":
    """Return (int64 microseconds, bool: has a zone) of the texts that match; null for others and impossible times."""
    import polars as pl

    frame = text.str.extract_groups(pattern).struct.unnest()
    date = pl.concat_str("year", pl.col("month").str.zfill(2), pl.col("day").str.zfill(2), separator="-")
    day_us = date.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).cast(pl.Int64)
    hour, minute, second = (pl.col(part).cast(pl.Int64).fill_null(0) for part in ("hour", "minute", "second"))
    half = pl.col("half")
    hour = (
        pl.when((half == "P") & (hour < 12)).then(hour + 12).when((half == "A") & (hour == 12)).then(0).otherwise(hour)
    )
    fraction_us = pl.col("fraction").str.pad_end(6, "0").str.head(6).cast(pl.Int64).fill_null(0)
    is_time = (minute <= 59) & (second <= 60) & ((hour <= 23) | ((hour == 24) & (minute == 0) & (second == 0)))
    digits = pl.col("zone").str.replace_all(":", "")
    zone_h, zone_m, zone_s = (digits.str.slice(1 + 2 * i, 2).cast(pl.Int64, strict=False) for i in range(3))
    offset_s = zone_h * 3600 + zone_m.fill_null(0) * 60 + zone_s.fill_null(0)
    offset_s = pl.when(digits.str.starts_with("-")).then(-offset_s).otherwise(offset_s).fill_null(0)
    seconds = hour * 3600 + minute * 60 + second - offset_s
    time_us = pl.when(is_time & (offset_s.abs() < 86_400)).then(day_us + seconds * _SECOND_US + fraction_us)
    parsed = frame.select(
        time_us.alias("time_us"), (pl.col("zone").is_not_null() & time_us.is_not_null()).alias("zoned")
    )
    return parsed["time_us"], parsed["zoned"]
