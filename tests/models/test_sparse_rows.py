"""Sparse rows: the three ways of summing them, and the counts of pairs, against loops over plain lists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models import sparse_rows
from segue.models.sparse_rows import SparseRows, ages, effective_length, item_counts, tie_breaker, windowed_pairs

HISTORIES = st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=5)


def naive_sum(dense_VV, histories, weights):
    out = np.zeros((len(histories), len(dense_VV)))
    flat = iter(weights)
    for b, history in enumerate(histories):
        for item in history:
            weight = next(flat)
            if item != PAD:
                out[b] += weight * dense_VV[item]
    return out


@settings(deadline=None)
@given(HISTORIES, st.integers(0, 2**32 - 1))
def test_every_way_of_summing_equals_the_loop(histories, seed):
    rng = np.random.default_rng(seed)
    dense_VV = rng.random((7, 7)).astype(np.float32) * (rng.random((7, 7)) < 0.5)
    weights = rng.random(sum(map(len, histories)))
    given_rows = Sequences.from_lists(histories)
    items_N = given_rows.items[given_rows.positions()[1]]
    expected = naive_sum(dense_VV, histories, weights)
    rows = SparseRows.from_scipy(sparse.csr_array(dense_VV))
    np.testing.assert_allclose(rows.weighted_sum(given_rows, weights), expected, atol=1e-5)
    np.testing.assert_allclose(rows._gather(given_rows, items_N, weights), expected, atol=1e-5)
    if rows._dense_VV is not None:
        known = np.where(items_N == PAD, 0, weights).astype(np.float32)
        np.testing.assert_allclose(rows._sum_dense_rows(given_rows, items_N, known), expected, atol=1e-5)
        np.testing.assert_allclose(rows._product(given_rows, items_N, known), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("filled", "length", "method"), [(0.01, 3, "_gather"), (0.5, 3, "_sum_dense_rows"), (0.5, 90, "_product")]
)
def test_the_method_depends_on_density_and_history_length(monkeypatch, filled, length, method):
    rng = np.random.default_rng(0)
    matrix = SparseRows.from_scipy(sparse.csr_array((rng.random((200, 200)) < filled).astype(np.float32)))
    calls = []
    monkeypatch.setattr(SparseRows, method, lambda *arguments: calls.append(method))
    history = Sequences.from_lists([rng.integers(1, 200, length)])
    matrix.weighted_sum(history, np.ones(length))
    assert calls == [method]


def test_a_matrix_too_large_stays_sparse(monkeypatch):
    monkeypatch.setattr(sparse_rows, "DENSE_BYTES", 7 * 7 * 4 - 1)
    assert SparseRows.from_scipy(sparse.csr_array(np.ones((7, 7))))._dense_VV is None


def test_rows_are_restored_from_their_arrays():
    dense_VV = np.array([[0, 0, 0], [0, 2, 1], [0, 0, 5]], np.float32)
    restored = SparseRows.restore(SparseRows.from_scipy(sparse.csr_array(dense_VV)).arrays())
    np.testing.assert_array_equal(restored.weighted_sum(Sequences.from_lists([[1], [2]]), np.ones(2)), dense_VV[1:])


def test_only_the_largest_are_kept_and_of_equals_the_smaller_column():
    matrix = sparse.csr_array(np.array([[0, 3, 1, 2], [4, 4, 4, 4], [0, 0, 0, 0], [0, 0, 9, 0]], np.float32))
    kept = SparseRows.from_scipy(matrix, keep=2)
    assert kept.offsets.tolist() == [0, 2, 4, 4, 5]
    assert kept.columns.tolist() == [1, 3, 0, 1, 2]
    assert kept.values.tolist() == [3, 2, 4, 4, 9]


def test_a_matrix_given_in_any_order_is_the_same():
    coo = sparse.coo_array((np.array([1.0, 2.0, 3.0]), ([1, 0, 1], [2, 1, 0])), shape=(3, 3))
    assert SparseRows.from_scipy(coo).columns.tolist() == [1, 0, 2]
    assert SparseRows.from_scipy(coo).values.tolist() == [2, 3, 1]


@settings(deadline=None)
@given(HISTORIES, st.integers(1, 4))
def test_windowed_pairs_equal_the_loop(histories, window):
    expected = np.zeros((7, 7))
    for row in histories:
        for a, first in enumerate(row):
            for b in range(a + 1, min(a + window, len(row) - 1) + 1):
                if first != PAD and row[b] != PAD:
                    expected[first, row[b]] += 1.0 / (b - a)
    counted = windowed_pairs(Sequences.from_lists(histories), 7, window).toarray()
    np.testing.assert_allclose(counted, expected, rtol=1e-5)


def test_ages_count_from_the_newest():
    assert ages(Sequences.from_lists([[5, 6, 7], [], [8, 9]]).prefixes([2, 0, 2])).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("decay", [0.1, 0.5, 0.7, 0.99])
def test_weights_beyond_the_effective_length_are_negligible(decay):
    """The last used event weighs at least a millionth; the next one less."""
    length = effective_length(decay)
    assert decay ** (length - 1) >= 1e-6 * (1 - 1e-9)
    assert decay**length < 1e-6


def test_without_decay_all_events_are_used():
    assert effective_length(1.0) >= 1_000_000


def test_counts_leave_out_pad_and_count_views_only():
    log = Sequences.from_lists([[1, 2, PAD], [2, 4]])
    assert item_counts(log, 5).tolist() == [0, 1, 2, 0, 1]
    assert item_counts(log.tail(1), 5).tolist() == [0, 0, 0, 0, 1]


def test_the_tie_breaker_keeps_the_order_and_stays_below_its_scale():
    breaker = tie_breaker(np.array([0, 7, 0, 1_000_000]), 1e-6)
    assert breaker.argsort(kind="stable").tolist() == [0, 2, 1, 3]
    assert breaker[3] <= np.float32(1e-6)
    assert tie_breaker(np.zeros(3), 1e-6).tolist() == [0, 0, 0]
