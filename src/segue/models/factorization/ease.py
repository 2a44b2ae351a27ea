"""EASE: linear regression of each item on all others, in closed form (Steck 2019).

Shape letters: V catalog size with PAD, S items that occur.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, user_item_matrix
from segue.models.sparse_rows import SparseRows, ages, effective_length, item_counts, tie_breaker

MAX_ITEMS = 20_000
"""Largest number of items that occur: the regression inverts their dense matrix, 1.6 GB and minutes at this size."""
BLOCK = 512
"""Number of rows of the inverse that are handled at once."""


@dataclass(frozen=True)
class EASEConfig:
    """Regression, number of kept weights, and the weights of a history's events."""

    regularization: Annotated[float, Range(gt=0)] = 250.0
    """L2 penalty, added to each item's number of users (lambda of the paper's eq. 4); above 0."""
    num_neighbors: Annotated[int, Range(ge=1)] = 200
    """Number of weights that are kept for each item, the largest by absolute value."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.9
    """Factor on the vote of an event per step back in the history, above 0 and at most 1; 1: the paper's."""

    def __post_init__(self) -> None:
        check_ranges(self)


class EASE:
    """EASE model: score(j) = sum over the history of decay ** age * B[item, j].

    B[i, j] = -P[i, j] / P[j, j] off the diagonal, 0 on it, and P = (X'X + lambda I)^-1 (eq. 8). X is the user-item
    matrix, 1 where the user interacted with the item.
    """

    name: ClassVar[str] = "ease"

    def __init__(self, weights: SparseRows, popularity_V: np.ndarray, decay: float) -> None:
        self.weights = weights
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: EASEConfig) -> "EASE":
        """Invert the regularized Gram matrix of the items that occur.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.

        Raises:
            ValueError: more than ``MAX_ITEMS`` items occur.
        """
        user_items = user_item_matrix(sequences, size)
        occur_S = np.flatnonzero(np.diff(user_items.tocsc().indptr))
        if len(occur_S) > MAX_ITEMS:
            raise ValueError(
                f"EASE inverts a matrix of all {len(occur_S):,} items that occur, which takes "
                f"{4 * len(occur_S) ** 2:,} bytes and is refused above {MAX_ITEMS:,} items: leave out rare items "
                "(--trim min_item_events=N), or use ials."
            )
        occurring = user_items[:, occur_S]
        inverse_SS = _inverse(_gram(occurring), config.regularization)
        rows = _largest_weights(inverse_SS, occur_S, size, config.num_neighbors)
        return cls(rows, tie_breaker(item_counts(sequences, size), 1e-6), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: EASEConfig) -> "EASE":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(SparseRows.restore(arrays), arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return self.weights.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        newest = histories.drop_unknown().tail(effective_length(self.decay))
        return fill_empty_histories(
            self.weights.weighted_sum(newest, self.decay ** ages(newest)), newest, self.popularity_V
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {**self.weights.arrays(), "popularity": self.popularity_V}


def _gram(user_items: Any) -> np.ndarray:
    """Return X'X, float32 [S, S], multiplied block by block: a user of all items fills the whole matrix."""
    size = user_items.shape[1]
    item_users = user_items.T.tocsr()
    square_SS = np.empty((size, size), dtype=np.float32, order="F")
    for start in range(0, size, BLOCK):
        square_SS[:, start : start + BLOCK] = (item_users[start : start + BLOCK] @ user_items).toarray().T
    return square_SS


def _inverse(matrix_SS: np.ndarray, regularization: float) -> np.ndarray:
    """Return the lower triangle of (matrix + regularization I)^-1, float32 [S, S], computed in place."""
    from scipy.linalg import lapack

    matrix_SS.flat[:: len(matrix_SS) + 1] += regularization
    if not len(matrix_SS):
        return matrix_SS
    root_SS, _ = lapack.spotrf(matrix_SS, lower=1, overwrite_a=1)
    inverse_SS, _ = lapack.spotri(root_SS, lower=1, overwrite_c=1)
    return np.asarray(inverse_SS)


def _blocks(lower_SS: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, full rows) of a symmetric matrix of which only the lower triangle is valid."""
    for start in range(0, len(lower_SS), BLOCK):
        stop = min(start + BLOCK, len(lower_SS))
        corner = np.tril(lower_SS[start:stop, start:stop])
        yield (
            start,
            np.concatenate(
                [lower_SS[start:stop, :start], corner + np.tril(corner, -1).T, lower_SS[stop:, start:stop].T], axis=1
            ),
        )


def _largest_weights(inverse_SS: np.ndarray, occur_S: np.ndarray, size: int, neighbors: int) -> SparseRows:
    """Return the largest weights of each row of B, by absolute value, as rows of the whole catalog."""
    keep = min(neighbors, max(len(occur_S) - 1, 0))
    scale_S = -1.0 / inverse_SS.diagonal()
    columns, values = [], []
    for start, rows in _blocks(inverse_SS):
        weights = rows * scale_S
        diagonal = np.arange(len(rows))
        weights[diagonal, start + diagonal] = 0.0
        chosen = np.sort(np.argpartition(-np.abs(weights), max(keep - 1, 0), axis=1)[:, :keep], axis=1)
        columns.append(occur_S[chosen].ravel())
        values.append(np.take_along_axis(weights, chosen, axis=1).ravel())
    counts_V = np.zeros(size, dtype=np.int64)
    counts_V[occur_S] = keep
    flat = [np.concatenate([np.empty(0), *parts]) for parts in (columns, values)]
    offsets = np.concatenate([[0], np.cumsum(counts_V)]).astype(np.int64)
    return SparseRows(offsets, flat[0].astype(np.int32), flat[1].astype(np.float32))
