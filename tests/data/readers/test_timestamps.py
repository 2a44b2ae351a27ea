"""Timestamps: every unit and format against Python's datetime, and invalid ones."""

import datetime as dt
import decimal
import zoneinfo
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.readers.timestamps import LATEST_US, to_microseconds

UTC = dt.UTC
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
times = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2199, 12, 31))
zones = st.integers(-14 * 4, 14 * 4).map(lambda quarters: dt.timezone(dt.timedelta(minutes=15 * quarters)))


def us_of(time: dt.datetime) -> int:
    return (time - EPOCH) // dt.timedelta(microseconds=1)


def us(values: Any, dtype: Any = None, **options: Any) -> list[int | None]:
    return to_microseconds(pl.Series("when", values, dtype=dtype), **options)[0].to_list()


@given(st.lists(times, min_size=1, max_size=5), zones, st.sampled_from(["T", " "]), st.booleans())
@settings(deadline=None)
def test_iso_8601_equals_pythons_parser(
    result: list[dt.datetime], zone: dt.timezone, between: str, zoned: bool
) -> None:
    known = [time.replace(tzinfo=zone if zoned else UTC) for time in result]
    texts = [(time if zoned else time.replace(tzinfo=None)).isoformat(sep=between) for time in known]
    assert us(texts) == [us_of(time) for time in known]


