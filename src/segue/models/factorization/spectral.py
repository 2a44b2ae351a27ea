"""Spectral item embeddings: the SVD of the positive pointwise mutual information (PPMI) of co-occurrences.

Levy & Goldberg (2014) show that skip-gram with negative sampling converges to it. It takes seconds and is the initial
item table of the neural models. Shape letters: B batch, V catalog size, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, weighted_mean_embedding
from segue.models.sparse_rows import item_counts, tie_breaker, windowed_pairs

DENSE_SIZE = 300
"""Largest catalog with a dense SVD: if nearly all singular values are requested, the iterative solver runs out of
directions and continues from others that differ from call to call."""


def spectral_embeddings(
    sequences: Sequences, size: int, dim: int, rng: np.random.Generator, *, window: int = 10, power: float = 0.75
) -> np.ndarray:
    """Return item embeddings of norm 1; an item without co-occurrences gets a random one.

    PPMI(i, j) = max(0, log(n_ij * sum_k n_k^power / (n_i * n_j^power))) with context smoothing ``power`` (Levy,
    Goldberg & Dagan 2015, eq. 3), factorized as U sqrt(S).

    Args:
        sequences: item indices of each user or session; PAD is ignored.
        size: V, catalog size with PAD.
        dim: length of the embeddings.
        rng: generator of the start of the solver and of small noise.
        window: largest distance of a pair in events; a pair counts 1 / distance.
        power: exponent of the context smoothing in [0, 1].

    Returns:
        float32 [V, dim].
    """
    from scipy import sparse
    from scipy.sparse.linalg import svds

    forward = windowed_pairs(sequences, size, window)
    counts = (forward + forward.T).tocoo()
    mass_V = np.bincount(counts.row, weights=counts.data, minlength=size)
    context_V = mass_V**power
    with np.errstate(divide="ignore"):
        value = np.log(counts.data * context_V.sum() / (mass_V[counts.row] * context_V[counts.col]))
    keep = value > 0
    ppmi = sparse.csr_array((value[keep].astype(np.float32), (counts.row[keep], counts.col[keep])), shape=(size, size))
    rank = min(dim, size - 2)
    embeddings_VD = rng.normal(0.0, 1e-3, (size, dim)).astype(np.float32)
    if rank > 0 and ppmi.nnz:
        start = rng.normal(size=size).astype(np.float32)
        if size <= DENSE_SIZE:
            left, strength, _ = np.linalg.svd(ppmi.toarray())
        else:
            left, strength, _ = (part[..., ::-1] for part in svds(ppmi, k=rank, v0=start))
        embeddings_VD[:, :rank] += left[:, :rank] * np.sqrt(np.maximum(strength[:rank], 0.0))
    return embeddings_VD / np.linalg.norm(embeddings_VD, axis=1, keepdims=True)


@dataclass(frozen=True)
class SpectralConfig:
    """Item embeddings and the weights of a history's events."""

    embedding_dim: Annotated[int, Range(ge=1)] = 128
    """Length of the embeddings."""
    window: Annotated[int, Range(ge=1)] = 10
    """Largest distance of a counted pair, in events; a pair counts 1 / distance."""
    power: Annotated[float, Range(ge=0, le=1)] = 0.75
    """Exponent of the context smoothing, in [0, 1]: 1 no smoothing, 0 all contexts alike."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.7
    """Factor on the weight of an event per step back in the history, above 0 and at most 1; 1: no decay."""
    seed: Annotated[int, Range(ge=0)] = 0
    """Seed of the start of the decomposition; at least 0."""

    def __post_init__(self) -> None:
        check_ranges(self)


class Spectral:
    """Spectral model: score(j) = cosine of j's embedding and the mean of the history's, weighted by decay ** age."""

    name: ClassVar[str] = "spectral"

    def __init__(self, items_VD: np.ndarray, popularity_V: np.ndarray, decay: float) -> None:
        self.items_VD = items_VD
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: SpectralConfig) -> "Spectral":
        """Compute the item embeddings, as for the initial table of a neural model.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        rng = np.random.default_rng(config.seed)
        items_VD = spectral_embeddings(
            sequences, size, config.embedding_dim, rng, window=config.window, power=config.power
        )
        return cls(items_VD, tie_breaker(item_counts(sequences, size), 1e-6), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: SpectralConfig) -> "Spectral":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(arrays["item_embeddings"], arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return len(self.items_VD)

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        users_BD = weighted_mean_embedding(histories, self.items_VD, self.decay)
        users_BD /= np.maximum(np.linalg.norm(users_BD, axis=1, keepdims=True), np.float32(1e-12))
        return fill_empty_histories(users_BD @ self.items_VD.T, histories, self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {"item_embeddings": self.items_VD, "popularity": self.popularity_V}
