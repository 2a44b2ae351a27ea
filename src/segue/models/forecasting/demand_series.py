"""Demand: number of events of each item in each period, up to the end of the log.

Shape letters: V catalog size with PAD, T periods (oldest first), N events.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences

MAX_PERIODS = 60
"""Largest number of periods; with more, a period has too few events to tell a trend from noise."""
DAY_S = 86_400.0
SPANS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, DAY_S, 7 * DAY_S, 28 * DAY_S, 182 * DAY_S)
"""Periods to choose from, in seconds. Whole weeks do not make a weekday look like a rise."""


@dataclass(frozen=True)
class DemandSeries:
    """Counts by item and period. The last period ends with the last event of the log, so that all are complete."""

    counts_VT: np.ndarray
    """Number of events, float32 [V, T], oldest period first; row PAD is 0."""
    period_s: float
    """Length of a period, in seconds."""
    end_us: int
    """End of the last period, UTC microseconds: the time of the last event."""

    @property
    def num_periods(self) -> int:
        """T, the number of periods."""
        return self.counts_VT.shape[1]

    def newest_counts(self, periods: int = 12) -> np.ndarray:
        """Return the counts of the newest periods for charts, [V, at most ``periods``], oldest first."""
        return self.counts_VT[:, max(0, self.num_periods - periods) :]


def count_demand(sequences: Sequences, size: int, *, period_s: float | None = None) -> DemandSeries:
    """Count the events of a log by item and period; events before the first complete period are left out.

    Args:
        sequences: item indices and timestamps of each user or session; PAD is ignored.
        size: V, catalog size with PAD.
        period_s: length of a period in seconds; None: ``choose_period``.

    Raises:
        ValueError: the log has no times, or the period is far too short for it.
    """
    if sequences.times is None:
        raise ValueError("Demand over time needs times, and this log has only an order.")
    _, position_N = sequences.positions()
    items_N, times_N = sequences.items[position_N], sequences.times[position_N]
    if len(times_N) == 0:
        return DemandSeries(np.zeros((size, 1), dtype=np.float32), period_s or 1.0, 0)
    end_us, start_us = int(times_N.max()), int(times_N.min())
    period_s = choose_period((end_us - start_us) / 1e6) if period_s is None else period_s
    period_us = max(1, round(period_s * 1e6))
    periods = max(1, (end_us - start_us + 1) // period_us)
    if periods > 100 * MAX_PERIODS:
        raise ValueError(
            f"period_s {period_s} cuts this log into {periods:,} periods; trends need few and full ones: choose a "
            f"period of at least {(end_us - start_us) / 1e6 / MAX_PERIODS:,.0f} s, or none to have one chosen."
        )
    age_N = (end_us - times_N) // period_us
    is_counted_N = (age_N < periods) & (items_N != PAD)
    slots_N = items_N[is_counted_N].astype(np.int64) * periods + (periods - 1 - age_N[is_counted_N])
    counts = np.bincount(slots_N, minlength=size * periods).astype(np.float32)
    return DemandSeries(counts.reshape(size, periods), period_s, end_us)


def choose_period(span_s: float) -> float:
    """Return the shortest of ``SPANS_S`` that splits a span of seconds into at most ``MAX_PERIODS``.

    A longer span gets a multiple of half a year. Any span of eight seconds or more gets at least 8 periods.

    >>> choose_period(300 * 86_400) / 86_400
    7.0
    """
    for period_s in SPANS_S:
        if span_s / period_s <= MAX_PERIODS:
            return period_s
    return SPANS_S[-1] * float(np.ceil(span_s / SPANS_S[-1] / MAX_PERIODS))


def scale_to_mean_traffic(counts_VT: np.ndarray) -> np.ndarray:
    """Scale every period to the mean traffic, float32 [V, T], so that items are compared and holidays cancel out.

    A period with less than a quarter of the mean traffic is scaled by 4: more would overweigh its few events.
    """
    traffic_T = counts_VT.sum(axis=0, dtype=np.float64)
    mean_traffic = traffic_T.mean()
    scale_T = mean_traffic / np.maximum(traffic_T, max(mean_traffic / 4, 1e-12))
    scaled: np.ndarray = counts_VT * scale_T.astype(np.float32)
    return scaled
