"""Item histories of a served ranker: they have every acknowledged event, and are equal after a restart."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.pipeline.config import decode_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter
from segue.workflows.train_pipeline import fit_pipeline

MINUTE_US = 60_000_000
SETTINGS: dict[str, Any] = {
    "source": [{"model": "popularity"}],
    "blend": {"method": "reciprocal-rank"},
    "rank": {
        "method": "none",
        "model": "dual-gru",
        "weight": 1.0,
        "settings": {
            "embedding_dim": 8,
            "epochs": 1,
            "batch_size": 32,
            "num_retrieved": 5,
            "newest_share": 0.5,
            "max_length": 6,
        },
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ring: Sequences) -> Path:
    """A pipeline with a ranker, trained on the ring with a minute between events."""
    catalog = Catalog("abcdefghijkl")
    row, position = ring.positions()
    times = np.zeros(len(ring.items), dtype=np.int64)
    times[position] = 10**15 + (3 * row + position - ring.starts[row]) * MINUTE_US
    rows = Sequences(ring.items, times, ring.starts, ring.stops)
    requested = rows.prefixes(-np.ones(len(rows), dtype=np.int64))
    assert rows.times is not None
    last = rows.stops - 1
    cases = EvaluationCases(requested, rows.items[last], np.arange(len(rows)), rows.times[last], {})
    split = Split("none", catalog, rows, cases, rows, cases, False, "", "")
    fitted = fit_pipeline(split, decode_pipeline(SETTINGS))
    out = tmp_path_factory.mktemp("pipeline") / "run"
    artifact.save(artifact.Artifact("pipeline", fitted.settings, catalog, fitted.scorer.arrays(), {}, {}), out)
    return out


@pytest.fixture
def opened(store: EventStore) -> Iterator[Callable[[Path], tuple[Engine, ServedModel]]]:
    """Open an engine on the store, with one deployed version."""
    writers: list[GroupCommitWriter] = []

    def open_engine(run: Path) -> tuple[Engine, ServedModel]:
        model = ServedModel.open(run)
        sessions = SessionCache(store, model.catalog)
        commit_listeners = CommitListeners()
        writers.append(GroupCommitWriter(store, commit_listeners.on_commit))
        engine = Engine(model, sessions, writers[-1])
        VariantRouter(Deployment(LoadedModel(engine, sessions)), commit_listeners)
        return engine, model

    yield open_engine
    for writer in writers:
        writer.close()


def item_histories(model: ServedModel) -> Any:
    assert model.pipeline_service is not None
    pipeline = model.pipeline_service.pipeline
    assert isinstance(pipeline, Pipeline) and pipeline.second_stage is not None
    return {
        name: value.copy()
        for name, value in pipeline.second_stage.ranker.arrays().items()
        if name.startswith("item_histories.")
    }


def test_an_event_reaches_the_history_of_its_item(folder: Path, opened: Callable[..., Any]) -> None:
    """A user views c after k: the history of c has it at the next request of any user."""
    engine, model = opened(folder)
    before = item_histories(model)
    sent = [EventIn(item_id=item, user_id="ann", timestamp=1_700_000_000.0 + i) for i, item in enumerate("kc")]
    engine.store(sent)[0].result(10)
    engine.recommend(RecommendRequest(history=["a"], k=3))
    after = item_histories(model)
    c, k = (int(model.catalog.to_indices([item])[0]) for item in "ck")
    newest = after["item_histories.lengths"][c] - 1
    assert after["item_histories.previous_items"][c, newest] == k
    assert after["item_histories.times"][c, newest] == 1_700_000_001 * 1_000_000
    added = after["item_histories.totals"] - before["item_histories.totals"]
    assert added.tolist() == [int(i in (c, k)) for i in range(13)]
    unknown = EventIn(item_id="zzz", user_id="ann")
    engine.store([unknown])[0].result(10)
    engine.recommend(RecommendRequest(history=["a"], k=3))
    np.testing.assert_array_equal(item_histories(model)["item_histories.totals"], after["item_histories.totals"])


def test_item_histories_are_equal_after_a_restart(folder: Path, opened: Callable[..., Any]) -> None:
    """Stored events from after the end of the model's log are fed once, in the same order."""
    engine, model = opened(folder)
    rng = np.random.default_rng(0)
    for step in range(60):
        item = "abcdefghijkl"[int(rng.integers(12))]
        sent = EventIn(item_id=item, user_id=f"p{rng.integers(4)}", timestamp=1_700_000_000.0 + step)
        engine.store([sent])[0].result(10)
        if step % 7 == 0:
            engine.recommend(RecommendRequest(history=["a"], k=3))
    engine.recommend(RecommendRequest(history=["a"], k=3))
    live = item_histories(model)
    again, restarted = opened(folder)
    response = again.recommend(RecommendRequest(user_id="p1", k=12))
    for name, value in item_histories(restarted).items():
        np.testing.assert_array_equal(value, live[name], err_msg=name)
    expected = engine.recommend(RecommendRequest(user_id="p1", k=12))
    assert [item.id for item in response.items] == [item.id for item in expected.items]
    again.recommend(RecommendRequest(user_id="p1", k=12))
    np.testing.assert_array_equal(item_histories(restarted)["item_histories.totals"], live["item_histories.totals"])


def test_stored_events_from_before_the_models_log_end_are_not_fed(folder: Path, opened: Callable[..., Any]) -> None:
    """Events of an imported training log must not be counted twice."""
    first, _ = opened(folder)
    first.store([EventIn(item_id="c", user_id="ann", timestamp=900_000_000.0)])[0].result(10)
    engine, model = opened(folder)
    before = item_histories(model)
    engine.recommend(RecommendRequest(history=["a"], k=3))
    np.testing.assert_array_equal(item_histories(model)["item_histories.totals"], before["item_histories.totals"])


def test_an_event_log_that_cannot_be_read_fails_no_list(
    folder: Path, opened: Callable[..., Any], store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the missed events nor a user's earlier events can be read; later events are fed again."""
    engine, model = opened(folder)
    before = item_histories(model)["item_histories.totals"]

    def fail(*given: Any) -> Any:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(store, "newest", fail)
        patch.setattr(store, "events_after", fail)
        engine.recommend(RecommendRequest(history=["a"], k=3))
        engine.store([EventIn(item_id="c", user_id="ann", timestamp=1_700_000_000.0)])[0].result(10)
        assert len(engine.recommend(RecommendRequest(history=["a"], k=3)).items) == 3
    np.testing.assert_array_equal(item_histories(model)["item_histories.totals"], before)
    engine.store([EventIn(item_id="c", user_id="bob", timestamp=1_700_000_001.0)])[0].result(10)
    engine.recommend(RecommendRequest(history=["a"], k=3))
    assert item_histories(model)["item_histories.totals"].sum() == before.sum() + 1
