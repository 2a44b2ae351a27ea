"""Ranker behind a pipeline: weight on held-out users, save and load, item histories up to the last event."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.ring import CONFIG, SIZE, split_of, walks

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.point_in_time import PointInTimeRanker
from segue.models.rankers.ranker import NeuralRanker
from segue.models.rankers.ranker_artifact import SavedRanker, load_ranker
from segue.pipeline.candidates.builtin_sources import SourceData
from segue.pipeline.config import RankConfig, decode_pipeline
from segue.pipeline.persistence import restore_saved_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.workflows.fit_ranker import fit_ranker_on_split
from segue.workflows.fit_result import FitResult
from segue.workflows.fit_second_stage import load_saved_ranker
from segue.workflows.train_pipeline import fit_pipeline, refit_pipeline

QUICK: dict[str, Any] = {"embedding_dim": 8, "max_length": 6, "epochs": 2, "batch_size": 64, "num_retrieved": 10}
POOR = [{"model": "popularity", "num_candidates": 31}]
"""A blend without knowledge of the ring: only the ranker can predict it."""


def config_with(**rank: Any) -> Any:
    return decode_pipeline({"source": POOR, "rank": {"method": "none", **rank}})


@pytest.fixture(scope="module")
def fitted() -> FitResult:
    settings = {**QUICK, "epochs": 8, "learning_rate": 0.01, "dropout": 0.0, "newest_share": 0.5}
    return fit_pipeline(split_of(), config_with(model="dual-gru", settings=settings))


def first(pipeline: Pipeline, rows: Sequences) -> list[int]:
    return [int(ranked.items_C[0]) for ranked in pipeline.recommend(rows, 1)]


def test_a_better_ranker_gets_weight(fitted: FitResult) -> None:
    """Popularity alone cannot predict the next item of a ring; the ranker can, four times of five."""
    rows = walks(200, 9)
    cut = rows.prefixes(-np.ones(200, dtype=np.int64))
    follows = [int(row[-1]) % 30 + 1 for row in cut]
    notes = fitted.notes["ranker"]
    assert notes["weight"] > 0
    assert notes["held_out_ndcg@10"][f"{notes['weight']:g}"] == max(notes["held_out_ndcg@10"].values())
    assert isinstance(fitted.scorer, Pipeline)
    plain = Pipeline(
        fitted.scorer.sources,
        fitted.scorer.scoring,
        fitted.scorer.item_statistics,
        fitted.scorer.config,
        exclude_seen=False,
    )
    with_it = np.mean([a == b for a, b in zip(first(fitted.scorer, cut), follows, strict=True)])
    without = np.mean([a == b for a, b in zip(first(plain, cut), follows, strict=True)])
    assert with_it > without + 0.3


def test_an_untrained_ranker_gets_no_weight() -> None:
    """A ranker with random weights behind a blend that predicts the ring: no gain beyond chance."""
    values = {**CONFIG, "rank": {"method": "none", "model": "pooled", "settings": {**QUICK, "learning_rate": 1e-9}}}
    found = fit_pipeline(split_of(), decode_pipeline(values))
    assert found.notes["ranker"]["weight"] == 0
    assert isinstance(found.scorer, Pipeline)
    assert found.scorer.second_stage is None
    forced = {**values, "rank": {**values["rank"], "weight": 0.7}}  # type: ignore[dict-item]
    kept = fit_pipeline(split_of(), decode_pipeline(forced))
    assert kept.notes["ranker"]["weight"] == 0.7
    assert isinstance(kept.scorer, Pipeline) and kept.scorer.second_stage is not None
    assert kept.scorer.second_stage.weight > 0


def test_saved_and_loaded_pipelines_are_equal(fitted: FitResult, tmp_path: Any) -> None:
    """The saved ranker has the items' newest events only: after them it equals the evaluated one."""
    catalog = Catalog(f"item {i}" for i in range(1, SIZE))
    assert isinstance(fitted.scorer, Pipeline)
    kept = artifact.Artifact("pipeline", fitted.settings, catalog, fitted.scorer.arrays(), {}, {})
    artifact.save(kept, tmp_path / "run")
    again = restore_saved_pipeline(artifact.load(tmp_path / "run"))
    rows = walks(20, 8)
    late = Sequences(rows.items, rows.times, rows.starts, rows.stops).as_of(np.full(20, 10**15))
    assert isinstance(again, Pipeline)
    for one, other in zip(again.recommend(late, 10), fitted.scorer.recommend(late, 10), strict=True):
        assert one.items_C.tolist() == other.items_C.tolist()
        np.testing.assert_allclose(one.scores_C, other.scores_C, atol=1e-4)


SERVE = """
import sys
sys.modules["torch"] = sys.modules["polars"] = None
from segue.data.sequences import Sequences
from segue.models.artifact import load
from segue.pipeline.persistence import restore_saved_pipeline
print(restore_saved_pipeline(load(sys.argv[1])).recommend(Sequences.from_lists([[1, 2, 3]]), 1)[0].items_C[0])
"""


