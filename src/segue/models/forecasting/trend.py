"""Trend: every item's demand in the period after the log's end, forecast from the periods before; "rising now".

Shape letters: B batch, V catalog size with PAD, T periods (oldest first), R the newest of them that are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from segue.data.sequences import Sequences
from segue.models.forecasting.autoregression import ar_forecast, var_forecast
from segue.models.forecasting.demand_series import DemandSeries, count_demand, mean_demand
from segue.models.forecasting.exponential_smoothing import forecast, select_parameters
from segue.models.sparse_rows import item_counts
from segue.models.top_k import order_by_score_then_index

NUM_SAVED_BINS = 24
"""So many of the newest periods are saved with a model, for charts."""
ROUNDING = 1e-4
"""A lift this near to 1 is none: float32 and the tie rule's small change alone can make it."""


@dataclass(frozen=True)
class TrendConfig:
    """How demand is forecast."""

    method: Literal["exponential", "ar", "var"] = "exponential"
    """Exponential smoothing whose rate is chosen on the periods; an autoregression that all items share; a vector
    autoregression on what they have in common. The last two need statsmodels."""
    period_s: float | None = None
    """How long a period is, in seconds; 'none': chosen by the log's span, 8 to 60 periods."""
    shrinkage: float = 5.0
    """An item with so many events is forecast halfway between its method's forecast and its own long-run mean."""
    lags: int = 2
    """So many periods back look 'ar' and 'var'."""
    components: int = 3
    """So many principal components has 'var'."""

    def __post_init__(self) -> None:
        if self.method not in ("exponential", "ar", "var"):
            raise ValueError(f"method must be exponential, ar or var, got '{self.method}'.")
        if self.period_s is not None and self.period_s <= 0:
            raise ValueError(f"period_s must be above 0, got {self.period_s}.")
        if self.shrinkage < 0:
            raise ValueError(f"shrinkage must be at least 0, got {self.shrinkage}.")
        for name in ("lags", "components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class RisingItem:
    """An item that is wanted more than it used to be."""

    item: int
    """Its index in the catalog."""
    forecast: float
    """Events expected in the next period, were its traffic average."""
    baseline: float
    """Its mean over all periods, in the same unit."""
    lift: float
    """forecast / usual."""
    events: int
    """How often it was taken in the whole log."""
    recent: tuple[int, ...]
    """How often in each of the newest periods, oldest first."""


class Trend:
    """score(j) = the forecast of j's demand, whatever the history.

    Demand is counted by period and taken as if every period had had the average traffic, so that forecasts are in
    events per period of average traffic: it is asked which items gain on the others. A log without times has no
    periods, and places in people's histories are no time that they share: there, and where times span less than two
    periods, the trend is all-time popularity.
    """

    name: ClassVar[str] = "trend"

    def __init__(
        self, forecast_V: np.ndarray, usual_V: np.ndarray, events_V: np.ndarray, recent_VR: np.ndarray
    ) -> None:
        self.forecast_V = forecast_V
        self.usual_V = usual_V
        self.events_V = events_V
        self.recent_VR = recent_VR

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: TrendConfig) -> "Trend":
        """Counts and forecasts. ValueError where 'ar' or 'var' have too few periods, or no statsmodels."""
        events_V = item_counts(sequences, size)
        if sequences.times is None:
            counts_V = events_V.astype(np.float32)
            return cls(counts_V, counts_V, events_V, np.zeros((size, 0), dtype=np.int32))
        counted = count_demand(sequences, size, period_s=config.period_s)
        series_VT = mean_demand(counted.counts_VT)
        usual_V = series_VT.mean(axis=1)
        trust_V = events_V / np.maximum(events_V + config.shrinkage, 1.0)
        forecast_V = usual_V + trust_V * (_forecast(series_VT, config) - usual_V)
        # An item that is not expected back still precedes one that nobody ever took.
        ever_V = 1e-6 * events_V / max(1, events_V.max(initial=0))
        forecast_V = np.where(events_V > 0, np.maximum(forecast_V, 0.0) + ever_V, 0.0)
        return cls(forecast_V.astype(np.float32), usual_V, events_V, _kept(counted))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: TrendConfig) -> "Trend":
        """What ``arrays`` gave."""
        return cls(arrays["forecast"], arrays["usual"], arrays["events"], arrays["recent"])

    @property
    def size(self) -> int:
        return len(self.forecast_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        return np.tile(self.forecast_V, (len(histories), 1))

    def static_scores(self) -> np.ndarray:
        """See ``StaticScorer.static_scores``."""
        return self.forecast_V

    def rising(self, k: int = 10, *, min_events: int = 10) -> list[RisingItem]:
        """The k items whose forecast is highest above their long-run mean, of those with at least ``min_events``
        events and with a forecast above the mean; the best first, equals by index."""
        known = np.flatnonzero((self.events_V >= max(1, min_events)) & (self.usual_V > 0))
        lift = self.forecast_V[known].astype(np.float64) / self.usual_V[known]
        best = [i for i in order_by_score_then_index(lift)[:k].tolist() if lift[i] > 1 + ROUNDING]
        return [self._rising(int(known[i]), float(lift[i])) for i in best]

    def _rising(self, item: int, lift: float) -> RisingItem:
        return RisingItem(
            item,
            float(self.forecast_V[item]),
            float(self.usual_V[item]),
            lift,
            int(self.events_V[item]),
            tuple(self.recent_VR[item].tolist()),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"forecast": self.forecast_V, "usual": self.usual_V, "events": self.events_V, "recent": self.recent_VR}


def _forecast(series_VT: np.ndarray, config: TrendConfig) -> np.ndarray:
    """The method's forecast, float64 [V]."""
    if config.method == "ar":
        return ar_forecast(series_VT, config.lags)
    if config.method == "var":
        return var_forecast(series_VT, config.components, config.lags)
    return forecast(series_VT, select_parameters(series_VT))


def _kept(counted: DemandSeries) -> np.ndarray:
    """The newest periods as whole numbers, int32 [V, R]."""
    return np.ascontiguousarray(counted.recent(NUM_SAVED_BINS), dtype=np.int32)
