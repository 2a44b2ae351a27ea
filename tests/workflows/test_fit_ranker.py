"""Fit of rankers on a split: accuracy, equal seeds, calibration, no leakage of later events."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from segue.data.evaluation_cases import Split
from segue.data.event_log import EventLog
from segue.data.impressions import click_examples_from_impressions
from segue.data.readers.events import read_events
from segue.data.splits.split import split_log
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.ranker import RANKERS, find_ranker
from segue.training.rankers.candidate_sampling import CandidateSamplingConfig, SampledExamples
from segue.training.rankers.config import RankerTrainingConfig
from segue.workflows.fit_ranker import FittedRanker, RankerData, evaluate_ranker, fit_ranker, with_full_histories

QUICK: dict[str, Any] = {
    "embedding_dim": 16,
    "max_length": 8,
    "epochs": 8,
    "batch_size": 64,
    "learning_rate": 1e-2,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def log() -> EventLog:
    """A ring of 20 items: after i comes i + 1, one time in five something else."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(300):
        item, time = int(rng.integers(20)), int(rng.integers(10_000))
        for _ in range(12):
            rows.append((f"p{user}", f"i{item:02d}", 1_600_000_000 + time))
            item = (item + 1) % 20 if rng.random() < 0.8 else int(rng.integers(20))
            time += int(rng.integers(1, 600))
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.fixture(scope="module")
def split(log: EventLog) -> Split:
    return split_log(log, "time")


@pytest.fixture(scope="module")
def data(split: Split) -> RankerData:
    return RankerData.from_split(
        split, sampling=CandidateSamplingConfig(num_popular=1, num_hard=1, num_retrieved=5, newest_share=0.5)
    )


@pytest.fixture(scope="module")
def fitted(data: RankerData) -> FittedRanker:
    return fit_ranker("dual-gru", data, QUICK)


@pytest.mark.parametrize("name", RANKERS)
def test_rankers_predict_the_ring(
    name: str, data: RankerData, fitted: FittedRanker, log: EventLog, split: Split
) -> None:
    """Four of five targets follow from the newest event. The pooled baseline cannot know which event is the newest, but
    for its age."""
    result = fitted if name == "dual-gru" else fit_ranker(name, data, QUICK)
    histories = with_full_histories(log, split)
    cases = SampledExamples(split.test, histories, None, CandidateSamplingConfig(num_popular=3, num_hard=0)).draw(
        np.random.default_rng(1)
    )
    figures = evaluate_ranker(result.ranker, cases, histories)
    assert figures["auc"] > (0.7 if name == "pooled" else 0.8), figures
    assert result.notes["validation_auc"][result.notes["best_epoch"] - 1] == max(result.notes["validation_auc"])


def test_is_calibrated_on_validation(data: RankerData, fitted: FittedRanker) -> None:
    figures = evaluate_ranker(fitted.ranker, data.validation, data.item_histories)
    assert figures["ece"] < 0.05
    assert figures["logloss"] <= figures["logloss_uncalibrated"] + 1e-3
    bent = fit_ranker("pooled", data, QUICK | {"epochs": 1, "calibration": "isotonic"})
    assert len(bent.ranker.calibration.raw_K) > 2


def test_equal_arguments_give_equal_rankers(data: RankerData) -> None:
    short = QUICK | {"epochs": 1, "dropout": 0.2}
    runs = [fit_ranker("dual-gru", data, short, seed=seed).ranker.arrays() for seed in (3, 3, 4)]
    for name, value in runs[0].items():
        np.testing.assert_array_equal(value, runs[1][name], err_msg=name)
    assert (runs[0]["net.head.first.weight"] != runs[2]["net.head.first.weight"]).any()