def test_a_pipeline_with_a_ranker_needs_no_torch(fitted: FitResult, tmp_path: Any) -> None:
    catalog = Catalog(f"item {i}" for i in range(1, SIZE))
    kept = artifact.Artifact("pipeline", fitted.settings, catalog, fitted.scorer.arrays(), {}, {})
    artifact.save(kept, tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", SERVE, tmp_path / "run"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["4"]


def test_point_in_time_scores_equal_a_live_ranker_of_that_time(fitted: FitResult) -> None:
    """Reference: a live ranker with empty histories that observes every earlier event one by one."""
    assert isinstance(fitted.scorer, Pipeline) and fitted.scorer.second_stage is not None
    evaluated = fitted.scorer.second_stage.ranker
    assert isinstance(evaluated, PointInTimeRanker)
    rows = walks(40, 4)
    assert rows.times is not None
    time_us = int(np.median(rows.times))
    nothing = ItemHistories.from_sequences(Sequences.from_lists([[]], [[]]), SIZE)
    reference = evaluated.ranker.to_catalog(np.arange(SIZE), nothing)
    row, position = rows.positions()
    for n in np.argsort(rows.times[position], kind="stable"):
        if (time := int(rows.times[position[n]])) < time_us:
            history = rows.with_bounds(rows.starts[row[n]][None], position[n][None])
            reference.observe(history, int(rows.items[position[n]]), time)
    candidates_BC = np.tile(np.arange(1, SIZE), (3, 1))
    histories, now_B = Sequences.from_lists([[1, 2], [9], []], [[5, 6], [7], []]), np.full(3, time_us)
    wanted = reference.log_odds(histories, candidates_BC, now_B)
    scores = PointInTimeRanker(evaluated.ranker, ItemHistories.from_sequences(rows, SIZE)).log_odds(
        histories, candidates_BC, now_B
    )
    np.testing.assert_allclose(scores, wanted, atol=1e-4)
    assert scores.std() > 0.01


def test_refit_brings_every_event_to_the_saved_ranker(fitted: FitResult) -> None:
    """Another catalog, in another order and with one more item: items are matched by their ids."""
    split = split_of()
    assert isinstance(fitted.scorer, Pipeline)
    ids = [f"item {i}" for i in range(SIZE - 1, 0, -1)] + ["new"]
    catalog, rows = Catalog(ids), split.train
    moved = replace(rows, items=catalog.to_indices(split.catalog.ids)[rows.items - 1].astype(np.int32))
    whole = refit_pipeline(SourceData(moved, catalog), fitted, old_catalog=split.catalog).scorer
    assert isinstance(whole, Pipeline) and whole.second_stage is not None and fitted.scorer.second_stage is not None
    live, evaluated = whole.second_stage.ranker, fitted.scorer.second_stage.ranker
    assert isinstance(live, NeuralRanker)
    now = np.array([live.newest_us + 10**9])
    old_C = np.arange(1, SIZE)
    new_C = catalog.to_indices(split.catalog.ids)
    old = evaluated.log_odds(Sequences.from_lists([[3]]), old_C[None], now)
    new = live.log_odds(Sequences.from_lists([[int(new_C[2])]]), new_C[None], now)
    np.testing.assert_allclose(new, old, atol=1e-4)
    added = live.log_odds(Sequences.from_lists([[1]]), np.array([[len(catalog)]]), now)
    assert np.isfinite(added).all()


def test_a_saved_ranker_is_used_for_the_same_split_only(tmp_path: Any) -> None:
    split = replace(split_of(), fingerprint="this cut")
    trained, _ = fit_ranker_on_split(split, "din", QUICK)
    folder = tmp_path / "ranker"
    about = {"data": "this cut"}
    SavedRanker(trained.ranker, trained.settings, split.catalog, {}, about).save(folder)
    arguments = (Sequences.from_lists([[1, 2]]), np.arange(1, SIZE)[None], np.array([10**9]))
    np.testing.assert_array_equal(load_ranker(folder).ranker.log_odds(*arguments), trained.ranker.log_odds(*arguments))
    found = fit_pipeline(split, config_with(model=str(folder)))
    assert found.notes["ranker"]["ranker"] == "din"
    with pytest.raises(ValueError) as error:
        fit_pipeline(replace(split, fingerprint="another"), config_with(model=str(folder)))
    assert str(error.value) == (
        f"The ranker in {folder} was trained on other data, or on another cut of it, so that a pipeline with it could "
        "not be evaluated: run 'segue train-ranker' with this log and protocol."
    )
    with pytest.raises(ValueError) as error:
        load_saved_ranker(RankConfig(model=str(folder), settings={"embedding_dim": 4}), split)
    assert str(error.value) == f"The ranker in {folder} is trained already: rank.settings would change nothing."
    with pytest.raises(ValueError) as error:
        restore_saved_pipeline(artifact.load(folder))
    assert str(error.value) == (
        "This is a ranker, din: it orders candidates and finds none itself. Name its folder as rank.model in a "
        "pipeline's settings, or use it with 'segue rank'."
    )


def test_an_unknown_ranker_is_refused_before_the_training() -> None:
    with pytest.raises(ValueError) as error:
        fit_pipeline(split_of(), config_with(model="deepfm"))
    assert str(error.value) == (
        "There is no ranker 'deepfm': rank.model is pooled, din, dien, dual-gru, or a folder that "
        "'segue train-ranker' wrote."
    )


def test_a_saved_model_is_not_a_ranker(tmp_path: Any) -> None:
    kept = artifact.Artifact("markov", {}, Catalog(["a"]), {"x": np.zeros(1)}, {}, {})
    artifact.save(kept, tmp_path / "run")
    with pytest.raises(ValueError) as error:
        load_ranker(tmp_path / "run")
    assert str(error.value) == (
        f"{tmp_path / 'run'} holds the model markov and no ranker: 'segue train-ranker' writes one."
    )
