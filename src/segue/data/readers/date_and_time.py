"""Timestamps in two columns: one with the date, one with the time of day."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_DATES = ("date", "day", "eventdate", "日期")
_TIMES = ("time", "timeofday", "hour", "eventtime", "clock", "时间", "時間")
_TIME_OF_DAY = (
    r"^\s*(上午|下午)?\s*[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?\s*"
    r"([zZ]|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?|[aApP][mM])?\s*$"
)


def join_date_and_time(
    frame: "pl.DataFrame", chosen: Mapping[str, str] | None
) -> "tuple[pl.DataFrame, dict[str, str], list[str]]":
    """Join a column of dates and a column of times of day into one column of timestamps.

    The two are ``timestamp=DATE+TIME`` of the caller, or guessed: a column named like a date, and a column named like a
    time that holds times of day only.

    Args:
        frame: raw columns of the log.
        chosen: role -> column, given by the caller; None: all roles are guessed.

    Returns:
        The columns, with one more if two were joined; the caller's roles, with its name; and a sentence about it.

    Raises:
        ValueError: a named part is no column of the log.
    """
    import polars as pl

    roles = dict(chosen or {})
    named = roles.get("timestamp")
    if named is not None and (named in frame.columns or "+" not in named):
        return frame, roles, []
    pair = _guess(frame, roles) if named is None else _parts(frame, named)
    if pair is None:
        return frame, roles, []
    date, time = pair
    name = f"{date}+{time}"
    date_text = frame[date].cast(pl.String).str.strip_chars()
    # A date column read from Parquet or by a spreadsheet may carry a midnight.
    date_text = date_text.str.replace(r"[T ]00:00(:00(\.0+)?)?$", "")
    joined = pl.select(pl.concat_str(date_text, frame[time].cast(pl.String).str.strip_chars(), separator=" "))
    note = f"Columns '{date}' and '{time}' are read together as timestamp."
    return frame.with_columns(joined.to_series().alias(name)), {**roles, "timestamp": name}, [note]


def _parts(frame: "pl.DataFrame", named: str) -> tuple[str, str]:
    date, _, time = named.partition("+")
    for part in (date, time):
        if part not in frame.columns:
            raise ValueError(f"The log has no column '{part}' for timestamp={named}: write timestamp=DATE+TIME.")
    return date, time


def _guess(frame: "pl.DataFrame", roles: Mapping[str, str]) -> tuple[str, str] | None:
    import polars as pl

    if "timestamp" in frame.columns:
        return None
    free = [column for column in frame.columns if column not in roles.values()]
    names = {re.sub(r"[\W_]", "", column.lower()): column for column in reversed(free)}
    date = next((names[name] for name in _DATES if name in names), None)
    time = next((names[name] for name in _TIMES if name in names), None)
    if date is None or time is None or frame[date].dtype not in (pl.String, pl.Date, pl.Int64, pl.Datetime):
        return None
    if frame[time].dtype not in (pl.String, pl.Time):
        return None
    texts = frame[time].cast(pl.String).drop_nulls()
    return (date, time) if len(texts) and texts.str.contains(_TIME_OF_DAY).all() else None
