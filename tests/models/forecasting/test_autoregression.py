"""Autoregressions on series with known coefficients, and against the same equations solved in another way."""

import sys

import numpy as np
import pytest

from segue.models.forecasting.autoregression import ar_forecast, var_forecast

pytest.importorskip("statsmodels", reason="needs the extra trend")


def test_ar_recovers_shared_coefficients():
    """y_t = 2 + 0.5 y_t-1 + 0.3 y_t-2, without noise, from twenty starts."""
    series = np.empty((20, 12))
    series[:, :2] = np.random.default_rng(0).uniform(0, 50, size=(20, 2))
    for t in range(2, 12):
        series[:, t] = 2 + 0.5 * series[:, t - 1] + 0.3 * series[:, t - 2]
    np.testing.assert_allclose(ar_forecast(series, 2), 2 + 0.5 * series[:, -1] + 0.3 * series[:, -2], rtol=1e-6)


def test_ar_equals_least_squares_by_hand():
    series = np.random.default_rng(1).poisson(4.0, size=(15, 9)).astype(np.float32)
    rows, expected = [], []
    for item in series.tolist():
        for t in range(3, 9):
            rows.append([1, np.mean(item[:t]), item[t - 1], item[t - 2], item[t - 3]])
            expected.append(item[t])
    solved = np.linalg.lstsq(np.array(rows), np.array(expected), rcond=None)[0]
    newest = np.array([[1, np.mean(item), item[-1], item[-2], item[-3]] for item in series.tolist()])
    np.testing.assert_allclose(ar_forecast(series, 3), np.maximum(newest @ solved, 0), rtol=1e-6)


def test_var_lets_items_inform_each_other():
    """Two tides that push each other, in thirty items' demand: the next period cannot be forecast from one item."""
    rng = np.random.default_rng(2)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    tides = [np.array([1.0, 0.0])]
    for _ in range(30):
        tides.append(turn @ tides[-1])
    mixing = rng.normal(size=(30, 2))
    series = 10 + mixing @ np.array(tides[:-1]).T
    np.testing.assert_allclose(var_forecast(series, 2, 1), 10 + mixing @ tides[-1], rtol=1e-6)


def test_var_equals_its_equations_solved_by_hand():
    series = np.random.default_rng(3).poisson(6.0, size=(40, 20)).astype(np.float64)
    mean = series.mean(axis=1, keepdims=True)
    left, values, right = np.linalg.svd(series - mean, full_matrices=False)
    scores = (right[:3] * values[:3, None]).T
    inputs = np.column_stack([np.ones(18), scores[1:-1], scores[:-2]])
    solved = np.linalg.lstsq(inputs, scores[2:], rcond=None)[0]
    following = np.concatenate([[1.0], scores[-1], scores[-2]]) @ solved
    expected = np.maximum(mean[:, 0] + left[:, :3] @ following, 0)
    np.testing.assert_allclose(var_forecast(series, 3, 2), expected, rtol=1e-6)


def test_one_component_is_a_plain_autoregression():
    """Demand that moves together: a tide that halves each period."""
    tide = 8 * 0.5 ** np.arange(12)
    series = np.array([[1.0], [2.0], [3.0]]) * tide
    np.testing.assert_allclose(var_forecast(series, 4, 1), [1 * tide[-1] / 2, tide[-1], 3 * tide[-1] / 2], rtol=1e-6)


def test_constant_demand_is_forecast_constant():
    np.testing.assert_allclose(var_forecast(np.full((4, 12), 3.0), 2, 1), [3.0] * 4)


def test_forecasts_are_not_negative():
    falling = np.linspace(50, 0, 20)[None] * np.ones((3, 1))
    noisy = falling + np.random.default_rng(0).normal(size=(3, 20))
    assert (ar_forecast(noisy, 2) >= 0).all()
    assert (var_forecast(noisy, 2, 1) >= 0).all()


@pytest.mark.parametrize(
    ("method", "call", "needed"),
    [
        ("ar", lambda series: ar_forecast(series, 4), 6),
        ("var", lambda series: var_forecast(series, 3, 4), 21),
    ],
)
def test_too_few_periods_are_refused(method, call, needed):
    call(np.random.default_rng(0).poisson(5.0, size=(9, needed)))
    with pytest.raises(ValueError) as error:
        call(np.ones((9, needed - 1)))
    assert str(error.value) == (
        f"Method {method} needs at least {needed} periods, and this log has {needed - 1}: choose a "
        "shorter period_s, fewer lags or components, or method exponential."
    )


@pytest.mark.parametrize(
    ("method", "call"),
    [("ar", lambda series: ar_forecast(series, 1)), ("var", lambda series: var_forecast(series, 2, 1))],
)
def test_a_missing_library_is_named(monkeypatch, method, call):
    monkeypatch.setitem(sys.modules, "statsmodels.api", None)
    with pytest.raises(ValueError) as error:
        call(np.random.default_rng(0).poisson(5.0, size=(5, 20)))
    assert str(error.value) == f"Method {method} needs statsmodels: pip install 'segue[trend]'."
