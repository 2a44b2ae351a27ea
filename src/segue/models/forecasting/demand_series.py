"""Demand: how often each item was taken in each period up to the log's end, which is what trends are made of.

Shape letters: V catalog size with PAD, T periods (oldest first), N events.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences

MAX_BINS = 60
"""More periods than this hold too few events each to tell a trend from chance."""
DAY_S = 86_400.0
SPANS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, DAY_S, 7 * DAY_S, 28 * DAY_S, 182 * DAY_S)
"""The periods to choose from. Whole weeks are taken as soon as they can be: they make no weekday look like a rise."""


@dataclass(frozen=True)
class DemandSeries:
    """Counts by item and period. The last period ends with the log's last event, so that each of them is whole."""

    counts_VT: np.ndarray
    """Events, float32 [V, T], oldest period first; row PAD is 0."""
    period_s: float
    """How long a period is, in seconds."""
    end_us: int
    """When the last period ends, UTC microseconds: the time of the last event."""

    @property
    def bins(self) -> int:
        """T."""
        return self.counts_VT.shape[1]

    def recent(self, bins: int = 12) -> np.ndarray:
        """Each item's events in each of the newest periods, [V, at most bins], oldest first: what a chart draws."""
        return self.counts_VT[:, max(0, self.bins - bins) :]


def count_demand(sequences: Sequences, size: int, *, period_s: float | None = None) -> DemandSeries:
    """Counts the log's events by item and period; events before the first whole period are left out.

    Without ``period_s`` it is chosen by ``choose_period``. ValueError for a log without times.
    """
    if sequences.times is None:
        raise ValueError("Demand over time needs times, and this log has only an order.")
    _, where_N = sequences.positions()
    items_N, times_N = sequences.items[where_N], sequences.times[where_N]
    if len(times_N) == 0:
        return DemandSeries(np.zeros((size, 1), dtype=np.float32), period_s or 1.0, 0)
    end_us, start_us = int(times_N.max()), int(times_N.min())
    period_s = choose_period((end_us - start_us) / 1e6) if period_s is None else period_s
    period_us = max(1, round(period_s * 1e6))
    bins = max(1, (end_us - start_us + 1) // period_us)
    if bins > 100 * MAX_BINS:
        raise ValueError(
            f"period_s {period_s} cuts this log into {bins:,} periods; trends need few and full ones: choose a period "
            f"of at least {(end_us - start_us) / 1e6 / MAX_BINS:,.0f} s, or none to have one chosen."
        )
    age_N = (end_us - times_N) // period_us
    kept_N = (age_N < bins) & (items_N != PAD)
    slots_N = items_N[kept_N].astype(np.int64) * bins + (bins - 1 - age_N[kept_N])
    counts = np.bincount(slots_N, minlength=size * bins).astype(np.float32)
    return DemandSeries(counts.reshape(size, bins), period_s, end_us)


def choose_period(span_s: float) -> float:
    """The shortest of ``SPANS_S`` that cuts the span into at most ``MOST_BINS``; beyond them, as many half-years as
    are needed. Any span of eight seconds or more is cut into at least 8.

    >>> choose_period(300 * 86_400) / 86_400
    7.0
    """
    for period_s in SPANS_S:
        if span_s / period_s <= MAX_BINS:
            return period_s
    return SPANS_S[-1] * float(np.ceil(span_s / SPANS_S[-1] / MAX_BINS))


def mean_demand(counts_VT: np.ndarray) -> np.ndarray:
    """The same demand as if every period had had the average traffic, float32 [V, T].

    Which items gain on the others is asked, not whether there is a holiday. A period with less than a quarter of the
    average traffic is scaled by no more than 4: its few events would weigh like many.
    """
    traffic_T = counts_VT.sum(axis=0, dtype=np.float64)
    average = traffic_T.mean()
    scale_T = average / np.maximum(traffic_T, max(average / 4, 1e-12))
    levelled: np.ndarray = counts_VT * scale_T.astype(np.float32)
    return levelled
