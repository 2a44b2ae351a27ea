"""Time features: buckets and rows by hand, unknown times, embeddings of a history's events."""

from datetime import UTC, datetime

import numpy as np
import pytest

from segue.data.sequences import NO_TIME, Sequences
from segue.models.neural.configs.shared import TimeConfig
from segue.models.neural.time_features import (
    NUM_GAP_BUCKETS,
    TimeEmbedding,
    event_times,
    gap_buckets,
    num_rows,
    time_rows,
)

SECOND = 1_000_000


def us(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc]


def test_buckets_grow_with_the_gap_and_end() -> None:
    gaps = np.array([0, 1, 60, 3600, 86_400, 86_400 * 365, 10**12]) * SECOND
    assert gap_buckets(gaps).tolist() == [1, 2, 12, 24, 33, 50, NUM_GAP_BUCKETS - 1]
    assert (np.diff(gap_buckets(np.geomspace(1, 1e18, 500).astype(np.int64))) >= 0).all()


def test_rows_of_a_known_date() -> None:
    """Wednesday, 13:59 UTC, one hour after the previous event."""
    time_us = us(2026, 1, 7, 13, 59)
    rows = time_rows(np.array([time_us]), np.array([time_us - 3600 * SECOND]), ("weekday", "gap", "daypart"))
    assert rows.tolist() == [[3, 8 + 24, 8 + NUM_GAP_BUCKETS + 14]]
    assert num_rows(("weekday", "gap", "daypart")) == 8 + NUM_GAP_BUCKETS + 25


def test_a_monday_is_the_first_day_and_midnight_the_first_hour() -> None:
    rows = time_rows(np.array([us(2026, 1, 5)]), np.array([NO_TIME]), ("weekday", "daypart"))
    assert rows.tolist() == [[1, 8 + 1]]


def test_an_unknown_value_is_row_0() -> None:
    times, previous_times = np.array([NO_TIME, 5 * SECOND, NO_TIME]), np.array([3 * SECOND, NO_TIME, NO_TIME])
    rows = time_rows(times, previous_times, ("gap", "daypart", "weekday"))
    assert rows[0].tolist() == rows[2].tolist() == [0, NUM_GAP_BUCKETS, NUM_GAP_BUCKETS + 25]
    assert rows[1, 0] == 0
    assert rows[1, 1:].tolist() == [NUM_GAP_BUCKETS + 1, NUM_GAP_BUCKETS + 25 + 4]


def test_before_1970_is_a_time_like_any_other() -> None:
    assert time_rows(np.array([-SECOND]), np.array([NO_TIME]), ("daypart", "weekday")).tolist() == [[24, 25 + 3]]


def gap_embedding() -> TimeEmbedding:
    return TimeEmbedding(("gap",), np.arange(NUM_GAP_BUCKETS, dtype=np.float32)[:, None])


def test_gaps_lie_within_a_row_and_its_first_event_has_none() -> None:
    log = Sequences.from_lists([[1, 2], [3, 4]], [[0, SECOND], [7 * SECOND, 67 * SECOND]])
    assert gap_embedding().embed(log).ravel().tolist() == [0, 2, 0, 12]
    window = Sequences(log.items, log.times, np.array([1, 0]), np.array([3, 1]))
    assert gap_embedding().embed(window).ravel().tolist() == [0, 6, 0]


def test_without_times_every_event_has_the_timeless_embedding() -> None:
    timeless = TimeEmbedding(("daypart", "weekday"), np.arange(33, dtype=np.float32)[:, None])
    assert timeless.embed(Sequences.from_lists([[1, 2], [3]])).ravel().tolist() == [0 + 25] * 3
    assert timeless.timeless_D.tolist() == [25]


def test_event_times_end_with_the_query_time() -> None:
    log = Sequences.from_lists([[1, 2], [], [3]], [[10, 20], [], [30]])
    none = NO_TIME
    assert event_times(log.as_of(np.array([25, 5, 35])), 3).tolist() == [
        [10, 20, 25, none],
        [5, none, none, none],
        [30, 35, none, none],
    ]
    assert event_times(log, 2).tolist() == [[10, 20, none], [none] * 3, [30, none, none]]
    assert (event_times(Sequences.from_lists([[1, 2]]), 2) == none).all()


def test_an_input_named_twice_is_refused() -> None:
    with pytest.raises(ValueError) as refused:
        TimeConfig(("gap", "gap"))
    assert str(refused.value) == "time_inputs must not name an input twice, got gap, gap."
