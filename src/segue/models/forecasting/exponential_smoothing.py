"""Exponential smoothing of the demand of all items at once; its rate and trend minimize the one-step error.

Simple smoothing, and Holt's with a damped trend (Gardner & McKenzie 1985; Hyndman & Athanasopoulos, "Forecasting:
Principles and Practice", section 8.2)::

    forecast_t = level_t-1 + damping * trend_t-1
    level_t    = forecast_t + rate * (y_t - forecast_t)
    trend_t    = damping * trend_t-1 + trend * (level_t - level_t-1 - damping * trend_t-1)

A young series has no initial level. As long as 1 / t is above the rate, 1 / t is used: the level is then the mean of
the periods so far. A rate of 0 is all-time popularity, and later periods do not leak into the initial level.

Shape letters: V items, T periods, oldest first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

RATES = (0.0, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TRENDS = (0.0, 0.05, 0.2)
DAMPING = 0.9
"""Factor on a trend per period: demand does not grow without bound."""


@dataclass(frozen=True)
class SmoothingParameters:
    """Smoothing parameters of level and trend."""

    rate: float
    """Weight of the newest period in the level, from 0 (all periods alike) to 1 (the newest alone)."""
    trend: float = 0.0
    """Weight of the newest change in the trend; 0: no trend."""


def one_step_forecasts(series_VT: np.ndarray, parameters: SmoothingParameters) -> Iterator[np.ndarray]:
    """Yield the forecasts of periods 1, 2, ..., T, each from the periods before it alone; float64 [V] each.

    The last one is the forecast of the period after the series.

    Args:
        series_VT: demand per item and period.
        parameters: rate and trend.

    Raises:
        ValueError: a series without a period.
    """
    periods = series_VT.shape[1]
    if periods < 1:
        raise ValueError("A forecast needs at least one period.")
    level_V = series_VT[:, 0].astype(np.float64)
    trend_V = np.zeros_like(level_V)
    yield level_V.copy()
    for t in range(1, periods):
        forecast_V = level_V + DAMPING * trend_V
        is_settled = (t + 1) * parameters.rate >= 1.0
        new_level_V = forecast_V + (parameters.rate if is_settled else 1 / (t + 1)) * (series_VT[:, t] - forecast_V)
        if is_settled and parameters.trend > 0:
            trend_V = DAMPING * trend_V + parameters.trend * (new_level_V - level_V - DAMPING * trend_V)
        level_V = new_level_V
        yield level_V + DAMPING * trend_V


def forecast(series_VT: np.ndarray, parameters: SmoothingParameters) -> np.ndarray:
    """Forecast the period after the series.

    Args:
        series_VT: demand per item and period.
        parameters: rate and trend.

    Returns:
        float64 [V], at least 0.
    """
    last_V = np.zeros(len(series_VT))
    for forecast_V in one_step_forecasts(series_VT, parameters):
        last_V = forecast_V
    return np.maximum(last_V, 0.0)


def select_parameters(series_VT: np.ndarray) -> SmoothingParameters:
    """Select rate and trend by the squared one-step error over all items and the last two thirds of the periods.

    Ties: the slower rate. With too few periods to compare, rate 0: all-time popularity.
    """
    first = max(2, series_VT.shape[1] // 3)
    if series_VT.shape[1] <= first:
        return SmoothingParameters(0.0)
    grid = [SmoothingParameters(rate, trend) for trend, rate in product(TRENDS, RATES) if trend == 0 or rate > 0]
    return min(grid, key=lambda parameters: _error(series_VT, parameters, first))


def _error(series_VT: np.ndarray, parameters: SmoothingParameters, first: int) -> float:
    """Return the sum of squared errors of the forecasts of period ``first`` and later."""
    forecasts = zip(range(1, series_VT.shape[1]), one_step_forecasts(series_VT, parameters), strict=False)
    return float(sum(np.square(series_VT[:, t] - forecast_V).sum() for t, forecast_V in forecasts if t >= first))
