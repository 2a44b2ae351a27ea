"""Autoregressive forecasts with statsmodels: coefficients shared by all items (AR), or principal components (VAR).

Shape letters: V items, T periods (oldest first), L lags, R components.
"""

from typing import Any

import numpy as np

from segue.models.top_k import order_by_score_then_index

MAX_TRAINING_SERIES = 20_000
"""Number of items with the most demand on which coefficients are fitted: more cost memory and hardly change them."""


def ar_forecast(series_VT: np.ndarray, lags: int) -> np.ndarray:
    """Forecast the period after the series with an autoregression whose coefficients all items share.

    y_t = c + a_0 * mean(y before t) + a_1 y_t-1 + ... + a_L y_t-L, by least squares over all items and periods. It is a
    global model (Montero-Manso & Hyndman 2021): one item has a few dozen counts, mostly small, and its own coefficients
    would be noise.

    Args:
        series_VT: demand per item and period.
        lags: L, number of previous periods.

    Returns:
        float64 [V], at least 0.

    Raises:
        ValueError: fewer than L + 2 periods, or statsmodels is missing.
    """
    _check_length("ar", series_VT.shape[1], lags + 2)
    least_squares = _statsmodels("ar").OLS
    total_V = series_VT.sum(axis=1)
    training_items = np.sort(order_by_score_then_index(total_V)[:MAX_TRAINING_SERIES])
    training_VT = series_VT[training_items].astype(np.float64)
    times = range(lags, series_VT.shape[1])
    inputs = np.concatenate([_inputs(training_VT[:, :t], lags) for t in times])
    targets = np.concatenate([training_VT[:, t] for t in times])
    coefficients = least_squares(targets, inputs).fit().params
    forecast_V: np.ndarray = _inputs(series_VT.astype(np.float64), lags) @ coefficients
    return np.maximum(forecast_V, 0.0)


def _inputs(series_VT: np.ndarray, lags: int) -> np.ndarray:
    """Return the regression inputs [V, L + 2]: 1, the mean so far, the newest L periods, the newest first."""
    newest = series_VT[:, : -lags - 1 : -1]
    return np.column_stack([np.ones(len(series_VT)), series_VT.mean(axis=1), newest])


def var_forecast(series_VT: np.ndarray, components: int, lags: int) -> np.ndarray:
    """Forecast the period after the series with a vector autoregression on the principal components of demand.

    The components are shared by many items (a season, a fashion, growth), so that items inform each other, as in
    diffusion-index forecasts (Stock & Watson 2002).

    Args:
        series_VT: demand per item and period.
        components: R, largest number of leading principal components.
        lags: L, number of previous periods.

    Returns:
        float64 [V], at least 0.

    Raises:
        ValueError: fewer than L * (R + 1) + R + 2 periods, or statsmodels is missing.
    """
    periods = series_VT.shape[1]
    _check_length("var", periods, lags * (components + 1) + components + 2)
    mean_V = series_VT.mean(axis=1, dtype=np.float64)
    centered_VT = series_VT - mean_V[:, None]
    loadings_VR, scores_TR = _principal(centered_VT, components)
    if scores_TR.shape[1] == 0:
        return mean_V
    models = _statsmodels("var")
    if scores_TR.shape[1] == 1:  # VAR needs two series
        next_R = models.tsa.AutoReg(scores_TR[:, 0], lags, trend="c").fit().forecast(1)
    else:
        next_R = models.tsa.VAR(scores_TR).fit(lags, trend="c").forecast(scores_TR[-lags:], 1)[0]
    return np.maximum(mean_V + loadings_VR @ next_R, 0.0)


def _principal(centered_VT: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (loadings [V, R], scores [T, R]) of the leading principal components, at most ``components``.

    Their product is the best approximation of that rank. It is computed from the [T, T] products, because T << V.
    """
    values, vectors = np.linalg.eigh(centered_VT.T @ centered_VT)
    leading = order_by_score_then_index(values)[:components]
    leading = leading[values[leading] > 1e-9 * max(values.max(initial=0.0), 1e-12)]
    scores_TR = vectors[:, leading] * np.sqrt(values[leading])
    return centered_VT @ vectors[:, leading] / np.sqrt(values[leading]), scores_TR


def _check_length(method: str, periods: int, needed: int) -> None:
    if periods < needed:
        raise ValueError(
            f"Method {method} needs at least {needed} periods, and this log has {periods}: choose a "
            "shorter period_s, fewer lags or components, or method exponential."
        )


def _statsmodels(method: str) -> Any:
    try:
        import statsmodels.api as models
    except ModuleNotFoundError:
        raise ValueError(f"Method {method} needs statsmodels: pip install 'segue[trend]'.") from None
    return models