@given(st.lists(times, min_size=1, max_size=5), st.sampled_from(["s", "ms", "us", "ns"]))
@settings(deadline=None)
def test_units_of_numbers_are_guessed_by_size(result: list[dt.datetime], unit: str) -> None:
    expected = [us_of(time.replace(tzinfo=UTC)) for time in result]
    scale = {"s": 10**6, "ms": 10**3, "us": 1}.get(unit)
    numbers = [n * 1000 if scale is None else n // scale for n in expected]
    rounded = [n if scale is None else n // scale * scale for n in expected]
    assert us(numbers) == rounded
    assert us([str(n) for n in numbers]) == rounded
    assert us(numbers, unit=unit) == rounded


@given(st.lists(st.integers(0, LATEST_US), min_size=1, max_size=5))
@settings(deadline=None)
def test_date_times_of_every_precision(expected: list[int]) -> None:
    for precision, scale in (("ms", 1000), ("us", 1), ("ns", 1)):
        column = pl.Series([n // scale * (1000 if precision == "ns" else 1) for n in expected])
        column = column.cast(pl.Datetime(precision))  # type: ignore[arg-type]
        assert us(column) == [n // scale * scale for n in expected]
        assert us(column.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")) == us(column)


def test_seconds_with_a_fraction_keep_their_microseconds() -> None:
    assert us([1_700_000_000.123456]) == us(["1700000000.123456"]) == [1_700_000_000_123_456]
    assert us([decimal.Decimal("1700000000.25")]) == [1_700_000_000_250_000]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["2023-11-14 22:13:20 UTC"], [1_700_000_000]),
        (["2023-11-14T22:13:20Z", "2023-11-14T22:13"], [1_700_000_000, 1_699_999_980]),
        (["2023-11-14T23:13:20+0100"], [1_700_000_000]),
        ([" 1700000000 ", "1700000001"], [1_700_000_000, 1_700_000_001]),
        (["2023-11-14 23:13:20.745232+01", "2023-11-14t22:13:20z"], [1_700_000_000.745232, 1_700_000_000]),
        (["20231114T221320Z", "20231114T221320"], [1_700_000_000, 1_700_000_000]),
        (["2023/11/14 8:05", "2023.11.14 08:05:00"], [1_699_949_100, 1_699_949_100]),
        (["2023/1/4", "2023-1-4 0:00", "2023-01-04 24:00:00"], [1_672_790_400, 1_672_790_400, 1_672_876_800]),
        (
            ["2023年11月14日 8时5分", "2023年11月14日", "2023年1月4日 8:05:09"],
            [1_699_949_100, 1_699_920_000, 1_672_819_509],
        ),
        (
            ["2023/11/14 下午 10:13:20", "2023-11-14 上午12:13", "2023年11月14日 下午10时13分"],
            [1_700_000_000, 1_699_920_780, 1_699_999_980],
        ),
        (
            ["2023-11-14 10:13:20 PM", "2023/11/14 12:13 am", "2023-11-14 12:13pm"],
            [1_700_000_000, 1_699_920_780, 1_699_963_980],
        ),
        (
            ["2023-11-14 星期二 22:13:20", "2023/11/14(周二) 22:13:20", "２０２３-11-14 22：13:２０"],
            [1_700_000_000] * 3,
        ),
        (["٢٠٢٣-11-14", "2023-11-14 22:١٣"], [None, None]),
        (["14/Nov/2023:22:13:20 +0000", "Tue, 14 Nov 2023 22:13:20 GMT"], [1_700_000_000, 1_700_000_000]),
        (["2023-02-29", "2023-11-14 25:00", "2023-11-14 10:61", "2023-13-01", "2023-11-14 10:00 +99"], [None] * 5),
        (["1700000000,5", "1700000001,25"], [1_700_000_000.5, 1_700_000_001.25]),
        (["20231114", "20231115"], [1_699_920_000, 1_700_006_400]),
        (["20231114080500", "20231114080501"], [1_699_949_100, 1_699_949_101]),
        (["45244", "45244.5"], [1_699_920_000, 1_699_963_200]),
        (["1700000000", "n/a", "1700000002"], [1_700_000_000, None, 1_700_000_002]),
        (["2023-11-14", "14.11.2023", None], [1_699_920_000, None, None]),
    ],
)
def test_texts_and_invalid_times(texts: list[str | None], expected: list[float | None]) -> None:
    assert us(texts, pl.String) == [None if n is None else round(n * 10**6) for n in expected]


def test_absurd_numbers_are_none_and_do_not_sway_the_guess() -> None:
    assert us([1_700_000_000.0, float("inf"), float("nan"), 1.7e9]) == [17 * 10**14, None, None, 17 * 10**14]
    assert us([2**63 + 5, 1_700_000_000, 1_700_000_000], pl.UInt64) == [None, 17 * 10**14, 17 * 10**14]


def test_a_pattern_names_any_other_form() -> None:
    assert us(["14/11/2023 22:13", "2023-11-14"], pattern="%d/%m/%Y %H:%M") == [1_699_999_980 * 10**6, None]
    assert us(["14/11/2023 23:13 +0100"], pattern="%d/%m/%Y %H:%M %z") == [1_699_999_980 * 10**6]
    assert us(["2023-11-14"], pattern="%Y-%m-%d") == [1_699_920_000 * 10**6]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([True], "Boolean"),
        ([dt.time(1)], "Time"),
        ([dt.timedelta(1)], r"Duration\(time_unit='us'\)"),
        ([[1]], r"List\(Int64\)"),
        ([b"1"], "Binary"),
        ([None], "Null"),
    ],
)
def test_columns_that_hold_no_times_are_one_sentence(values: Any, dtype: str) -> None:
    with pytest.raises(
        ValueError,
        match=rf"^Column 'when' holds {dtype}, so it cannot be the timestamp: times are numbers, text, dates or "
        r"date-times\.$",
    ):
        us(values)


@pytest.mark.parametrize(
    ("values", "expected", "notes"),
    [
        (
            [1_609_459_200_000, 1_609_459_300_000, 1_609_459_400, 1_609_459_500_000],
            [1_609_459_200, 1_609_459_300, 1_609_459_400, 1_609_459_500],
            [
                "Times are read as epoch ms, guessed from their size.",
                "1 times are epoch s by their size, unlike most, and are read so.",
            ],
        ),
        (
            [1_609_459_200, 1_609_459_300, 10**16],
            [1_609_459_200, 1_609_459_300, None],
            ["Times are read as epoch s, guessed from their size."],
        ),
        (
            [20_210_101, 20_210_102],
            [1_609_459_200, 1_609_545_600],
            ["Times are read as YYYYMMDD in UTC, guessed from them."],
        ),
        (
            [20_210_101, 20_211_399],
            [20_210_101, 20_211_399],
            [
                "Times are read as epoch s, guessed from their size.",
                "All times lie before 1990: are they of another unit or form? See time_unit and time_format.",
            ],
        ),
        ([45_244.5], [1_699_963_200], ["Times are read as days of a spreadsheet, in UTC, guessed from their size."]),
    ],
)
def test_numbers_of_several_units_and_forms(values: list[float], expected: list[int | None], notes: list[str]) -> None:
    times, told = to_microseconds(pl.Series("time", values))
    assert times.to_list() == [None if n is None else n * 10**6 for n in expected]
    assert told == notes


def test_calendar_digits_with_a_pattern_are_numbers_or_text() -> None:
    assert us([20_210_101], pattern="%Y%m%d") == us(["20210101"], pattern="%Y%m%d") == [1_609_459_200 * 10**6]


@given(st.lists(times, min_size=1, max_size=5), st.sampled_from(["Asia/Shanghai", "America/New_York", "UTC"]))
@settings(deadline=None)
def test_times_without_a_zone_are_read_in_the_given_one(result: list[dt.datetime], name: str) -> None:
    zone = zoneinfo.ZoneInfo(name)
    skipped = [time for time in result if time.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).hour != time.hour]
    local = [time for time in result if time not in skipped and time.year < 2037]
    expected = [us_of(time.replace(tzinfo=zone).astimezone(UTC)) for time in local]
    assert us([time.isoformat() for time in local], pl.String, zone=name) == expected
    assert us(local, pl.Datetime("us"), zone=name) == expected
    assert us(
        [f"{time:%d/%m/%Y %H:%M:%S.%f}" for time in local], pl.String, pattern="%d/%m/%Y %H:%M:%S%.f", zone=name
    ) == (expected)


def test_a_skipped_hour_is_the_hour_after_it_and_a_repeated_one_the_first() -> None:
    skipped, repeated = "2024-03-10 02:30", "2024-11-03 01:30"
    assert us([skipped, repeated], zone="America/New_York") == [1_710_055_800 * 10**6, 1_730_611_800 * 10**6]


def test_texts_with_and_without_a_zone() -> None:
    times, notes = to_microseconds(
        pl.Series("time", ["2023-11-14 08:00", "2023-11-14T00:00:00Z"]), zone="Asia/Shanghai"
    )
    assert times.to_list() == [1_699_920_000 * 10**6] * 2
    assert notes == ["1 times name a zone; the 1 others are read as Asia/Shanghai."]
