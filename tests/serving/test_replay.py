"""Served lists equal evaluated lists: the server returns the top k of the scorer's scores, for every model."""

import numpy as np
import pytest
from tests.support.live_server import live_client

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

ROUNDING = 2e-5
"""Float32 products round their last bits by the batch's size: two items may be swapped only within that."""


@pytest.fixture(scope="module", params=ZOO)
def run(request, replay_log, replay_items, save, tmp_path_factory):
    return save(tmp_path_factory.mktemp("replay") / "run", request.param, replay_log, replay_items)


@pytest.fixture(scope="module")
def scorer(run):
    return restore_model(artifact.load(run))


@pytest.fixture
def engine(run, store):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    engine = Engine(model, sessions, writer)
    yield engine
    engine.close()
    writer.close()


def random_histories(seed, count, longest, num_items):
    rng = np.random.default_rng(seed)
    return Sequences.from_lists(
        [rng.integers(1, num_items + 1, rng.integers(0, longest)).tolist() for _ in range(count)]
    )


def assert_equal_lists(items, expected_ids, expected_scores):
    """Check that lists are equal item by item; neighbors may be swapped if their scores are equal up to rounding."""
    scores = np.array([item.score for item in items])
    rounding = ROUNDING * max(
        1.0, 0.05 * np.abs(expected_scores).max(initial=0.0)
    )  # a small one is a difference of large
    np.testing.assert_allclose(scores, expected_scores, rtol=ROUNDING, atol=rounding)
    score_by_id = dict(zip(expected_ids, expected_scores, strict=True))
    lowest = expected_scores[-1] if len(expected_scores) else 0
    for item, expected in zip(items, expected_ids, strict=True):
        if item.id != expected:
            difference = abs(score_by_id.get(item.id, lowest) - score_by_id[expected])
            assert difference <= ROUNDING * max(1, abs(score_by_id[expected]))


def test_a_thousand_served_lists_equal_the_evaluated_ones(scorer, engine, replay_items):
    """In batches of any size, with and without seen items; every fourth history is stored, the rest are sent."""
    catalog = engine.model.catalog
    histories = random_histories(5, 1000, 70, replay_items)
    scores_BV = scorer.scores(histories)
    rows = histories.to_lists()
    excluded = Sequences.from_lists([row if number % 8 < 4 else [] for number, row in enumerate(rows)])
    items_BK, scores_BK = top_k(scores_BV, 20, exclude=excluded)
    requests, events = [], []
    for number, row in enumerate(rows):
        ids, exclude_seen = [catalog.ids[item - 1] for item in row], number % 8 < 4
        if number % 4 == 0 and ids:
            events += [EventIn(item_id=item, user_id=f"u{number}", timestamp=t) for t, item in enumerate(ids)]
            requests.append(RecommendRequest(user_id=f"u{number}", k=20, exclude_seen=exclude_seen))
        else:
            requests.append(RecommendRequest(history=ids, k=20, exclude_seen=exclude_seen))
    engine.store(events)[0].result(20)
    rng, responses = np.random.default_rng(6), []
    while len(responses) < len(requests):
        responses += engine.respond_batch(requests[len(responses) : len(responses) + int(rng.integers(1, 33))])
    different = 0
    for response, items_K, scores_K in zip(responses, items_BK, scores_BK, strict=True):
        expected = catalog.to_ids(items_K)
        assert_equal_lists(response.items, expected, scores_K[: len(expected)])
        different += [item.id for item in response.items] != expected
    assert different <= 10, "rounding swaps items only now and then"


def test_lists_over_http_equal_the_evaluated_ones_event_by_event(scorer, engine, replay_items):
    catalog = engine.model.catalog
    histories = random_histories(6, 20, 12, replay_items)
    with live_client(App(AppState(VariantRouter.from_engine(engine, engine._sessions)))) as web:
        for number, row in enumerate(histories.to_lists()):
            single = histories.take(slice(number, number + 1))
            items, scores = top_k(scorer.scores(single), 20, exclude=single)
            expected = list(zip(catalog.to_ids(items[0]), scores[0].tolist(), strict=False))
            ids = [catalog.ids[item - 1] for item in row]
            response = web.post("/v1/recommend", json={"k": 20, "exclude_seen": True, "history": ids}).json()
            assert [item["id"] for item in response["items"]] == [item for item, _ in expected]
            for item in ids:
                body = {"user_id": f"u{number}", "k": 20, "exclude_seen": True, "event": {"item_id": item}}
                response = web.post("/v1/recommend", json={**body, "durability": "memory"}).json()
            if ids:
                assert [item["id"] for item in response["items"]] == [item for item, _ in expected]
                served = [item["score"] for item in response["items"]]
                np.testing.assert_allclose(served, [score for _, score in expected], rtol=1e-4, atol=1e-5)


NETWORKS = [name for name, entry in ZOO.items() if isinstance(entry, NeuralEntry)]


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_search_in_blocks_returns_the_same_lists(name, replay_log, replay_items, save, tmp_path, monkeypatch):
    run = save(tmp_path / "run", name, replay_log, replay_items)
    plain = ServedModel.open(run)
    monkeypatch.setattr("segue.models.retrieval.retriever.EXACT_SEARCH_MIN_ITEMS", 1)
    in_blocks = ServedModel.open(run)
    assert in_blocks.retrieval.uses_exact_search and not plain.retrieval.uses_exact_search
    for history in random_histories(7, 50, 12, replay_items).to_lists():
        expected = plain.top_k(history, 10, exclude=history)
        items = in_blocks.top_k(history, 10, exclude=history)
        assert_equal_lists(items, [item.id for item in expected], [item.score for item in expected])
