"""The trend on shops whose future is known, what rises in them, and real shops where it must beat popularity."""

import os
from pathlib import Path

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.models.forecasting.trend import Trend, TrendConfig

DAY_US = 86_400_000_000
DATA = Path(os.environ.get("SEGUE_DATA", Path(__file__).parents[4] / "shared" / "data"))


def shop(counts_by_day):
    """A log that takes each item so often on each day: ``{item: [count on day 0, on day 1, ...]}``."""
    events = [
        (day * DAY_US + n, item)
        for item, counts in counts_by_day.items()
        for day, count in enumerate(counts)
        for n in range(count)
    ]
    events.sort()
    return Sequences.from_lists([[item for _, item in events]], [[time for time, _ in events]])


RISE = shop(
    {1: [20] * 20, 2: [0] * 10 + [2 * day for day in range(10)], 3: [30 - day for day in range(20)], 4: [1] * 20}
)
"""Item 1 steady, 2 rising to 18 a day, 3 falling from 30 to 11, 4 rare; 5 never occurs."""


def fitted(log=RISE, size=6, **values):
    return Trend.fit(log, size, TrendConfig(**{"period_s": 86_400.0, **values}))


@pytest.mark.parametrize("values", [{}, {"method": "ar", "lags": 2}, {"method": "var", "components": 2, "lags": 2}])
def test_every_method_sees_what_rises_and_what_falls(values):
    if values:
        pytest.importorskip("statsmodels", reason="needs the extra trend")
    model = fitted(**values)
    forecast, usual = model.forecast_V, model.usual_V
    assert forecast[2] > 1.5 * usual[2]
    assert forecast[3] < 0.8 * usual[3]
    assert forecast[5] == 0 < forecast[4]
    assert np.argsort(-forecast[1:], kind="stable")[:2].tolist() == [0, 1]
    assert np.argsort(-model.events_V[1:], kind="stable")[:2].tolist() == [2, 0]


def test_rising_lists_the_best_lift_first_with_its_periods():
    first, *rest = fitted().rising(5)
    assert first.item == 2
    assert first.lift == pytest.approx(first.forecast / first.baseline, rel=1e-6)
    assert first.events == 90
    assert first.recent[-3:] == (14, 16, 18)
    assert all(1 < one.lift <= first.lift for one in rest)
    assert 3 not in [one.item for one in rest]


def test_what_is_too_rare_is_not_said_to_rise():
    once = shop({1: [50] * 10, 2: [0] * 9 + [3], 3: [50] * 5 + [80] * 5})
    assert [one.item for one in fitted(once, 4).rising(9, min_events=10)] == [3]
    assert fitted(once, 4).rising(9, min_events=1)[0].item == 2
    assert len(fitted(once, 4).rising(1, min_events=1)) == 1


def test_rare_items_are_drawn_to_their_mean():
    free, half, held = (fitted(shrinkage=s) for s in (0.0, 20.0, 1e9))
    np.testing.assert_allclose(held.forecast_V[1:5], held.usual_V[1:5], rtol=1e-4)
    np.testing.assert_allclose(half.forecast_V[4], (free.forecast_V[4] + held.forecast_V[4]) / 2, rtol=1e-5)


def test_a_day_of_twice_the_traffic_is_no_rise_of_anything():
    busy = shop({1: [10] * 11 + [20], 2: [5] * 11 + [10]})
    assert fitted(busy, 3).rising(5) == []


def test_without_times_it_is_all_time_popularity():
    model = Trend.fit(Sequences.from_lists([[1, 2, 2], [2, 3]]), 5, TrendConfig())
    assert model.forecast_V.tolist() == [0, 1, 3, 1, 0]
    assert model.rising(5, min_events=1) == []


def test_one_period_is_all_time_popularity_too():
    model = Trend.fit(Sequences.from_lists([[1, 2, 2]], [[7, 7, 8]]), 4, TrendConfig())
    np.testing.assert_allclose(model.forecast_V, [0, 1, 2, 0], rtol=1e-5)


def test_what_sold_only_before_the_first_whole_period_precedes_what_never_sold():
    log = Sequences.from_lists([[1, 2, 2]], [[0, 9 * DAY_US, 10 * DAY_US]])
    forecast = Trend.fit(log, 4, TrendConfig(period_s=6 * 86_400.0)).forecast_V
    assert forecast[2] > forecast[1] > forecast[3] == 0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "arima"}, "method must be exponential, ar or var, got 'arima'."),
        ({"period_s": 0.0}, "period_s must be above 0, got 0.0."),
        ({"shrinkage": -1.0}, "shrinkage must be at least 0, got -1.0."),
        ({"lags": 0}, "lags must be at least 1, got 0."),
        ({"components": 0}, "components must be at least 1, got 0."),
    ],
)
def test_settings_that_make_no_sense(values, sentence):
    with pytest.raises(ValueError) as error:
        TrendConfig(**values)
    assert str(error.value) == sentence


def real(name):
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
    """Judged on validation. In the shop beyond chance: the paired interval over its 1,100 people is above 0; the 175
    people of MovieLens-100K are too few for that."""
    from segue.evaluation.bootstrap import paired_difference
    from segue.evaluation.evaluate import evaluate
    from segue.evaluation.metrics import ndcg
    from segue.workflows.fit_model import fit_model

    split = real(name)
    trend, popularity = (
        evaluate(fit_model(model, split).scorer, split.validation, exclude_seen=split.exclude_seen)
        for model in ("trend", "popularity")
    )
    gains = [ndcg(found.ranks, 10) for found in (trend, popularity)]
    ahead, low, _ = paired_difference(*gains, trend.groups, np.random.default_rng(0))
    assert ahead > 0.002
    assert low > (0 if name == "online-retail" else -0.001)
