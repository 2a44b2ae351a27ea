"""Product quantization: recall of the lists, its measurement, and refusal of a low recall."""

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


def random_catalog(bias, size=4000, dim=16, queries=50):
    rng = np.random.default_rng(0)
    keys_VD = rng.standard_normal((size, dim)).astype(np.float32)
    bias_V = rng.standard_normal(size).astype(np.float32) if bias else None
    return keys_VD, bias_V, rng.standard_normal((queries, dim)).astype(np.float32)


@pytest.mark.parametrize("bias", [False, True])
def test_approximate_lists_have_a_high_recall_and_no_excluded_items(bias):
    keys_VD, bias_V, query_BD = random_catalog(bias)
    scan, recall = build_pq_scan(keys_VD, bias_V, query_BD, 20)
    assert scan is not None and recall >= 0.99
    rng = np.random.default_rng(1)
    exclude = Sequences.from_lists(rng.integers(1, len(keys_VD), (len(query_BD), 30)).tolist())
    items_BK, scores_BK = ExactSearch(keys_VD, bias_V, scan).top_k(query_BD, 20, search_requests(exclude))
    scores_BV = query_BD @ keys_VD.T + (0 if bias_V is None else bias_V)
    expected_BK, _ = top_k(scores_BV, 20, exclude=exclude)
    hits = [len(set(a) & set(b)) for a, b in zip(items_BK.tolist(), expected_BK.tolist(), strict=True)]
    assert sum(hits) >= 0.985 * expected_BK.size
    np.testing.assert_allclose(scores_BK, np.take_along_axis(scores_BV, items_BK, axis=1), rtol=1e-4, atol=1e-4)
    assert all(not set(a) & {0, *b.tolist()} for a, b in zip(items_BK.tolist(), exclude, strict=True))


def test_an_item_with_a_large_offset_is_always_found():
    keys_VD, _, query_BD = random_catalog(False)
    worst = int(np.argmin(query_BD[0] @ keys_VD.T))
    offsets = ScoreOffsets(np.array([worst]), np.array([1000.0], dtype=np.float32))
    items_BK, _ = ExactSearch(keys_VD, None, PQScan(keys_VD)).top_k(
        query_BD[:1], 5, [SearchRequest(np.array([], dtype=np.int64), None, offsets)]
    )
    assert items_BK[0, 0] == worst


def test_allowed_items_are_searched_exactly():
    keys_VD, _, query_BD = random_catalog(False)
    allowed = np.arange(100, 200)
    items_BK, _ = ExactSearch(keys_VD, None, PQScan(keys_VD)).top_k(
        query_BD[:1], 5, [SearchRequest(np.array([0]), allowed)]
    )
    assert items_BK[0].tolist() == (allowed[np.argsort(-(keys_VD[allowed] @ query_BD[0]))][:5]).tolist()


def test_more_items_are_rescored_until_the_recall_suffices_and_a_low_recall_is_refused(monkeypatch):
    keys_VD, _, query_BD = random_catalog(False, dim=40)
    monkeypatch.setattr(product_quantization, "_MIN_RESCORED", 20)
    scan, recall = build_pq_scan(keys_VD, None, query_BD, 20)
    assert scan is not None and scan.num_rescored > 20 and recall >= 0.99
    monkeypatch.setattr(product_quantization, "_MAX_RESCORED", 20)
    assert build_pq_scan(keys_VD, None, query_BD, 20)[0] is None


def test_a_retriever_searches_approximately_on_request():
    exact, approximate = (Retriever(network(0.07), exact_search_min_items=1) for _ in range(2))
    recall = approximate.enable_approximate()
    assert recall is not None and recall >= 0.99
    rng = np.random.default_rng(3)
    queries = [RetrievalQuery(h, h) for h in rng.integers(1, SIZE, (60, 5)).tolist()] + [RetrievalQuery([])]
    hits, expected = approximate.top_k(queries, 20)[0], exact.top_k(queries, 20)[0]
    assert np.mean([len(set(a) & set(b)) for a, b in zip(hits.tolist(), expected.tolist(), strict=True)]) >= 19.7
    assert Retriever(network(0.07)).enable_approximate() is None  # a small catalog is scored as a whole
