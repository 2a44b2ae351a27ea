"""Forecasts by regression on the periods before, through statsmodels: each item on its own, or all of them together.

Shape letters: V items, T periods (oldest first), L lags, R components.
"""

from typing import Any

import numpy as np

from segue.models.top_k import order_by_score_then_index

MAX_TRAINING_SERIES = 20_000
"""The coefficients are learned from so many of the most wanted items: more would not move them, and cost memory."""


def ar_forecast(series_VT: np.ndarray, lags: int) -> np.ndarray:
    """An autoregression whose coefficients all items share, float64 [V]: the period after the series.

    y_t = c + a_0 * mean(y before t) + a_1 y_t-1 + ... + a_L y_t-L, by least squares over all items and periods at
    once. A global model (Montero-Manso & Hyndman 2021): an item alone has a few dozen counts, mostly small, and its own
    coefficients would be noise. ValueError for fewer than L + 2 periods.
    """
    _check_length("ar", series_VT.shape[1], lags + 2)
    regress = _statsmodels("ar").OLS
    total_V = series_VT.sum(axis=1)
    taught = np.sort(order_by_score_then_index(total_V)[:MAX_TRAINING_SERIES])
    known_VT = series_VT[taught].astype(np.float64)
    times = range(lags, series_VT.shape[1])
    inputs = np.concatenate([_inputs(known_VT[:, :t], lags) for t in times])
    wanted = np.concatenate([known_VT[:, t] for t in times])
    coefficients = regress(wanted, inputs).fit().params
    forecast_V: np.ndarray = _inputs(series_VT.astype(np.float64), lags) @ coefficients
    return np.maximum(forecast_V, 0.0)


def _inputs(series_VT: np.ndarray, lags: int) -> np.ndarray:
    """[V, L + 2]: one, the mean so far, the newest L periods from the newest to the oldest."""
    newest = series_VT[:, : -lags - 1 : -1]
    return np.column_stack([np.ones(len(series_VT)), series_VT.mean(axis=1), newest])


def var_forecast(series_VT: np.ndarray, components: int, lags: int) -> np.ndarray:
    """A vector autoregression on the leading principal components of demand, float64 [V]: the period after the series.

    The components are what many items have in common (a season, a fashion, growth), so that an item's trend is told by
    others', too. As in diffusion-index forecasts (Stock & Watson 2002). ValueError for fewer than
    L * (R + 1) + R + 2 periods.
    """
    periods = series_VT.shape[1]
    _check_length("var", periods, lags * (components + 1) + components + 2)
    mean_V = series_VT.mean(axis=1, dtype=np.float64)
    centred_VT = series_VT - mean_V[:, None]
    loadings_VR, scores_TR = _principal(centred_VT, components)
    if scores_TR.shape[1] == 0:
        return mean_V
    models = _statsmodels("var")
    if scores_TR.shape[1] == 1:  # one series is no vector
        next_R = models.tsa.AutoReg(scores_TR[:, 0], lags, trend="c").fit().forecast(1)
    else:
        next_R = models.tsa.VAR(scores_TR).fit(lags, trend="c").forecast(scores_TR[-lags:], 1)[0]
    return np.maximum(mean_V + loadings_VR @ next_R, 0.0)


def _principal(centred_VT: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """(loadings [V, R], scores [T, R]) of the leading components, as many as there are at most ``components``: the
    product is the best approximation of that rank. By way of the [T, T] products, as T is small and V is not."""
    values, vectors = np.linalg.eigh(centred_VT.T @ centred_VT)
    leading = order_by_score_then_index(values)[:components]
    leading = leading[values[leading] > 1e-9 * max(values.max(initial=0.0), 1e-12)]
    scores_TR = vectors[:, leading] * np.sqrt(values[leading])
    return centred_VT @ vectors[:, leading] / np.sqrt(values[leading]), scores_TR


def _check_length(method: str, periods: int, needed: int) -> None:
    if periods < needed:
        raise ValueError(
            f"Method {method} needs at least {needed} periods to learn from, and this log has {periods}: choose a "
            "shorter period_s, fewer lags or components, or method exponential."
        )


def _statsmodels(method: str) -> Any:
    try:
        import statsmodels.api as models
    except ModuleNotFoundError:
        raise ValueError(f"Method {method} needs statsmodels: pip install 'segue[trend]'.") from None
    return models
