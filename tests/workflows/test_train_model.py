"""Comparison of models: rows, paired differences, progress; and the saved model of a training."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import segue
from segue.data.evaluation_cases import Split
from segue.data.splits.split import split_log
from segue.models import artifact
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.workflows.compare_models import compare, iter_results, metric_difference
from segue.workflows.comparison.model_result import CompareOptions, ModelResult
from segue.workflows.job import TrainJob
from segue.workflows.train_model import refit_and_save, train_model

SMALL = {"embedding_dim": 8, "epochs": 2, "batch_tokens": 64}


@pytest.fixture(scope="module")
def log() -> "segue.EventLog":
    """Forty users go round a ring of nine items, and skip an item with probability 0.2."""
    rng = np.random.default_rng(7)
    rows = []
    for user in range(40):
        position = user
        for step in range(7):
            position += 2 if rng.random() < 0.2 else 1
            rows.append((f"u{user}", f"i{position % 9}", 1_700_000_000 + 100 * step + user))
    return segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.fixture(scope="module")
def split(log: "segue.EventLog") -> Split:
    return split_log(log, "time")


def test_rows_have_the_given_order_and_neural_models_one_row_a_seed(split: Split) -> None:
    rows = compare(split, ["markov", "gru4rec", "popularity"], {"gru4rec": SMALL}, CompareOptions(seeds=2))
    assert [(r.model, r.seed) for r in rows] == [("markov", 0), ("gru4rec", 0), ("gru4rec", 1), ("popularity", 0)]
    assert len({r.data for r in rows}) == len({r.test_cases for r in rows}) == 1
    assert rows[1].metrics != rows[2].metrics


def test_names_with_underscores_and_settings_by_the_given_name(split: Split) -> None:
    (row,) = compare(split, ["item_knn"], {"item_knn": {"decay": 0.5}})
    assert (row.model, row.settings["decay"]) == ("item-knn", 0.5)


def test_progress_is_reported(split: Split) -> None:
    reports: list[tuple[str, Any]] = []
    compare(split, ["markov"], progress=lambda stage, state: reports.append((stage, state)))
    assert reports[:2] == [("training markov", None), ("evaluating markov", None)]
    done, total = reports[-1][1]
    assert done == total > 0


def test_a_row_is_plain_json_without_the_ranks_of_cases(split: Split) -> None:
    (row,) = compare(split, ["markov"])
    plain = json.loads(json.dumps(row.to_dict(), allow_nan=False))
    assert set(plain) == {f.name for f in dataclasses.fields(ModelResult)} - {"evaluation"}
    assert plain["metrics"] == row.metrics


def test_metric_difference_is_the_difference_of_the_means(split: Split) -> None:
    first, second = compare(split, ["markov", "popularity"])
    ahead, low, high = metric_difference(first, second, "recall@5")
    assert ahead == pytest.approx(first.metrics["recall@5"] - second.metrics["recall@5"])
    assert low < ahead < high
    assert metric_difference(second, first, "recall@5") == pytest.approx((-ahead, -high, -low))
    assert metric_difference(first, first) == (0, 0, 0)


def test_metric_difference_on_other_data_is_refused(log: "segue.EventLog", split: Split) -> None:
    (first,) = compare(split, ["markov"])
    (second,) = compare(split_log(log, "leave-last-out"), ["popularity"])
    sentence = "markov and popularity were evaluated on different data and cannot be compared."
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        metric_difference(first, second)


def test_refit_trains_on_validation_events_too(split: Split) -> None:
    (without,) = compare(split, ["markov"], options=CompareOptions(refit=False))
    (with_all,) = compare(split, ["markov"])
    assert (without.refit, with_all.refit) == (False, True)
    assert without.metrics != with_all.metrics


def test_the_evaluated_model_is_not_trained_on_test_events(log: "segue.EventLog", split: Split, tmp_path: Path) -> None:
    result, version = train_model(log, "covisit", tmp_path / "all")
    (evaluated,) = compare(split, ["covisit"])
    assert result.metrics == evaluated.metrics
    saved = artifact.load(tmp_path / "all")
    assert (saved.version, saved.about["metrics"]) == (version, evaluated.metrics)
    assert saved.about["trained_on_everything"] is True
    assert {"protocol", "data", "seed", "events", "segue", "tie_rule"} <= set(saved.about)
    assert "evaluation" not in saved.about
    everything, _ = log.sequences(log.catalog())
    whole = CoVisit.fit(everything, saved.catalog.size, CoVisitConfig()).arrays()
    for name, array in whole.items():
        np.testing.assert_array_equal(saved.arrays[name], array)


def test_without_refit_the_evaluated_model_is_saved(log: "segue.EventLog", split: Split, tmp_path: Path) -> None:
    ((result, fitted),) = iter_results(split, ["covisit"])
    refit_and_save(log, result, fitted, tmp_path / "run", TrainJob(refit=False))
    saved = artifact.load(tmp_path / "run")
    assert saved.about["trained_on_everything"] is False
    assert saved.catalog.fingerprint == split.catalog.fingerprint
    for name, array in fitted.scorer.arrays().items():
        np.testing.assert_array_equal(saved.arrays[name], array)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0."),
        ({"ks": ()}, "List lengths must be at least 1, got []."),
        ({"ks": (5, 0)}, "List lengths must be at least 1, got [5, 0]."),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        CompareOptions(**options)


def test_a_training_that_will_not_fit_is_refused_before_it_begins(split: Split) -> None:
    with pytest.raises(
        ValueError, match="memory_gb allows 1e-06: raise it, lower dim or batch_tokens, or leave out rare"
    ):
        compare(split, ["gru4rec"], {"gru4rec": {**SMALL, "memory_gb": 1e-6}})


def test_a_time_aware_model_is_marked_and_receives_target_times(split: Split) -> None:
    """One model with and without ``target_time``: only the first receives the times of its targets."""
    small = {**SMALL, "max_length": 8, "num_heads": 1, "covisitation_weight": 0.0, "learning_rate": 0.02}
    options = CompareOptions(refit=False)
    aware, plain = (
        compare(split, ["hstu"], {"hstu": {**small, "target_time": on}}, options)[0] for on in (True, False)
    )
    assert (aware.time_aware, plain.time_aware) == (True, False)
    assert aware.protocol == plain.protocol + "; time-aware: the model receives the time of each target"
    assert plain.protocol == split.protocol
    assert aware.evaluation.ranks.tolist() != plain.evaluation.ranks.tolist()


def test_a_log_without_timestamps_has_no_target_times(log: "segue.EventLog") -> None:
    order = split_log(segue.read_events(log.frame.select("user_id", "item_id")), "leave-last-out")
    with pytest.raises(ValueError) as refused:
        compare(order, ["hstu"], {"hstu": {**SMALL, "target_time": True}})
    assert str(refused.value) == (
        "This log has an order but no times, so targets have no query time: leave target_time out."
    )
