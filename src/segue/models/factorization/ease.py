"""EASE: each item regressed on all others at once, in closed form (Steck 2019).

Shape letters: V catalog size with PAD, S items that occur.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, user_item_matrix
from segue.models.sparse_rows import SparseRows, ages, effective_length, item_counts, tie_breaker

MAX_ITEMS = 20_000
"""The regression inverts a dense matrix of all items that occur: so many take 1.6 GB, and minutes."""
BLOCK = 512
"""Rows of the inverse that are handled together."""


@dataclass(frozen=True)
class EASEConfig:
    """The regression, what is kept of it, and how a history votes."""

    regularization: float = 250.0
    """Added to each item's number of people (lambda of the paper's eq. 4)."""
    num_neighbors: int = 200
    """Of each item's weights this many are kept, the largest by size, whatever their sign."""
    decay: float = 0.9
    """Each step back into the history multiplies its vote by this; 1: the paper's."""

    def __post_init__(self) -> None:
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, got {self.regularization}.")
        if self.num_neighbors < 1:
            raise ValueError(f"num_neighbors must be at least 1, got {self.num_neighbors}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")


class EASE:
    """score(j) = sum over the history of decay ** age * B[item, j], where B[i, j] = -P[i, j] / P[j, j] off the
    diagonal, 0 on it, and P = (X'X + lambda I)^-1 (eq. 8); X is people x items, 1 where taken."""

    name: ClassVar[str] = "ease"

    def __init__(self, weights: SparseRows, popularity_V: np.ndarray, decay: float) -> None:
        self.weights = weights
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: EASEConfig) -> "EASE":
        """ValueError where so many items occur that the inverse is too large."""
        taken = user_item_matrix(sequences, size)
        occur_S = np.flatnonzero(np.diff(taken.tocsc().indptr))
        if len(occur_S) > MAX_ITEMS:
            raise ValueError(
                f"EASE inverts a matrix of all {len(occur_S):,} items that occur, which takes "
                f"{4 * len(occur_S) ** 2:,} bytes and is refused above {MAX_ITEMS:,} items: leave out rare items "
                "(--trim min_item_events=N), or use ials."
            )
        own = taken[:, occur_S]
        rows = _kept(_inverse(own.T @ own, config.regularization), occur_S, size, config.num_neighbors)
        return cls(rows, tie_breaker(item_counts(sequences, size), 1e-6), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: EASEConfig) -> "EASE":
        """What ``arrays`` gave."""
        return cls(SparseRows.restore(arrays), arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return self.weights.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        newest = histories.drop_unknown().tail(effective_length(self.decay))
        return fill_empty_histories(
            self.weights.weighted_sum(newest, self.decay ** ages(newest)), newest, self.popularity_V
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {**self.weights.arrays(), "popularity": self.popularity_V}


def _inverse(square: Any, regularization: float) -> np.ndarray:
    """float32 [S, S], the lower triangle of (square + regularization I)^-1, made in the one matrix's own memory."""
    from scipy.linalg import lapack

    matrix_SS = np.asfortranarray(square.toarray().T, dtype=np.float32)
    matrix_SS.flat[:: len(matrix_SS) + 1] += regularization
    if not len(matrix_SS):
        return matrix_SS
    root_SS, _ = lapack.spotrf(matrix_SS, lower=1, overwrite_a=1)
    inverse_SS, _ = lapack.spotri(root_SS, lower=1, overwrite_c=1)
    return np.asarray(inverse_SS)


def _blocks(lower_SS: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, whole rows) of a symmetric matrix of which only the lower triangle is valid."""
    for start in range(0, len(lower_SS), BLOCK):
        stop = min(start + BLOCK, len(lower_SS))
        corner = np.tril(lower_SS[start:stop, start:stop])
        yield (
            start,
            np.concatenate(
                [lower_SS[start:stop, :start], corner + np.tril(corner, -1).T, lower_SS[stop:, start:stop].T], axis=1
            ),
        )


def _kept(inverse_SS: np.ndarray, occur_S: np.ndarray, size: int, neighbors: int) -> SparseRows:
    """The weights B of the items that occur, each row's largest by size, as rows of the whole catalog."""
    keep = min(neighbors, max(len(occur_S) - 1, 0))
    scale_S = -1.0 / inverse_SS.diagonal()
    columns, values = [], []
    for start, rows in _blocks(inverse_SS):
        weights = rows * scale_S
        own = np.arange(len(rows))
        weights[own, start + own] = 0.0
        chosen = np.sort(np.argpartition(-np.abs(weights), max(keep - 1, 0), axis=1)[:, :keep], axis=1)
        columns.append(occur_S[chosen].ravel())
        values.append(np.take_along_axis(weights, chosen, axis=1).ravel())
    counts_V = np.zeros(size, dtype=np.int64)
    counts_V[occur_S] = keep
    flat = [np.concatenate([np.empty(0), *parts]) for parts in (columns, values)]
    offsets = np.concatenate([[0], np.cumsum(counts_V)]).astype(np.int64)
    return SparseRows(offsets, flat[0].astype(np.int32), flat[1].astype(np.float32))
