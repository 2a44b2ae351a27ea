"""Demand of the last minutes: the scores of a trend model, moved by the events that a server receives.

Shape letter: V catalog size with PAD.
"""

from collections import OrderedDict
from collections.abc import Hashable

import numpy as np

from segue.data.catalog import PAD
from segue.models.forecasting.trend import Trend

HALF_LIFE_S = 600.0
"""Age at which an event counts half, in seconds."""
PRIOR_EVENTS = 100.0
"""Number of present events at which they weigh as much as the forecast of the training log."""
MAX_PAIRS = 20_000
"""Number of newest pairs of a user and an item that are counted."""
_MAX_AGE_HALF_LIVES = 10.0


class LiveDemand:
    """Present demand of each item: a user counts once for an item, so that one robot raises none.

    score(j) = (PRIOR_EVENTS * share of j in the forecast + present events of j) / (PRIOR_EVENTS + present events) times
    the sum of the forecast: the scale stays that of the training.
    """

    def __init__(self, trend: Trend) -> None:
        self.trend = trend
        self._forecast_V = trend.forecast_V
        self._times_us: OrderedDict[tuple[Hashable, int], int] = OrderedDict()

    def add(self, key: Hashable, item: int, time_us: int) -> None:
        """Count an event.

        Args:
            key: user or session.
            item: item index; an item outside the model is ignored.
            time_us: time of the event, UTC microseconds.
        """
        if not PAD < item < len(self._forecast_V):
            return
        pair = (key, item)
        self._times_us[pair] = max(time_us, self._times_us.get(pair, time_us))
        self._times_us.move_to_end(pair)
        if len(self._times_us) > MAX_PAIRS:
            self._times_us.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Remove the events of a user or session."""
        for pair in [pair for pair in self._times_us if pair[0] == key]:
            del self._times_us[pair]

    def refresh(self, now_us: int) -> None:
        """Set the scores of the trend model to those of a time, UTC microseconds."""
        self.trend.forecast_V = self._moved(now_us)

    def _moved(self, now_us: int) -> np.ndarray:
        times_us = np.array(list(self._times_us.values()), dtype=np.int64)
        items = np.array([item for _, item in self._times_us], dtype=np.int64)
        half_lives = np.maximum(now_us - times_us, 0) / (HALF_LIFE_S * 1e6)
        is_present = half_lives < _MAX_AGE_HALF_LIVES
        weights = 0.5 ** half_lives[is_present]
        present_V = np.bincount(items[is_present], weights=weights, minlength=len(self._forecast_V))
        total, forecast_total = present_V.sum(), float(self._forecast_V.sum())
        if total == 0:
            return self._forecast_V
        share_V = self._forecast_V / (forecast_total or 1.0)
        moved_V = (PRIOR_EVENTS * share_V + present_V) / (PRIOR_EVENTS + total)
        return np.asarray(moved_V * (forecast_total or 1.0), dtype=np.float32)
