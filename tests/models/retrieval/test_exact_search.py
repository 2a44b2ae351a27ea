"""Exact search by groups against ``top_k`` of all scores, item by item."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.retrieval.exact_search import ExactSearch, ScoreOffsets, SearchRequest, search_requests
from segue.models.retrieval.int8_scan import FloatScan, Int8Scan, ItemGroups, build_scan
from segue.models.top_k import top_k

SCANS = [FloatScan, Int8Scan]


def exact_search(scan, keys_VD, bias_V=None, width=4, block=64):
    return ExactSearch(keys_VD, bias_V, scan(keys_VD, bias_V, ItemGroups(len(keys_VD), width, block)))


@pytest.mark.parametrize("size", [4, 63, 64, 65, 130, 257])
def test_every_item_is_in_one_group_or_behind_the_groups(size):
    groups = ItemGroups(size, 4, 32)
    members = groups.members(np.arange(groups.count))
    assert sorted(members.tolist()) == list(range(size // 4 * 4))
    assert groups.groups_of(members).tolist() == np.repeat(np.arange(groups.count), 4).tolist()
    assert groups.groups_of(np.arange(groups.grouped, size)).tolist() == []


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("bias", [False, True])
def test_the_error_of_a_scan_is_within_its_bound(scan, bias):
    rng = np.random.default_rng(0)
    keys_VD = rng.standard_normal((500, 24)).astype(np.float32)
    bias_V = rng.standard_normal(500).astype(np.float32) * 3 if bias else None
    groups = ItemGroups(500, 4, 128)
    query_BD = (rng.standard_normal((5, 24)) * [[1], [10], [0.01], [0], [3]]).astype(np.float32)
    best_BG, off_B = scan(keys_VD, bias_V, groups).group_maxima(query_BD)
    true_BV = query_BD.astype(np.float64) @ keys_VD.T + (0 if bias_V is None else bias_V)
    true_BG = true_BV[:, groups.members(np.arange(groups.count)).reshape(-1, 4)].max(axis=2)
    worst_B = np.abs(best_BG - true_BG).max(axis=1)
    assert (worst_B <= off_B).all(), (worst_B, off_B)


STRENGTHS = st.sampled_from([0.0, 1.0, 5.0])


@pytest.mark.parametrize("scan", SCANS)
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 40), st.booleans(), STRENGTHS, st.booleans())
def test_lists_equal_those_of_all_scores(scan, seed, k, seen, bias, extras, distinct):
    """Keys, queries and bias are small whole numbers, whose products float32 adds without rounding: many items tie, and
    every one must have its position of ``top_k``."""
    rng = np.random.default_rng(seed)
    size, queries = int(rng.integers(150, 400)), int(rng.integers(1, 4))
    spread = 9 if distinct else 2
    keys_VD = rng.integers(-spread, spread, (size, 6)).astype(np.float32)
    bias_V = (rng.integers(-3, 4, size) * bias).astype(np.float32) if bias else None
    query_BD = rng.integers(-4, 5, (queries, 6)).astype(np.float32)
    exclude = Sequences.from_lists([rng.integers(0, size, rng.integers(0, seen + 1)).tolist() for _ in range(queries)])
    scores_BV = query_BD @ keys_VD.T + (0 if bias_V is None else bias_V)
    requests = []
    for b, request in enumerate(search_requests(exclude)):
        offsets = None
        if rng.random() < 0.5:
            items_M = np.unique(rng.integers(1, size, 30))
            offsets = ScoreOffsets(items_M, rng.integers(0, 20, len(items_M)).astype(np.float32))
            scores_BV[b, items_M] += offsets.values_M
        requests.append(SearchRequest(request.excluded, None, offsets))
    expected = top_k(scores_BV, k, exclude=exclude)
    lists = exact_search(scan, keys_VD, bias_V).top_k(query_BD, k, requests)
    np.testing.assert_array_equal(lists[0], expected[0])
    np.testing.assert_array_equal(lists[1], expected[1])
    assert lists[0].dtype == np.int32 and lists[1].dtype == np.float32


@pytest.mark.parametrize("scan", SCANS)
def test_lists_of_realistic_embeddings_equal_those_of_all_scores(scan):
    """Real numbers: float32 sums round differently, so items may swap positions only within that error."""
    rng = np.random.default_rng(1)
    keys_VD = rng.standard_normal((20_001, 32)).astype(np.float32)
    keys_VD /= np.linalg.norm(keys_VD, axis=1, keepdims=True)
    query_BD = (keys_VD[rng.integers(1, 20_001, 40)] + 0.5 * rng.standard_normal((40, 32)).astype(np.float32)) / 0.07
    exclude = Sequences.from_lists([rng.integers(1, 20_001, 30).tolist() for _ in range(40)])
    search = ExactSearch(keys_VD, None, scan(keys_VD, None, ItemGroups(20_001, 16, 4096)))
    items_BK, scores_BK = search.top_k(query_BD, 20, search_requests(exclude))
    wanted_BK, best_BK = top_k(query_BD @ keys_VD.T, 20, exclude=exclude)
    np.testing.assert_allclose(scores_BK, best_BK, rtol=1e-5)
    assert (items_BK == wanted_BK).mean() > 0.999
    assert [set(row) for row in items_BK.tolist()] == [set(row) for row in wanted_BK.tolist()]


@pytest.mark.parametrize("scan", SCANS)
def test_items_with_equal_keys_are_in_index_order(scan):
    rng = np.random.default_rng(2)
    keys_VD = np.repeat(rng.standard_normal((40, 33)), 25, axis=0).astype(np.float32)[rng.permutation(1000)]
    query_BD = rng.standard_normal((6, 33)).astype(np.float32)
    nothing = search_requests(Sequences.from_lists([[]] * 6))
    items_BK, scores_BK = exact_search(scan, keys_VD, None, 4, 100).top_k(query_BD, 30, nothing)
    for items, scores in zip(items_BK, scores_BK, strict=True):
        assert len(set(scores.tolist())) == 2
        for score in set(scores.tolist()):
            same = items[scores == score]
            assert (np.diff(same) > 0).all()
            everywhere = np.flatnonzero((keys_VD == keys_VD[same[0]]).all(axis=1))
            everywhere = everywhere[everywhere != PAD]
            assert same.tolist() == everywhere[: len(same)].tolist()


@pytest.mark.parametrize("scan", SCANS)
def test_lists_hold_allowed_items_only(scan):
    rng = np.random.default_rng(3)
    keys_VD = rng.integers(-9, 9, (300, 6)).astype(np.float32)
    query_BD = rng.integers(-4, 5, (3, 6)).astype(np.float32)
    allowed = [np.array([5, 5, 9, 200, 0]), rng.integers(0, 300, 150), np.array([], dtype=np.int64)]
    search = exact_search(scan, keys_VD)
    items_BK, _ = search.top_k(query_BD, 8, [SearchRequest(np.array([9]), one) for one in allowed])
    for b, one in enumerate(allowed):
        mask_V = np.zeros(300, dtype=bool)
        mask_V[one] = True
        expected, _ = top_k(query_BD[b : b + 1] @ keys_VD.T, 8, exclude=Sequences.from_lists([[9]]), allowed_V=mask_V)
        assert items_BK[b].tolist() == expected[0].tolist()


def test_an_excluded_item_hides_no_other_item_of_its_group():
    keys_VD = np.zeros((128, 1), dtype=np.float32)
    keys_VD[[8, 10], 0] = 9, 8  # one group of four
    keys_VD[40:60] = 1
    search = exact_search(FloatScan, keys_VD)
    assert search.groups.groups_of(np.array([8])) == search.groups.groups_of(np.array([10]))
    items_BK, _ = search.top_k(np.ones((1, 1), np.float32), 2, [SearchRequest(np.array([8]))])
    assert items_BK.tolist() == [[10, 40]]


@pytest.mark.parametrize("broken", ["key", "bias", "query"])
def test_nan_is_refused(broken):
    keys_VD, bias_V, query_BD = np.ones((200, 3), np.float32), np.ones(200, np.float32), np.ones((1, 3), np.float32)
    {"key": keys_VD, "bias": bias_V, "query": query_BD}[broken].flat[2] = np.nan
    with pytest.raises(ValueError) as error:
        ExactSearch(keys_VD, bias_V).top_k(query_BD, 1, [SearchRequest(np.array([], dtype=np.int32))])
    assert str(error.value) == "A score is NaN: the model is broken, its list would be arbitrary."


def test_the_int8_scan_is_used_with_onnxruntime(monkeypatch):
    import sys

    keys_VD = np.ones((40, 3), np.float32)
    assert isinstance(build_scan(keys_VD, None), Int8Scan)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(build_scan(keys_VD, None), FloatScan)