def test_later_events_change_no_earlier_score(fitted: FittedRanker, log: EventLog, split: Split) -> None:
    """Events after the median test time get other items: scores of cases up to it stay equal, bit for bit."""
    histories = with_full_histories(log, split)
    draw = SampledExamples(split.test, histories, None, CandidateSamplingConfig(num_popular=3, num_hard=0))
    cases = draw.draw(np.random.default_rng(1))
    median_us = int(np.median(cases.times_B))
    early = cases.take(cases.times_B <= median_us)
    assert 0 < len(early) < len(cases)
    names = log.frame["item_id"].to_list()
    late = (log.frame["timestamp"] >= median_us).to_list()
    other = [f"i{(int(name[1:]) + 7) % 20:02d}" if is_late else name for name, is_late in zip(names, late, strict=True)]
    changed = with_full_histories(log.with_frame(log.frame.with_columns(pl.Series("item_id", other))), split)
    assert evaluate_ranker(fitted.ranker, early, changed) == evaluate_ranker(fitted.ranker, early, histories)


def test_training_histories_end_before_validation(split: Split, data: RankerData) -> None:
    """Item histories of the training come from training events alone."""
    assert data.train.interactions.times_N.max() < data.validation.times_B.min()
    assert data.item_histories.times_N.max() > data.validation.times_B.min()
    assert split.train.times is not None
    wanted = ItemHistories.from_sequences(split.train, split.catalog.size)
    np.testing.assert_array_equal(data.train.interactions.keys_N, wanted.keys_N)


def test_embeddings_and_retriever_are_not_fitted_on_targets(data: RankerData, split: Split) -> None:
    """The base is each user's older events; the targets are exactly the newer ones."""
    assert data.base.starts.tolist() == split.train.starts.tolist()
    held = split.train.num_events - data.base.num_events
    assert held == np.ceil(split.train.lengths * 0.5).sum()
    assert isinstance(data.train, SampledExamples)
    cases = data.train.cases
    assert (cases.histories.stops >= data.base.stops[cases.groups]).all()
    assert 0.8 * held < len(cases) <= held


def test_a_ranker_is_trained_on_impressions(log: EventLog) -> None:
    """Each event follows an impression of its item and one of another item: only the first is clicked."""
    rng = np.random.default_rng(2)
    events = log.frame.with_columns(pl.lit("click").alias("event"))
    impressions = events.with_columns(pl.lit("view").alias("event"), pl.col("timestamp") - 1_000_000)
    other = impressions.with_columns(pl.Series("item_id", [f"i{i:02d}" for i in rng.integers(20, size=len(log))]))
    both = log.with_frame(pl.concat([events, impressions, other], how="vertical"))
    catalog = both.catalog()
    cases = click_examples_from_impressions(both, catalog, window_s=2.0)
    clicks, _ = log.sequences(catalog)
    data = RankerData.from_impressions(cases, clicks, catalog.size)
    assert data.base.times is not None
    times_us = data.train.draw(rng).times_B
    assert data.base.times[data.base.positions()[1]].max() < times_us.min()
    assert times_us.max() < data.validation.times_B.min()
    found = fit_ranker("dual-gru", data, QUICK)
    assert evaluate_ranker(found.ranker, data.validation, data.item_histories)["auc"] > 0.8


def test_unknown_rankers_and_settings_are_refused(data: RankerData) -> None:
    with pytest.raises(ValueError) as error:
        find_ranker("deepfm")
    assert str(error.value) == "There is no ranker 'deepfm'. Known rankers: pooled, din, dien, dual-gru."
    assert find_ranker("Dual_GRU") is RANKERS["dual-gru"]
    with pytest.raises(ValueError) as error:
        fit_ranker("din", data, {"item_history_length": 4})
    assert str(error.value).startswith("Unknown setting 'item_history_length'.")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0."),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, got 0.0."),
        ({"embedding_rate": -1.0}, "embedding_rate must be at least 0, got -1.0."),
    ],
)
def test_a_wrong_training_setting_is_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        replace(RankerTrainingConfig(), **values)
    assert str(error.value) == sentence
