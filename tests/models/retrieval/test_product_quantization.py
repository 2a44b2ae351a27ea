"""Codes find nearly all of the best, say how many, and are not used where they do not."""

import numpy as np
import pytest
from tests.models.retrieval.test_retriever import SIZE, network

from segue.data.sequences import Sequences
from segue.models.retrieval import product_quantization
from segue.models.retrieval.exact_search import ExactSearch, ScoreOffsets, SearchRequest, search_requests
from segue.models.retrieval.product_quantization import PQScan, build_pq_scan
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.models.top_k import top_k

pytest.importorskip("faiss")


def world(bias, size=4000, dim=16, queries=50):
    rng = np.random.default_rng(0)
    keys_VD = rng.standard_normal((size, dim)).astype(np.float32)
    bias_V = rng.standard_normal(size).astype(np.float32) if bias else None
    return keys_VD, bias_V, rng.standard_normal((queries, dim)).astype(np.float32)


@pytest.mark.parametrize("bias", [False, True])
def test_lists_through_codes_hold_nearly_all_of_the_best_and_nothing_that_is_banned(bias):
    keys_VD, bias_V, query_BD = world(bias)
    screen, recall = build_pq_scan(keys_VD, bias_V, query_BD, 20)
    assert screen is not None and recall >= 0.99
    rng = np.random.default_rng(1)
    exclude = Sequences.from_lists(rng.integers(1, len(keys_VD), (len(query_BD), 30)).tolist())
    items_BK, scores_BK = ExactSearch(keys_VD, bias_V, screen).top_k(query_BD, 20, search_requests(exclude))
    scores_BV = query_BD @ keys_VD.T + (0 if bias_V is None else bias_V)
    wanted_BK, _ = top_k(scores_BV, 20, exclude=exclude)
    found = [len(set(a) & set(b)) for a, b in zip(items_BK.tolist(), wanted_BK.tolist(), strict=True)]
    assert sum(found) >= 0.985 * wanted_BK.size
    np.testing.assert_allclose(scores_BK, np.take_along_axis(scores_BV, items_BK, axis=1), rtol=1e-4, atol=1e-4)
    assert all(not set(a) & {0, *b.tolist()} for a, b in zip(items_BK.tolist(), exclude, strict=True))


def test_an_item_that_is_raised_is_found_wherever_it_lies():
    keys_VD, _, query_BD = world(False)
    worst = int(np.argmin(query_BD[0] @ keys_VD.T))
    extra = ScoreOffsets(np.array([worst]), np.array([1000.0], dtype=np.float32))
    items_BK, _ = ExactSearch(keys_VD, None, PQScan(keys_VD)).top_k(
        query_BD[:1], 5, [SearchRequest(np.array([], dtype=np.int64), None, extra)]
    )
    assert items_BK[0, 0] == worst


def test_only_allowed_items_are_found_exactly():
    keys_VD, _, query_BD = world(False)
    allowed = np.arange(100, 200)
    items_BK, _ = ExactSearch(keys_VD, None, PQScan(keys_VD)).top_k(
        query_BD[:1], 5, [SearchRequest(np.array([0]), allowed)]
    )
    assert items_BK[0].tolist() == (allowed[np.argsort(-(keys_VD[allowed] @ query_BD[0]))][:5]).tolist()


def test_more_is_looked_at_until_it_is_enough_and_what_is_never_enough_is_not_used(monkeypatch):
    keys_VD, _, query_BD = world(False, dim=40)
    monkeypatch.setattr(product_quantization, "_MIN_RESCORED", 20)
    screen, recall = build_pq_scan(keys_VD, None, query_BD, 20)
    assert screen is not None and screen.num_rescored > 20 and recall >= 0.99
    monkeypatch.setattr(product_quantization, "_MAX_RESCORED", 20)
    assert build_pq_scan(keys_VD, None, query_BD, 20)[0] is None


def test_a_served_network_is_searched_through_codes_where_that_is_asked_for():
    exact, codes_ = (Retriever(network(0.07), exact_search_min_items=1) for _ in range(2))
    recall = codes_.enable_approximate()
    assert recall is not None and recall >= 0.99
    rng = np.random.default_rng(3)
    questions = [RetrievalQuery(h, h) for h in rng.integers(1, SIZE, (60, 5)).tolist()] + [RetrievalQuery([])]
    found, wanted = codes_.top_k(questions, 20)[0], exact.top_k(questions, 20)[0]
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]) >= 19.7
    assert Retriever(network(0.07)).enable_approximate() is None  # so few items are all scored
