"""Pipelines beside models: one split, one rule for seen items, one table; side data reach every source."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.support.ring import split_of

import segue
from segue.data.evaluation_cases import Split
from segue.data.event_log import EventLog
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.pipeline.config import decode_pipeline, read_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.workflows.compare_models import compare, metric_difference
from segue.workflows.comparison.model_result import CompareOptions
from segue.workflows.estimate_cost import estimate_training_cost
from segue.workflows.job import TrainJob
from segue.workflows.pipelines.fit_sources import with_side_columns, with_side_data
from segue.workflows.pipelines.plan_pipeline import estimate_pipeline_cost
from segue.workflows.train_pipeline import fit_pipeline, train_pipeline

RING = """
[[source]]
model = "markov"

[rank]
method = "none"
"""


@pytest.fixture(scope="module")
def split() -> Split:
    return split_of(80)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ring.toml"
    path.write_text(RING, encoding="utf-8")
    return path


def ring_log() -> EventLog:
    """Forty users go round a ring of twelve items, on two kinds of device."""
    rows = [
        (f"u{u}", f"i{(u + s) % 12:02d}", 1_700_000_000 + 600 * s + u, "tv" if u % 2 else "phone")
        for u in range(40)
        for s in range(8)
    ]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "device"], orient="row"))


def test_a_pipeline_is_compared_on_the_cases_of_the_models(split: Split, file: Path) -> None:
    model, pipeline = compare(split, ["markov", str(file)], options=CompareOptions(ks=(1, 5)))
    assert (pipeline.model, pipeline.seed) == (str(file), 0)
    for name in ("protocol", "test_cases", "tie_rule", "exclude_seen", "refit", "data", "dropped"):
        assert getattr(pipeline, name) == getattr(model, name)
    np.testing.assert_array_equal(pipeline.evaluation.groups, model.evaluation.groups)
    low, high = pipeline.intervals["ndcg@5"]
    assert 0.5 < low <= pipeline.metrics["ndcg@5"] <= high
    ahead, *_ = metric_difference(pipeline, model, "ndcg@5")
    assert ahead == pytest.approx(pipeline.metrics["ndcg@5"] - model.metrics["ndcg@5"])


def test_a_result_equals_that_of_the_trained_pipeline(file: Path, tmp_path: Path) -> None:
    log = ring_log()
    compared = compare(split_log(log), [str(file)])[0]
    trained, _ = train_pipeline(log, read_pipeline(file), tmp_path / "run")
    assert compared.metrics == trained.metrics
    assert compared.data == trained.data


@pytest.mark.parametrize("seen", [True, False])
def test_seen_items_are_ranked_as_the_split_states(split: Split, file: Path, seen: bool) -> None:
    results = compare(replace(split, exclude_seen=seen), ["markov", str(file)])
    assert [result.exclude_seen for result in results] == [seen, seen]
    assert [result.refit for result in results] == [not seen, not seen]


def test_seeds_are_for_pipelines_with_networks(split: Split, file: Path, tmp_path: Path) -> None:
    random = tmp_path / "random.toml"
    random.write_text(
        '[[source]]\nmodel = "gru4rec"\nsettings = {embedding_dim = 4, epochs = 1, covisitation_weight = 0}\n'
        '[rank]\nmethod = "none"\n',
        encoding="utf-8",
    )
    results = compare(split, [str(file), str(random)], options=CompareOptions(seeds=2, refit=False))
    assert [(Path(result.model).name, result.seed) for result in results] == [
        ("ring.toml", 0),
        ("random.toml", 0),
        ("random.toml", 1),
    ]


def test_features_and_contexts_reach_every_network_that_states_none() -> None:
    values = [
        {"model": "gru4rec"},
        {"model": "SASRec", "name": "own", "settings": {"features": ["kind"]}},
        {"model": "covisit"},
    ]
    config = with_side_data(decode_pipeline({"source": values}), {"features": ["price"], "contexts": ["device"]})
    assert [source.settings for source in config.source] == [
        {"features": ["price"], "contexts": ["device"]},
        {"features": ["kind"], "contexts": ["device"]},
        {},
    ]
    with pytest.raises(ValueError, match=r"^Only neural models are trained on features, .* the sources covisit\.$"):
        with_side_data(decode_pipeline({"source": values[2:]}), {"features": ["price"]})
    with pytest.raises(ValueError, match=r"^The settings of a pipeline's sources stand in its file, also 'epochs'\.$"):
        with_side_data(config, {"epochs": 3})


@pytest.mark.parametrize("source", [{"model": "new"}, {"model": "list", "settings": {"items": ["i99"]}}])
def test_sources_of_new_items_know_the_items_table(source: dict[str, object], tmp_path: Path) -> None:
    """Item i99 has no event: it stands in the items table only."""
    table = read_items(pl.DataFrame({"item_id": ["i00", "i99"], "kind": ["a", "b"]}))
    config = decode_pipeline({"source": [{"model": "markov"}, source], "blend": {"method": "weighted"}})
    train_pipeline(ring_log(), config, tmp_path / "run", TrainJob(items=table))
    model = segue.load(tmp_path / "run")
    assert isinstance(model.scorer, Pipeline)
    given = model.scorer.sources[1].candidates(Sequences.from_lists([[1]]), 20)[0]
    assert "i99" in model.catalog.to_ids(given.items_C)
    ranked = model.scorer.recommend(Sequences.from_lists([[1]]), 5)[0]
    assert "i99" in model.catalog.to_ids(ranked.items_C)


def test_missing_item_columns_are_refused_before_any_training(split: Split) -> None:
    log = ring_log()
    table = read_items(pl.DataFrame({"item_id": ["i00"], "kind": ["a"]}))
    by_content = decode_pipeline({"source": [{"model": "content-knn", "settings": {"columns": ["price"]}}]})
    with pytest.raises(ValueError, match=r"^The source content-knn needs the column 'price', .* Its columns: kind\.$"):
        with_side_columns(log, by_content, table)
    missing = r"^The source content-knn compares items by their features: give an items table\.$"
    with pytest.raises(ValueError, match=missing):
        with_side_columns(log, by_content, None)
    with pytest.raises(ValueError, match=missing):
        fit_pipeline(split, by_content)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[source]]\nmodel = "content-knn"\n', "content-knn compares items"),
        (RING.replace("[rank]", '[rank]\nmodel = "nowhere"'), "There is no ranker 'nowhere'"),
    ],
)
def test_a_pipeline_that_cannot_be_fitted_is_refused_before_the_first_model(
    split: Split, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    stages: list[str] = []
    with pytest.raises(ValueError, match=sentence):
        compare(split, ["markov", str(tmp_path / "wrong.toml")], progress=lambda stage, _: stages.append(stage))
    assert stages == []


def test_the_plan_of_a_pipeline_sums_over_its_networks() -> None:
    log = ring_log().with_context(["device"])
    settings = {"embedding_dim": 8, "epochs": 2}
    small = {"model": "gru4rec", "settings": settings}
    values = {
        "source": [
            small,
            {**small, "name": "again-small", "max_events": 3},
            {"model": "gru4rec", "name": "wide", "settings": {**settings, "embedding_dim": 64, "contexts": ["device"]}},
            {"model": "covisit"},
            {"model": "ials"},
            {"model": "again"},
        ],
        "rank": {"model": "pooled"},
    }
    plan = estimate_pipeline_cost(log, decode_pipeline(values))
    plans = {row.source: row.plan for row in plan.sources}
    assert [name for name, own in plans.items() if own is not None] == ["gru4rec", "wide"]
    first, second = plans["gru4rec"], plans["wide"]
    assert first is not None and second is not None
    assert first.steps == estimate_training_cost(log, "gru4rec", settings).steps
    assert plan.seconds == pytest.approx(first.seconds + second.seconds, abs=0.11)
    assert plan.needed_gb == second.needed_gb > first.needed_gb
    assert plan.without_estimate == ("covisit", "ials", "again", "pooled")
    notes = {row.source: row.note for row in plan.sources}
    assert notes["again-small"] == "shares the model of an earlier source"
    assert notes["ials"] == "trained in several passes over the log: no estimate"
    with pytest.raises(ValueError, match=r"^The source gru4rec: This training needs about .* memory_gb allows 1e-06"):
        values["source"] = [{"model": "gru4rec", "settings": {"memory_gb": 1e-6}}]
        estimate_pipeline_cost(log, decode_pipeline(values))
