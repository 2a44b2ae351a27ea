"""Ranking: ``top_k`` against a full sort by (-score, index), its errors, and the parts that other modules use."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.top_k import (
    best_columns,
    best_indices,
    column_ranks,
    default_seen_rule,
    order_by_score_then_index,
    seen_items,
    top_k,
)


def naive(scores_BV, k, exclude, allowed_V):
    """Item by item, in plain Python."""
    lists = []
    for b, row in enumerate(scores_BV.tolist()):
        left = [i for i in range(1, len(row)) if allowed_V[i] and i not in exclude[b] and row[i] > float("-inf")]
        best = sorted(left, key=lambda i, row=row: (-row[i], i))[:k]
        lists.append((best + [PAD] * (k - len(best)), [row[i] for i in best] + [float("-inf")] * (k - len(best))))
    return lists


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 40, 200, 1000]), st.integers(1, 30), st.integers(1, 400))
def test_fast_equals_naive(seed, size, k, levels):
    """Few levels: many ties; large catalogs: a bound of the k-th score; small ones: no bound, and filler."""
    rng = np.random.default_rng(seed)
    scores_BV = rng.integers(-levels, levels + 1, (3, size)).astype(np.float32)
    if rng.random() < 0.5:
        scores_BV[0] = np.sort(scores_BV[0])[::-1]
    scores_BV[rng.random(scores_BV.shape) < rng.choice([0, 0.3, 0.99])] = -np.inf
    exclude = [rng.integers(0, size, rng.integers(0, 9)).tolist() for _ in range(3)]
    allowed_V = rng.random(size) < rng.choice([1, 0.5, 0.02])
    before = scores_BV.copy()
    items, best = top_k(scores_BV, k, exclude=Sequences.from_lists(exclude), allowed_V=allowed_V)
    wanted = naive(scores_BV, k, exclude, allowed_V)
    assert items.tolist() == [row for row, _ in wanted]
    assert best.tolist() == [row for _, row in wanted]
    assert items.dtype == np.int32
    assert best.dtype == np.float32
    np.testing.assert_array_equal(scores_BV, before)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.finfo(np.float32).min, 0.0])
def test_constant_scores_are_ordered_by_index(value):
    items, _ = top_k(np.full((1, 500), value, np.float32), 3)
    assert items.tolist() == ([[PAD] * 3] if value == -np.inf else [[1, 2, 3]])


def test_a_list_worked_by_hand():
    """Item 2 is excluded, item 4 not allowed, 3 and 5 tie, PAD has the best score of all."""
    scores_BV = np.array([[99.0, 1.0, 7.0, 2.0, 8.0, 2.0]])
    allowed_V = np.array([True, True, True, True, False, True])
    items, best = top_k(scores_BV, 4, exclude=Sequences.from_lists([[2]]), allowed_V=allowed_V)
    assert items.tolist() == [[3, 5, 1, PAD]]
    assert best.tolist() == [[2.0, 2.0, 1.0, -np.inf]]


def test_each_row_has_its_own_exclusion():
    items, _ = top_k(np.array([[0.0, 3.0, 2.0]] * 3), 1, exclude=Sequences.from_lists([[1], [], [PAD, 2, 2]]))
    assert items.tolist() == [[2], [1], [1]]


def test_no_rows_no_lists():
    """A large catalog used to fail: an empty array has no -1 in its shape."""
    items, best = top_k(np.zeros((0, 50)), 3)
    assert (items.shape, best.shape) == ((0, 3), (0, 3))


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_without_items_is_refused(k):
    with pytest.raises(ValueError) as error:
        top_k(np.zeros((1, 3)), k)
    assert str(error.value) == f"k must be at least 1, got {k}."


@pytest.mark.parametrize("column", [PAD, 1])
def test_nan_is_refused_wherever_it_is(column):
    scores_BV = np.zeros((2, 3))
    scores_BV[1, column] = np.nan
    with pytest.raises(ValueError) as error:
        top_k(scores_BV, 1)
    assert str(error.value) == "A score is NaN: the model is broken, its list would be arbitrary."


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 9))
def test_entries_are_sorted_by_row_then_score_then_index(seed, count, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-levels, levels, count).astype(np.float64)
    items, rows = rng.permutation(count), rng.integers(0, 4, count)

    def by_key(*keys):
        return sorted(range(count), key=lambda i: tuple(key[i] for key in keys))

    assert order_by_score_then_index(scores).tolist() == by_key(-scores, np.arange(count))
    assert order_by_score_then_index(scores, items).tolist() == by_key(-scores, items)
    assert order_by_score_then_index(scores, items, rows_N=rows).tolist() == by_key(rows, -scores, items)
    assert order_by_score_then_index(scores, rows_N=rows).tolist() == by_key(rows, -scores, np.arange(count))
    chosen = np.flatnonzero(rng.random(count) < 0.7)
    wanted = sorted(chosen.tolist(), key=lambda i: (-scores[i], i))[:levels]
    assert best_indices(scores, chosen, levels).tolist() == wanted
    both = np.stack([scores, -scores])
    wanted = [by_key(-row, np.arange(count))[:levels] for row in both]
    assert best_columns(both, levels).tolist() == wanted
    assert order_by_score_then_index(both)[:, :levels].tolist() == wanted


def test_a_column_shares_the_ranks_of_equal_scores():
    """Item 1 has one score above it and two equal to it; item 0 stands alone; -inf is no candidate."""
    scores_BC = np.array([[5.0, 4.0, 4.0, 4.0], [7.0, 1.0, -np.inf, -np.inf]])
    ranks = column_ranks(scores_BC, np.array([1, 0]))
    assert (ranks.ranks_N.tolist(), ranks.ties_N.tolist()) == ([3.0, 1.0], [3, 1])
    assert column_ranks(np.zeros((1, 5)), np.array([2])).ranks_N.tolist() == [3.0]


HISTORIES = Sequences.from_lists([[3, 5, 3, PAD], [], [PAD], [7, 2]])
"""The last known items are 3 and 2."""
TYPES = ["购买", "view", "view", "Order_Paid", "purchase", None, "buy"]


@pytest.mark.parametrize(
    ("rule", "types", "seen"),
    [
        (True, None, [[3, 5, 3], [], [], [7, 2]]),
        ("last", None, [[3], [], [], [2]]),
        (("purchase", "购买"), TYPES, [[3, 3], [], [], [2]]),
        (("VIEW",), TYPES, [[5, 3], [], [], [2]]),
        (("purchase",), None, [[3], [], [], [2]]),
        ("last", TYPES, [[3], [], [], [2]]),
        (("no such type",), TYPES, [[3], [], [], [2]]),
    ],
)
def test_seen_items(rule, types, seen):
    rows = HISTORIES if types is None else replace(HISTORIES, event_types=np.array(types, dtype=object))
    found = seen_items(rows, rule)
    assert found.to_lists() == seen
    part = seen_items(rows.take(slice(3, 4)), rule)
    assert part.to_lists() == seen[3:], "each history is its own"


def test_no_item_counts_as_seen_where_all_may_be_listed():
    assert seen_items(HISTORIES, False) is None
    assert (default_seen_rule(True), default_seen_rule(False)) == (True, "last")
