"""Sources of the readers' fuzz with their accounts: ids and times as text, and the rows that a reading must give."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

LATEST_US = 7_258_118_400_000_000
IDS = (
    *(
        "u1",
        "u2",
        "u3",
        "007",
        "7",
        "1.0",
        " a",
        "a ",
        "NULL",
        "-0",
        "1e5",
        "用户",
        "é",
        "e\u0301",
        "\u2028",
        "\ufeffb",
    ),
    *("x" * 512, "x" * 513, "龙" * 400, "", "a\x00b", "a\tb", "\x7f", "a\nb", "a\r", "a,b", "a;b", "a|b", 'a"b', '"'),
    *("'", "\\N", "=1+1", "\U0001f642", "\u00a0", "None", "true", "__row__"),
)
"""Ids as text, with some that are none."""
ZONES = ("UTC", "UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York")
BAD_TIMES = ("", "2024-13-45", "2024-02-30", "abc", "9999-12-31", "1969-12-30 23:59:59", "2024-05-01T25:00:00", "-")


@dataclass
class BuiltSource:
    """A source, and the account of its rows."""

    source: Any
    """Path or table."""
    form: str
    """Kind of the source, for the counts."""
    rows: list[tuple[str, str, int] | None]
    """(user, item, time) of each row; None: a row that is no event."""
    items: list[str | None]
    """Valid item id of each row, or None."""
    numbers: list[int]
    """Number of each row in the source."""
    options: dict[str, Any] = field(default_factory=dict)
    refusable: bool = False
    """A column has a type that no id or time has."""
    is_filtered: bool = False
    """A condition filters rows out."""
    slack_us: int = 0
    """Largest error of a time, for floats."""
    numbered: list[int] | None = None
    """Index of the row with each ``row_no``, from 1; None: all rows have one."""

    def rows_of(self, row_numbers: list[int]) -> list[int]:
        """Return the index of the row with each ``row_no``."""
        return [number - 1 if self.numbered is None else self.numbered[number - 1] for number in row_numbers]


def valid_id(text: str | None) -> str | None:
    """Return an id; None for a text that is none."""
    if text is None or not 0 < len(text) <= 512 or re.search(r"[\x00-\x1f\x7f]", text):
        return None
    return text


def choose(rng: np.random.Generator, pool: Any, size: int) -> list[Any]:
    """Return members of a pool, drawn with replacement."""
    return [pool[int(i)] for i in rng.integers(0, len(pool), size)]


def in_range(time_us: int | None) -> int | None:
    """Return a time that an event may have; None for another."""
    return time_us if time_us is not None and 0 <= time_us <= LATEST_US else None


def local_us(naive_us: int, zone: str) -> int | None:
    """Return the UTC time of a local one: of an hour that occurs twice the first, of a skipped one the hour after."""
    if zone == "UTC" or not -LATEST_US <= naive_us <= 2 * LATEST_US:
        return naive_us if zone == "UTC" else None
    local = datetime.fromtimestamp(naive_us // 1_000_000, UTC).replace(tzinfo=ZoneInfo(zone))
    return naive_us - int(local.utcoffset().total_seconds()) * 1_000_000  # type: ignore[union-attr]


def time_texts(rng: np.random.Generator, size: int, zone: str) -> tuple[list[str | None], list[int | None]]:
    """Return times as text, and the UTC time of each.

    Args:
        rng: random generator.
        size: number of texts.
        zone: zone of texts without one.
    """
    texts: list[str | None] = []
    times: list[int | None] = []
    for _ in range(size):
        if rng.random() < 0.1:
            texts.append(str(rng.choice(BAD_TIMES)))
            times.append(None)
            continue
        latest = 2**33 if zone in ("UTC", "Asia/Shanghai") else 4_000_000_000  # the library has no later rules of zones
        seconds = int(rng.integers(-(2**31) if rng.random() < 0.1 else 0, latest))
        time = datetime.fromtimestamp(seconds, UTC)
        dash, gap = str(rng.choice(["-", "/", "."])), str(rng.choice(["T", " ", "  ", "t"]))
        text = f"{time.year:04}{dash}{time.month:02}{dash}{time.day:02}{gap}{time:%H:%M:%S}"
        fraction = str(rng.integers(0, 10**9))[: int(rng.integers(1, 10))] if rng.random() < 0.5 else ""
        text += f".{fraction}" if fraction else ""
        naive_us = seconds * 10**6 + int(f"{fraction:0<6}"[:6])
        offset_min = int(rng.integers(-14 * 60, 14 * 60 + 1))
        sign, size_min = "-" if offset_min < 0 else "+", abs(offset_min)
        written = [
            ("", None),
            ("Z", 0),
            ("z", 0),
            (f"{sign}{size_min // 60:02}:{size_min % 60:02}", offset_min),
            (f"{sign}{size_min // 60:02}{size_min % 60:02}", offset_min),
        ]
        suffix, minutes = written[int(rng.integers(0, len(written)))]
        texts.append(text + suffix)
        times.append(local_us(naive_us, zone) if minutes is None else naive_us - minutes * 60 * 10**6)
    return texts, times
