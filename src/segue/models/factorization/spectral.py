"""Item vectors without training: the SVD of the windowed co-occurrence's positive pointwise mutual information.

Levy & Goldberg (2014) show that this is what skip-gram with negative sampling converges to; here it takes seconds and
starts the neural models close to where they would arrive. Shape letters: B batch, V catalog size, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, weighted_mean_embedding
from segue.models.sparse_rows import item_counts, tie_breaker, windowed_pairs

DENSE_SIZE = 300
"""Catalogs up to this size are decomposed as a whole: where nearly all singular values are asked for, the iterative
solver runs out of directions and goes on from ones that differ from call to call."""


def spectral_embeddings(
    sequences: Sequences, size: int, dim: int, rng: np.random.Generator, *, window: int = 10, power: float = 0.75
) -> np.ndarray:
    """float32 [V, dim] of unit length; an item that never occurs beside another gets a small random vector.

    PPMI(i, j) = max(0, log(n_ij * sum_k n_k^power / (n_i * n_j^power))) with context smoothing ``power`` (Levy,
    Goldberg & Dagan 2015, eq. 3), factorized as U sqrt(S).
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
    vectors = rng.normal(0.0, 1e-3, (size, dim)).astype(np.float32)
    if rank > 0 and ppmi.nnz:
        start = rng.normal(size=size).astype(np.float32)
        if size <= DENSE_SIZE:
            left, strength, _ = np.linalg.svd(ppmi.toarray())
        else:
            left, strength, _ = (part[..., ::-1] for part in svds(ppmi, k=rank, v0=start))
        vectors[:, :rank] += left[:, :rank] * np.sqrt(np.maximum(strength[:rank], 0.0))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True)
class SpectralConfig:
    """The vectors, and how a history is put together from them."""

    embedding_dim: int = 128
    """Length of the vectors."""
    window: int = 10
    """Pairs at most this many steps apart count, as 1 / distance."""
    power: float = 0.75
    """Smooths how common a neighbor is expected to be: 1 as common as it is, 0 all alike."""
    decay: float = 0.7
    """Each step back into the history multiplies an event's weight by this."""
    seed: int = 0
    """Draws where the decomposition starts."""

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.power <= 1:
            raise ValueError(f"power must be in [0, 1], got {self.power}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")


class Spectral:
    """score(j) = cosine between j's vector and the sum over the history of decay ** age * the item's vector."""

    name: ClassVar[str] = "spectral"

    def __init__(self, items_VD: np.ndarray, popularity_V: np.ndarray, decay: float) -> None:
        self.items_VD = items_VD
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: SpectralConfig) -> "Spectral":
        """The vectors are those that networks start from."""
        rng = np.random.default_rng(config.seed)
        items_VD = spectral_embeddings(
            sequences, size, config.embedding_dim, rng, window=config.window, power=config.power
        )
        return cls(items_VD, tie_breaker(item_counts(sequences, size), 1e-6), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: SpectralConfig) -> "Spectral":
        """What ``arrays`` gave."""
        return cls(arrays["items"], arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return len(self.items_VD)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        people_BD = weighted_mean_embedding(histories, self.items_VD, self.decay)
        people_BD /= np.maximum(np.linalg.norm(people_BD, axis=1, keepdims=True), np.float32(1e-12))
        return fill_empty_histories(people_BD @ self.items_VD.T, histories, self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"items": self.items_VD, "popularity": self.popularity_V}
