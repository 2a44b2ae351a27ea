"""Trend: items by their forecast demand in the period after the end of the log, and the items that rise most.

Shape letters: B batch, V catalog size with PAD, T periods (oldest first), R the newest of them that are saved.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.forecasting.autoregression import ar_forecast, var_forecast
from segue.models.forecasting.demand_series import DemandSeries, count_demand, scale_to_mean_traffic
from segue.models.forecasting.exponential_smoothing import forecast, select_parameters
from segue.models.sparse_rows import item_counts
from segue.models.top_k import order_by_score_then_index

NUM_SAVED_PERIODS = 24
"""Number of newest periods that are saved with a model, for charts."""
ROUNDING = 1e-4
"""Least lift above 1: float32 and the tie breaker alone can make a smaller one."""


@dataclass(frozen=True)
class TrendConfig:
    """Forecast method and its settings."""

    method: Literal["exponential", "ar", "var"] = "exponential"
    """'exponential': exponential smoothing with a selected rate; 'ar': an autoregression shared by all items; 'var': a
    vector autoregression on principal components. 'ar' and 'var' need statsmodels."""
    period_s: Annotated[float | None, Range(gt=0)] = None
    """Length of a period in seconds, above 0; 'none': from the span of the log, 8 to 60 periods."""
    shrinkage: Annotated[float, Range(ge=0)] = 5.0
    """Number of events at which a forecast is halfway between the method's and the item's long-run mean."""
    lags: Annotated[int, Range(ge=1)] = 2
    """Number of previous periods in 'ar' and 'var'."""
    components: Annotated[int, Range(ge=1)] = 3
    """Number of principal components in 'var'."""

    def __post_init__(self) -> None:
        if self.method not in ("exponential", "ar", "var"):
            raise ValueError(f"method must be exponential, ar or var, got '{self.method}'.")
        check_ranges(self)


@dataclass(frozen=True)
class RisingItem:
    """An item with a forecast above its long-run mean."""

    item: int
    """Item index."""
    forecast: float
    """Forecast number of events in the next period, at mean traffic."""
    baseline: float
    """Mean number of events over all periods, at mean traffic."""
    lift: float
    """Ratio of forecast to baseline."""
    events: int
    """Number of events in the whole log."""
    recent: tuple[int, ...]
    """Number of events in each of the newest periods, oldest first."""


class Trend:
    """Trend model: score(j) = forecast demand of item j, for any history.

    Demand is counted by period and scaled to the mean traffic, so that items are compared with each other. A log
    without times has no periods: positions in histories are not a common time. Then, and where times span less than
    two periods, the trend is all-time popularity.
    """

    name: ClassVar[str] = "trend"

    def __init__(
        self, forecast_V: np.ndarray, baseline_V: np.ndarray, events_V: np.ndarray, recent_VR: np.ndarray
    ) -> None:
        self.forecast_V = forecast_V
        self.baseline_V = baseline_V
        self.events_V = events_V
        self.recent_VR = recent_VR

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: TrendConfig) -> "Trend":
        """Count the demand by period and forecast the next one.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.

        Raises:
            ValueError: 'ar' or 'var', and the log has too few periods or statsmodels is missing.
        """
        events_V = item_counts(sequences, size)
        if sequences.times is None:
            counts_V = events_V.astype(np.float32)
            return cls(counts_V, counts_V, events_V, np.zeros((size, 0), dtype=np.int32))
        demand = count_demand(sequences, size, period_s=config.period_s)
        series_VT = scale_to_mean_traffic(demand.counts_VT)
        baseline_V = series_VT.mean(axis=1)
        trust_V = events_V / np.maximum(events_V + config.shrinkage, 1.0)
        forecast_V = baseline_V + trust_V * (_forecast(series_VT, config) - baseline_V)
        # An item with forecast 0 still ranks above an item without events.
        tie_breaker_V = 1e-6 * events_V / max(1, events_V.max(initial=0))
        forecast_V = np.where(events_V > 0, np.maximum(forecast_V, 0.0) + tie_breaker_V, 0.0)
        return cls(forecast_V.astype(np.float32), baseline_V, events_V, _newest_counts(demand))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: TrendConfig) -> "Trend":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(arrays["forecast"], arrays["baseline"], arrays["events"], arrays["recent"])

    @property
    def size(self) -> int:
        return len(self.forecast_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        return np.tile(self.forecast_V, (len(histories), 1))

    def static_scores(self) -> np.ndarray:
        """See ``StaticScorer.static_scores``."""
        return self.forecast_V

    def rising(self, k: int = 10, *, min_events: int = 10) -> list[RisingItem]:
        """Return the items with the highest lift, the ratio of forecast to long-run mean.

        Args:
            k: largest number of items.
            min_events: least number of events of an item in the log.

        Returns:
            Items with a lift above 1, the highest first; ties: the smaller index.
        """
        known = np.flatnonzero((self.events_V >= max(1, min_events)) & (self.baseline_V > 0))
        lift = self.forecast_V[known].astype(np.float64) / self.baseline_V[known]
        best = [i for i in order_by_score_then_index(lift)[:k].tolist() if lift[i] > 1 + ROUNDING]
        return [self._rising_item(int(known[i]), float(lift[i])) for i in best]

    def _rising_item(self, item: int, lift: float) -> RisingItem:
        return RisingItem(
            item,
            float(self.forecast_V[item]),
            float(self.baseline_V[item]),
            lift,
            int(self.events_V[item]),
            tuple(self.recent_VR[item].tolist()),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {
            "forecast": self.forecast_V,
            "baseline": self.baseline_V,
            "events": self.events_V,
            "recent": self.recent_VR,
        }


def _forecast(series_VT: np.ndarray, config: TrendConfig) -> np.ndarray:
    """Forecast with the method of the settings, float64 [V]."""
    if config.method == "ar":
        return ar_forecast(series_VT, config.lags)
    if config.method == "var":
        return var_forecast(series_VT, config.components, config.lags)
    return forecast(series_VT, select_parameters(series_VT))


def _newest_counts(demand: DemandSeries) -> np.ndarray:
    """Return the counts of the newest periods, int32 [V, R]."""
    return np.ascontiguousarray(demand.newest_counts(NUM_SAVED_PERIODS), dtype=np.int32)
