"""Exponential smoothing against statsmodels, against weights by hand, and the selection of its rate."""

import numpy as np
import pytest

from segue.models.forecasting.exponential_smoothing import (
    DAMPING,
    SmoothingParameters,
    forecast,
    one_step_forecasts,
    select_parameters,
)


@pytest.fixture
def series():
    """Six items, thirty periods."""
    return np.random.default_rng(0).poisson(5.0, size=(6, 30)).astype(np.float32)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("trend", [0.0, 0.2])
def test_smoothing_equals_statsmodels(series, rate, trend):
    """Started, as ours, with the mean of the first periods, until their number reaches 1 / rate."""
    reference = pytest.importorskip("statsmodels.tsa.api", reason="needs the extra trend")
    start = max(1, int(np.ceil(1 / rate)) - 1)
    for row, ours in zip(series, forecast(series, SmoothingParameters(rate, trend)), strict=True):
        model = reference.Holt(
            row[start:].astype(float),
            damped_trend=True,
            initialization_method="known",
            initial_level=row[:start].mean(),
            initial_trend=0.0,
        )
        fitted = model.fit(smoothing_level=rate, smoothing_trend=trend, damping_trend=DAMPING, optimized=False)
        assert ours == pytest.approx(max(0.0, fitted.forecast(1)[0]), rel=1e-6)


def test_simple_smoothing_is_a_weighted_mean(series):
    """With rate 1/2: the newest counts half, the one before a quarter, ..., the first as much as the second."""
    weights = np.append(0.5 ** np.arange(1, 30), 0.5**29)
    np.testing.assert_allclose(forecast(series, SmoothingParameters(0.5)), series[:, ::-1] @ weights, rtol=1e-6)


def test_no_rate_is_the_mean_and_rate_one_the_last_period(series):
    np.testing.assert_allclose(forecast(series, SmoothingParameters(0.0)), series.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(forecast(series, SmoothingParameters(1.0)), series[:, -1])


def test_every_forecast_uses_earlier_periods_only(series):
    parameters = SmoothingParameters(0.3, 0.2)
    forecasts = [row.copy() for row in one_step_forecasts(series, parameters)]
    assert len(forecasts) == 30
    for t in (1, 2, 7, 29):
        changed = series.copy()
        changed[:, t:] = 99.0
        np.testing.assert_array_equal(forecasts[t - 1], list(one_step_forecasts(changed, parameters))[t - 1])
    np.testing.assert_array_equal(np.maximum(forecasts[-1], 0), forecast(series, parameters))


def test_a_trend_is_damped_and_never_negative():
    line = np.arange(40, dtype=np.float32)[None]
    up, flat = forecast(line, SmoothingParameters(0.5, 0.2))[0], forecast(line, SmoothingParameters(0.5))[0]
    assert flat < up < 41
    assert forecast(line[:, ::-1], SmoothingParameters(0.9, 0.5))[0] == 0.0


def test_noise_gets_a_low_rate_and_a_random_walk_a_high_one():
    rng = np.random.default_rng(1)
    noise = 20 + rng.normal(size=(30, 40))
    walk = 20 + rng.normal(size=(30, 40)).cumsum(axis=1)
    assert select_parameters(noise).rate <= 0.05
    assert select_parameters(walk).rate >= 0.8


def test_the_chosen_rate_has_the_smallest_error_of_all(series):
    """A naive search, item by item and period by period."""

    def error(rate):
        total = 0.0
        for row in series:
            level = row[0]
            for t in range(1, 30):
                if t >= 10:
                    total += (row[t] - level) ** 2
                gain = rate if rate * (t + 1) >= 1 else 1 / (t + 1)
                level = level + gain * (row[t] - level)
        return total

    selected = select_parameters(series)
    assert selected.trend == 0.0
    assert all(error(selected.rate) <= error(rate) for rate in (0.0, 0.05, 0.1, 0.3, 0.5, 0.9))


@pytest.mark.parametrize("periods", [1, 2])
def test_too_few_periods_give_rate_zero(periods):
    assert select_parameters(np.ones((3, periods), dtype=np.float32)) == SmoothingParameters(0.0)


def test_a_series_without_periods_is_refused():
    with pytest.raises(ValueError) as error:
        forecast(np.ones((3, 0), dtype=np.float32), SmoothingParameters(0.5))
    assert str(error.value) == "A forecast needs at least one period."
