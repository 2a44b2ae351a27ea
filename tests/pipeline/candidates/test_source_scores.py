"""Sparse scores against dense ones: lists item by item, scores bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.sequences import Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.knn.item_knn import ItemKNN, ItemKNNConfig
from segue.models.sparse_rows import SparseRows
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.candidates.source_scores import DenseScores, SparseScores
from segue.pipeline.config import SourceConfig

SIZE = 60


def fitted(model, rng):
    """Of short rows over few of the items, so that most pairs were never seen and many scores are equal."""
    rows = Sequences.from_lists([rng.integers(1, 25, rng.integers(1, 6)).tolist() for _ in range(12)])
    if model == "covisit":
        return CoVisit.fit(rows, SIZE, CoVisitConfig(damping=0.0, window=2))
    return ItemKNN.fit(rows, SIZE, ItemKNNConfig(num_neighbors=5))


def raising(scorer, min_items):
    """The source as it is for a large catalog."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segue.pipeline.candidates.source.EXACT_SEARCH_MIN_ITEMS", min_items)
        return CandidateSource(scorer, SourceConfig(scorer.name))


@pytest.mark.parametrize("model", ["covisit", "item-knn"])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.booleans(), st.booleans())
def test_sparse_scores_equal_dense_ones(model, seed, k, excluding, choosing):
    rng = np.random.default_rng(seed)
    scorer = fitted(model, rng)
    rows = Sequences.from_lists([rng.integers(0, SIZE, n).tolist() for n in (0, 1, 3, 9)])
    exclude = Sequences.from_lists([rng.integers(1, SIZE, n).tolist() for n in (0, 2, 5, 30)]) if excluding else None
    allowed_V = rng.random(SIZE) < 0.5 if choosing else None
    lifted, dense = raising(scorer, 1).score_histories(rows), raising(scorer, SIZE + 1).score_histories(rows)
    assert isinstance(lifted, SparseScores) and isinstance(dense, DenseScores)
    np.testing.assert_array_equal(lifted.all_scores(), dense.all_scores())
    np.testing.assert_array_equal(lifted.top_k(k, exclude, allowed_V), dense.top_k(k, exclude, allowed_V))
    items_BC = rng.integers(0, SIZE, (4, 7))
    np.testing.assert_array_equal(lifted.score_items(items_BC), dense.score_items(items_BC))


def test_an_item_raised_above_the_popular_ones_is_found():
    """Worked by hand: item 4 is the least popular and raised above all; item 1 is raised, but not enough."""
    rows = SparseRows(
        np.array([0, 0, 0, 0, 0, 2]), np.array([1, 4], dtype=np.int32), np.array([0.1, 5.0], dtype=np.float32)
    )
    base_V = np.array([0, 0.2, 0.9, 0.6, 0.1], dtype=np.float32)
    lifted = SparseScores(
        base_V, np.array([2, 3, 1, 4], dtype=np.int32), [rows.sparse_weighted_sum(np.array([4]), np.array([1.0]))]
    )
    assert lifted.top_k(3, None, None).tolist() == [[4, 2, 3]]
    np.testing.assert_allclose(lifted.score_items(np.array([[4, 1, 2]])), [[5.1, 0.3, 0.9]], rtol=1e-6)
