"""Exponential smoothing of all items' demand at once, its one rate chosen by how well it would have forecast.

Simple smoothing, and Holt's with a damped trend (Gardner & McKenzie 1985; Hyndman & Athanasopoulos, "Forecasting:
Principles and Practice", section 8.2)::

    forecast_t = level_t-1 + damping * trend_t-1
    level_t    = forecast_t + rate * (y_t - forecast_t)
    trend_t    = damping * trend_t-1 + trend * (level_t - level_t-1 - damping * trend_t-1)

A young series has no level to begin with. As long as 1 / t is above the rate it is taken in its place: the level is
then the plain mean of what was seen, so that a rate of 0 is all-time popularity, and no end of the series is looked at
to begin it.

Shape letters: V items, T periods, oldest first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

RATES = (0.0, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TRENDS = (0.0, 0.05, 0.2)
DAMPING = 0.9
"""How much of a trend is left a period later: demand does not grow for ever."""


@dataclass(frozen=True)
class SmoothingParameters:
    """How fast the past is forgotten."""

    rate: float
    """The newest period's weight in the level, 0 (all periods alike) to 1 (nothing but the newest)."""
    trend: float = 0.0
    """The newest rise's weight in the trend; 0: no trend."""


def one_step_forecasts(series_VT: np.ndarray, how: SmoothingParameters) -> Iterator[np.ndarray]:
    """What would have been forecast for period 1, 2, ..., T, each from the periods before it alone; float [V] each.

    The last one is the forecast of the period after the series. ValueError for a series without a period.
    """
    bins = series_VT.shape[1]
    if bins < 1:
        raise ValueError("A forecast needs at least one period.")
    level_V = series_VT[:, 0].astype(np.float64)
    trend_V = np.zeros_like(level_V)
    yield level_V.copy()
    for t in range(1, bins):
        forecast_V = level_V + DAMPING * trend_V
        settled = (t + 1) * how.rate >= 1.0
        fresh_V = forecast_V + (how.rate if settled else 1 / (t + 1)) * (series_VT[:, t] - forecast_V)
        if settled and how.trend > 0:
            trend_V = DAMPING * trend_V + how.trend * (fresh_V - level_V - DAMPING * trend_V)
        level_V = fresh_V
        yield level_V + DAMPING * trend_V


def forecast(series_VT: np.ndarray, how: SmoothingParameters) -> np.ndarray:
    """The forecast of the period after the series, float64 [V]; demand is never below 0."""
    last_V = np.zeros(len(series_VT))
    for forecast_V in one_step_forecasts(series_VT, how):
        last_V = forecast_V
    return np.maximum(last_V, 0.0)


def select_parameters(series_VT: np.ndarray) -> SmoothingParameters:
    """The rate and the trend that had the smallest squared error one period ahead, over all items and the later two
    thirds of the periods; of equals the slower. All-time popularity where there are too few periods to compare."""
    first = max(2, series_VT.shape[1] // 3)
    if series_VT.shape[1] <= first:
        return SmoothingParameters(0.0)
    grid = [SmoothingParameters(rate, trend) for trend, rate in product(TRENDS, RATES) if trend == 0 or rate > 0]
    return min(grid, key=lambda how: _error(series_VT, how, first))


def _error(series_VT: np.ndarray, how: SmoothingParameters, first: int) -> float:
    """Sum of squared errors of the forecasts of period ``first`` and later."""
    made = zip(range(1, series_VT.shape[1]), one_step_forecasts(series_VT, how), strict=False)
    return float(sum(np.square(series_VT[:, t] - forecast_V).sum() for t, forecast_V in made if t >= first))
