"""What was evaluated is what is served: the server's lists equal the scorer's, item by item, for every model."""

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.loading import restore_model
from segue.models.top_k import top_k
from segue.models.zoo import ZOO, NeuralEntry
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http.app import App
from segue.serving.http.handlers import AppState
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.group_commit import GroupCommitWriter
from tests.support.live_server import live_client

SIZE = 60
ROUNDING = 2e-5
"""Float32 products round their last bits by the batch's size: two items may change places only within that."""


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(11)
    return Sequences.from_lists([rng.zipf(1.4, 9).clip(1, SIZE).tolist() for _ in range(200)])


@pytest.fixture(scope="module", params=ZOO)
def run(request, log, save, tmp_path_factory):
    return save(tmp_path_factory.mktemp("replay") / "run", request.param, log, SIZE)


@pytest.fixture
def served(run, store):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    engine = Engine(model, sessions, writer)
    yield engine
    engine.close()
    writer.close()


def assert_same(items, wanted_ids, wanted_scores):
    """Equal item by item; neighbors may change places where the scores say that they are equal up to rounding."""
    scores = np.array([one.score for one in items])
    np.testing.assert_allclose(scores, wanted_scores, rtol=ROUNDING, atol=ROUNDING)
    place = {item: score for item, score in zip(wanted_ids, wanted_scores, strict=True)}
    lowest = wanted_scores[-1] if len(wanted_scores) else 0
    for one, wanted in zip(items, wanted_ids, strict=True):
        if one.id != wanted:
            assert abs(place.get(one.id, lowest) - place[wanted]) <= ROUNDING * max(1, abs(place[wanted]))


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_a_thousand_histories_are_answered_as_they_are_evaluated(run, served, exclude_seen):
    """Together in batches of any size; every fourth one from the event log, the rest as raw histories."""
    saved = artifact.load(run)
    rng = np.random.default_rng(5)
    histories = Sequences.from_lists([rng.integers(1, SIZE + 1, rng.integers(0, 70)).tolist() for _ in range(1000)])
    exclude = histories if exclude_seen else None
    items_BK, scores_BK = top_k(restore_model(saved).scores(histories), 20, exclude=exclude)
    requests, events = [], []
    for row, history in enumerate(histories.to_lists()):
        raw = [saved.catalog.ids[item - 1] for item in history]
        if row % 4 == 0 and raw:
            events += [EventIn(item_id=item, user_id=f"u{row}", timestamp=t) for t, item in enumerate(raw)]
            requests.append(RecommendRequest(user_id=f"u{row}", k=20, exclude_seen=exclude_seen))
        else:
            requests.append(RecommendRequest(history=raw, k=20, exclude_seen=exclude_seen))
    served.store(events)[0].result(20)
    answers = []
    while len(answers) < len(requests):
        answers += served.respond_batch(requests[len(answers) : len(answers) + int(rng.integers(1, 33))])
    different = 0
    for answer, items_K, scores_K in zip(answers, items_BK, scores_BK, strict=True):
        wanted = saved.catalog.to_ids(items_K)
        assert_same(answer.items, wanted, scores_K[: len(wanted)])
        different += [one.id for one in answer.items] != wanted
    assert different <= 10, "rounding changes a list once in a while, not as a rule"


def test_the_same_over_http_one_by_one(run, served):
    saved = artifact.load(run)
    scorer = restore_model(saved)
    rng = np.random.default_rng(6)
    histories = Sequences.from_lists([rng.integers(1, SIZE + 1, rng.integers(0, 12)).tolist() for _ in range(20)])
    with live_client(App(AppState(VariantRouter.from_engine(served, served._sessions)))) as web:
        for row, history in enumerate(histories.to_lists()):
            alone = histories.take(slice(row, row + 1))
            items, scores = top_k(scorer.scores(alone), 20, exclude=alone)
            wanted = list(zip(saved.catalog.to_ids(items[0]), scores[0].tolist(), strict=False))
            raw = [saved.catalog.ids[item - 1] for item in history]
            answer = web.post("/v1/recommend", json={"k": 20, "exclude_seen": True, "history": raw}).json()
            assert [one["id"] for one in answer["items"]] == [item for item, _ in wanted]
            for item in raw:
                event = {"user_id": f"u{row}", "k": 20, "exclude_seen": True, "event": {"item_id": item}}
                answer = web.post("/v1/recommend", json=event).json()
            if raw:
                assert [one["id"] for one in answer["items"]] == [item for item, _ in wanted], "event by event"
                np.testing.assert_allclose(
                    [one["score"] for one in answer["items"]], [s for _, s in wanted], rtol=1e-4, atol=1e-5
                )


NETWORKS = [name for name, entry in ZOO.items() if isinstance(entry, NeuralEntry)]


@pytest.mark.parametrize("name", NETWORKS)
def test_searching_by_blocks_gives_the_same_lists(name, log, save, tmp_path, monkeypatch):
    run = save(tmp_path / "run", name, log, SIZE)
    rng = np.random.default_rng(7)
    histories = [rng.integers(1, SIZE + 1, rng.integers(0, 12)).tolist() for _ in range(50)]
    plain = ServedModel.open(run)
    monkeypatch.setattr("segue.models.retrieval.retriever.EXACT_SEARCH_MIN_ITEMS", 1)
    searched = ServedModel.open(run)
    assert searched.retrieval.uses_exact_search and not plain.retrieval.uses_exact_search
    for history in histories:
        wanted = plain.top_k(history, 10, exclude=history)
        assert_same(searched.top_k(history, 10, exclude=history), [one.id for one in wanted], [w.score for w in wanted])
