"""Trend on logs with a known future, its rising items, and on real logs against popularity."""

import os
from pathlib import Path

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.data.time_units import DAY_US
from segue.models.forecasting.trend import Trend, TrendConfig

DATA = Path(os.environ.get("SEGUE_DATA", Path(__file__).parents[4] / "shared" / "data"))


def make_log(counts_by_day):
    """A log with the given number of events of each item on each day: ``{item: [count on day 0, on day 1, ...]}``."""
    events = [
        (day * DAY_US + n, item)
        for item, counts in counts_by_day.items()
        for day, count in enumerate(counts)
        for n in range(count)
    ]
    events.sort()
    return Sequences.from_lists([[item for _, item in events]], [[time for time, _ in events]])


RISE = make_log(
    {1: [20] * 20, 2: [0] * 10 + [2 * day for day in range(10)], 3: [30 - day for day in range(20)], 4: [1] * 20}
)
"""Item 1 steady, 2 rising to 18 a day, 3 falling from 30 to 11, 4 rare; 5 never occurs."""


def fit(log=RISE, size=6, **values):
    return Trend.fit(log, size, TrendConfig(**{"period_s": 86_400.0, **values}))


@pytest.mark.parametrize("values", [{}, {"method": "ar", "lags": 2}, {"method": "var", "components": 2, "lags": 2}])
def test_every_method_forecasts_rising_and_falling_items(values):
    if values:
        pytest.importorskip("statsmodels", reason="needs the extra trend")
    model = fit(**values)
    forecast, baseline = model.forecast_V, model.baseline_V
    assert forecast[2] > 1.5 * baseline[2]
    assert forecast[3] < 0.8 * baseline[3]
    assert forecast[5] == 0 < forecast[4]
    assert np.argsort(-forecast[1:], kind="stable")[:2].tolist() == [0, 1]
    assert np.argsort(-model.events_V[1:], kind="stable")[:2].tolist() == [2, 0]


def test_rising_lists_the_best_lift_first_with_its_periods():
    first, *rest = fit().rising(5)
    assert first.item == 2
    assert first.lift == pytest.approx(first.forecast / first.baseline, rel=1e-6)
    assert first.events == 90
    assert first.recent[-3:] == (14, 16, 18)
    assert all(1 < row.lift <= first.lift for row in rest)
    assert 3 not in [row.item for row in rest]


def test_items_with_few_events_are_not_rising():
    log = make_log({1: [50] * 10, 2: [0] * 9 + [3], 3: [50] * 5 + [80] * 5})
    assert [row.item for row in fit(log, 4).rising(9, min_events=10)] == [3]
    assert fit(log, 4).rising(9, min_events=1)[0].item == 2
    assert len(fit(log, 4).rising(1, min_events=1)) == 1


def test_items_with_few_events_are_shrunk_to_their_mean():
    free, half, shrunk = (fit(shrinkage=s) for s in (0.0, 20.0, 1e9))
    np.testing.assert_allclose(shrunk.forecast_V[1:5], shrunk.baseline_V[1:5], rtol=1e-4)
    np.testing.assert_allclose(half.forecast_V[4], (free.forecast_V[4] + shrunk.forecast_V[4]) / 2, rtol=1e-5)


def test_a_day_of_twice_the_traffic_makes_no_item_rise():
    busy = make_log({1: [10] * 11 + [20], 2: [5] * 11 + [10]})
    assert fit(busy, 3).rising(5) == []


def test_without_times_it_is_all_time_popularity():
    model = Trend.fit(Sequences.from_lists([[1, 2, 2], [2, 3]]), 5, TrendConfig())
    assert model.forecast_V.tolist() == [0, 1, 3, 1, 0]
    assert model.rising(5, min_events=1) == []


def test_one_period_is_all_time_popularity_too():
    model = Trend.fit(Sequences.from_lists([[1, 2, 2]], [[7, 7, 8]]), 4, TrendConfig())
    np.testing.assert_allclose(model.forecast_V, [0, 1, 2, 0], rtol=1e-5)


def test_items_before_the_first_period_rank_above_items_without_events():
    log = Sequences.from_lists([[1, 2, 2]], [[0, 9 * DAY_US, 10 * DAY_US]])
    forecast = Trend.fit(log, 4, TrendConfig(period_s=6 * 86_400.0)).forecast_V
    assert forecast[2] > forecast[1] > forecast[3] == 0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "arima"}, "method must be exponential, ar or var, got 'arima'."),
        ({"period_s": 0.0}, "period_s must be above 0, or none, got 0.0."),
        ({"shrinkage": -1.0}, "shrinkage must be at least 0, got -1.0."),
        ({"lags": 0}, "lags must be at least 1, got 0."),
        ({"components": 0}, "components must be at least 1, got 0."),
    ],
)
def test_settings_out_of_range_are_refused(values, sentence):
    with pytest.raises(ValueError) as error:
        TrendConfig(**values)
    assert str(error.value) == sentence


def real_split(name):
    from segue.data.datasets.online_retail import load_online_retail
    from segue.data.readers.events import read_events

    if name == "online-retail":
        return split_log(load_online_retail()[0], "time")
    path = DATA / "ml-100k" / "ml-100k.inter"
    if not path.exists():
        pytest.skip(f"{path} is not there: set SEGUE_DATA to the folder that holds the benchmark logs.")
    return split_log(read_events(path), "time")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["online-retail", "ml-100k"])
def test_it_beats_all_time_popularity_on_a_time_split(name):
    """Evaluated on validation cases. In Online Retail the paired interval over its 1,100 users is above 0; the 175
    users of MovieLens-100K are too few for that."""
    from segue.evaluation.bootstrap import paired_difference
    from segue.evaluation.evaluate import evaluate
    from segue.workflows.fit_model import fit_model

    split = real_split(name)
    trend, popularity = (
        evaluate(fit_model(model, split).scorer, split.validation, exclude_seen=split.exclude_seen)
        for model in ("trend", "popularity")
    )
    gains = [result.values("ndcg", 10) for result in (trend, popularity)]
    difference, low, _ = paired_difference(*gains, trend.groups, np.random.default_rng(0))
    assert difference > 0.002
    assert low > (0 if name == "online-retail" else -0.001)
