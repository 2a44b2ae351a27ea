"""The fast top-k against the naive one: sort everything by (-score, index)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.scorer import top_k


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
    """Few levels: many ties; large catalogues: the floor; small ones and long lists: no floor, and filler."""
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
    assert items.tolist() == [one for one, _ in wanted]
    assert best.tolist() == [one for _, one in wanted]
    assert items.dtype == np.int32
    assert best.dtype == np.float32
    np.testing.assert_array_equal(scores_BV, before)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.finfo(np.float32).min, 0.0])
def test_constant_scores_are_ordered_by_index(value):
    items, _ = top_k(np.full((1, 500), value, np.float32), 3)
    assert items.tolist() == ([[PAD] * 3] if value == -np.inf else [[1, 2, 3]])
