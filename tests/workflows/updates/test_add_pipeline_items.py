"""Items without events in a saved pipeline: known scores stay, and each source of cold items recommends them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import segue
from segue.data.event_log import EventLog
from segue.data.item_table import ItemTable
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.pipeline.config import decode_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.workflows.job import TrainJob
from segue.workflows.pipelines.add_pipeline_items import add_pipeline_items
from segue.workflows.train_pipeline import train_pipeline

NETWORK = {
    "model": "gru4rec",
    "settings": {"embedding_dim": 8, "epochs": 2, "batch_tokens": 128, "learning_rate": 0.02},
}
TYPES: Any = {"quarter": "category", "price": "number"}


def ring_log() -> EventLog:
    """Sixty users whose next item is always one on, round a ring of twelve."""
    rows = [(f"u{u}", f"i{(u + s) % 12:02d}", 1_700_000_000 + 60 * s + u) for u in range(60) for s in range(8)]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def table(numbers: range) -> ItemTable:
    rows = [(f"i{i:02d}", f"q{i % 16 // 4}", float(i)) for i in numbers]
    return read_items(pl.DataFrame(rows, schema=["item_id", "quarter", "price"], orient="row"), column_types=TYPES)


def train(folder: Path, *sources: dict[str, Any], items: ItemTable | None = None, **more: Any) -> artifact.Artifact:
    values = {"source": list(sources), "blend": {"method": "reciprocal-rank"}, "rank": {"method": "none"}, **more}
    train_pipeline(ring_log(), decode_pipeline(values), folder, TrainJob(items=items))
    return artifact.load(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> artifact.Artifact:
    """One source of every kind; the ranker has item histories."""
    with_features = {**NETWORK["settings"], "features": ["quarter"]}  # type: ignore[dict-item]
    return train(
        tmp_path_factory.mktemp("add") / "run",
        {**NETWORK, "name": "by-features", "settings": with_features},
        {**NETWORK, "name": "by-events"},
        {"model": "content-knn"},
        {"model": "new"},
        {"model": "list", "settings": {"items": ["i03", "i13"]}},
        {"model": "again"},
        *({"model": name} for name in ("markov", "covisit", "popularity", "trend", "vsknn")),
        items=table(range(12)),
        rank={"method": "none", "model": "dual-gru", "weight": 0.1, "settings": {"epochs": 1, "embedding_dim": 4}},
    )


def restored(saved: artifact.Artifact, folder: Path) -> Pipeline:
    """Save the artifact and load it, with all checks of its tensors."""
    artifact.save(saved, folder)
    scorer = segue.load(folder).scorer
    assert isinstance(scorer, Pipeline)
    return scorer


def test_every_source_of_cold_items_scores_them(trained: artifact.Artifact, tmp_path: Path) -> None:
    added = add_pipeline_items(trained, table(range(10, 15)))
    larger = added.artifact
    assert larger.catalog.ids == (*trained.catalog.ids, "i12", "i13", "i14")
    assert added.scored_by == ("by-features", "content-knn", "new", "list")
    assert added.not_scored_by == ("by-events", "markov", "covisit", "popularity", "trend", "vsknn")
    pipeline = restored(larger, tmp_path / "run")
    sources = {source.name: source for source in pipeline.sources}
    new = larger.catalog.to_indices(["i12", "i13", "i14"])
    history = Sequences.from_lists([[int(new[0])]])  # i12 is of quarter q3, as i13 and i14
    near = sources["content-knn"].candidates(history, 4)[0].items_C
    assert {int(new[1]), int(new[2])} <= set(near.tolist()) and new[0] not in near
    assert set(new) <= set(sources["new"].candidates(history, 20)[0].items_C)
    assert larger.catalog.to_ids(sources["list"].candidates(history, 9)[0].items_C) == ["i03", "i13"]
    features = sources["by-features"].scorer.scores(Sequences.from_lists([[3]]))[0]
    assert len(np.unique(features[new])) < 3  # of one quarter, so alike
    ranked = pipeline.recommend(history, 15)[0].items_C
    assert set(new) <= set(ranked)


def test_scores_of_known_items_stay(trained: artifact.Artifact, tmp_path: Path) -> None:
    """But for similarity by content, in which a value is rarer among more items."""
    before = restored(trained, tmp_path / "before")
    after = restored(add_pipeline_items(trained, table(range(12, 15))).artifact, tmp_path / "after")
    histories = Sequences.from_lists([[], [1], [3, 4, 5]])
    for old, new in zip(before.sources, after.sources, strict=True):
        if old.name == "content-knn":
            continue
        first, second = (source.scorer.scores(histories)[:, 1 : before.size] for source in (old, new))
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-5)
    for name in ("counts", "first", "recent", "age"):
        first, second = (pipeline.item_statistics.arrays()[name] for pipeline in (before, after))
        np.testing.assert_array_equal(second[: before.size], first)
    assert not after.item_statistics.counts_V[before.size :].any()


def test_the_sources_are_those_of_a_training_with_the_larger_table(tmp_path: Path) -> None:
    sources = ({"model": "content-knn"}, {"model": "new"}, {"model": "markov"}, {"model": "item-knn"})
    saved = train(tmp_path / "run", *sources, items=table(range(12)))
    whole = train(tmp_path / "whole", *sources, items=table(range(15)))
    added = add_pipeline_items(saved, table(range(12, 15))).artifact
    assert added.catalog.ids == whole.catalog.ids
    assert set(added.arrays) == set(whole.arrays)
    for name, array in whole.arrays.items():
        if name.startswith(("model.", "item_statistics.")):
            np.testing.assert_allclose(added.arrays[name], array, rtol=1e-6, err_msg=name)


def test_nothing_is_added_without_a_new_item(trained: artifact.Artifact) -> None:
    assert add_pipeline_items(trained, table(range(12))).artifact is trained


def test_a_pipeline_of_counting_sources_is_refused(tmp_path: Path) -> None:
    saved = train(tmp_path / "run", {"model": "markov"}, {"model": "popularity"}, items=table(range(12)))
    with pytest.raises(ValueError) as error:
        add_pipeline_items(saved, table(range(15)))
    assert str(error.value) == (
        "No source of this pipeline scores items without events (markov, popularity): train it with a source "
        "content-knn or new, or with a network that has features."
    )


def test_unknown_features_are_refused(trained: artifact.Artifact) -> None:
    wrong = read_items(pl.DataFrame({"item_id": ["i20"], "price": ["dear"]}), column_types={"price": "category"})
    with pytest.raises(
        ValueError, match=r"^The column 'price' of the items table is read as category, and the source c"
    ):
        add_pipeline_items(trained, wrong)
    older = replace(trained, about={k: v for k, v in trained.about.items() if k != "item_columns"})
    added = add_pipeline_items(older, table(range(15)))  # the table states the types
    assert len(added.artifact.catalog) == 15


def test_an_approximate_index_holds_the_new_items(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    settings = {**NETWORK["settings"], "features": ["quarter"], "covisitation_weight": 0.0}  # type: ignore[dict-item]
    source = {"model": "gru4rec", "index": "approximate", "settings": settings}
    saved = train(tmp_path / "run", source, {"model": "content-knn"}, items=table(range(12)))
    pipeline = restored(add_pipeline_items(saved, table(range(12, 15))).artifact, tmp_path / "more")
    assert pipeline.sources[0].index is not None
    given = pipeline.sources[0].candidates(Sequences.from_lists([[3]]), 15)[0].items_C
    assert {13, 14, 15} <= set(given.tolist())
