"""Spectral embeddings: co-occurring items are similar, and equal arguments give equal embeddings."""

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.factorization import spectral
from segue.models.factorization.spectral import spectral_embeddings


def chain(size, rows=200):
    """Walks over a line of items."""
    rng = np.random.default_rng(5)
    return Sequences.from_lists([range(start, min(start + 6, size)) for start in rng.integers(1, size, rows).tolist()])


@pytest.mark.parametrize(("size", "dim"), [(15, 16), (60, 8), (400, 32)])
def test_embeddings_have_norm_one_and_repeat_exactly(size, dim):
    """A small catalog used to give other embeddings from call to call."""
    log = chain(size)
    first = spectral_embeddings(log, size, dim, np.random.default_rng(1))
    assert (first.shape, first.dtype) == ((size, dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, rtol=1e-5)
    for _ in range(4):
        np.testing.assert_array_equal(spectral_embeddings(log, size, dim, np.random.default_rng(1)), first)


def test_dense_and_sparse_svd_give_the_same_similarities(monkeypatch):
    """Signs are free; the angles between items are not."""
    log = chain(80)
    dense = spectral_embeddings(log, 80, 10, np.random.default_rng(1))
    monkeypatch.setattr(spectral, "DENSE_SIZE", 0)
    sparse = spectral_embeddings(log, 80, 10, np.random.default_rng(1))
    np.testing.assert_allclose(dense[1:] @ dense[1:].T, sparse[1:] @ sparse[1:].T, atol=0.05)


def test_items_that_occur_together_are_similar():
    embeddings = spectral_embeddings(chain(60), 60, 8, np.random.default_rng(1))
    near = np.mean([embeddings[i] @ embeddings[i + 1] for i in range(10, 50)])
    far = np.mean([embeddings[i] @ embeddings[60 - i] for i in range(10, 25)])
    assert near > 0.8
    assert abs(far) < 0.3


def test_items_without_events_get_an_embedding():
    embeddings = spectral_embeddings(Sequences.from_lists([[1, 2, 1, 2]]), 9, 4, np.random.default_rng(1))
    assert np.isfinite(embeddings).all()
    alone = spectral_embeddings(Sequences.from_lists([[1]]), 9, 4, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1.0, rtol=1e-5)
