"""iALS: matrix factorization by alternating least squares, every history folded in exactly (Hu, Koren & Volinsky 2008).

Shape letters: B batch, V catalog size with PAD, D dimensions, T distinct items of one history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, recency_weights, user_item_matrix
from segue.models.factorization.implicit_adapter import factorize
from segue.models.sparse_rows import effective_length, item_counts, tie_breaker

BLOCK = 64
"""Number of histories that are solved at once: 64 systems of 256 x 256 take 34 MB."""


@dataclass(frozen=True)
class IALSConfig:
    """Factorization and the weights of a history's events."""

    embedding_dim: Annotated[int, Range(ge=1)] = 64
    """Length of the embeddings."""
    confidence: Annotated[float, Range(gt=0)] = 10.0
    """Weight of an event relative to its absence (alpha of the paper's eq. 1); above 0."""
    regularization: Annotated[float, Range(gt=0)] = 10.0
    """L2 penalty on the embeddings (lambda of eq. 3); above 0."""
    iterations: Annotated[int, Range(ge=1)] = 15
    """Number of alternating passes over users and items."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.9
    """Factor on the confidence of an event per step back in a scored history, above 0 and at most 1; 1: the paper's."""
    seed: Annotated[int, Range(ge=0)] = 0
    """Seed of the initial embeddings; at least 0."""

    def __post_init__(self) -> None:
        check_ranges(self)


class IALS:
    """iALS model: score(j) = x . y_j, x the user embedding, y_j the embedding of item j.

    x solves (Y'Y + lambda I + sum_i (c_i - 1) y_i y_i') x = sum_i c_i y_i over the history's distinct items i (eq. 4),
    c_i = confidence * decay ** age of the newest event of i. Users of the training log are folded in like all others;
    their trained embeddings are not kept.
    """

    name: ClassVar[str] = "ials"

    def __init__(self, arrays: Mapping[str, np.ndarray], config: IALSConfig) -> None:
        self.items_VD, self.popularity_V = arrays["item_embeddings"], arrays["popularity"]
        self.config = config
        items = self.items_VD.astype(np.float64)
        self._system_DD = items.T @ items + config.regularization * np.eye(items.shape[1])

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: IALSConfig) -> "IALS":
        """Factorize the user-item matrix, 1 where the user interacted with the item; repeats count once.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        _, items_VD = factorize(
            lambda cpu: cpu.als.AlternatingLeastSquares(
                factors=config.embedding_dim,
                regularization=config.regularization,
                alpha=config.confidence,
                iterations=config.iterations,
                num_threads=1,
                random_state=config.seed,
            ),
            user_item_matrix(sequences, size),
            config.embedding_dim,
        )
        return cls({"item_embeddings": items_VD, "popularity": tie_breaker(item_counts(sequences, size), 1e-6)}, config)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: IALSConfig) -> "IALS":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(arrays, config)

    @property
    def size(self) -> int:
        return len(self.items_VD)

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        return fill_empty_histories(self.user_embeddings(histories) @ self.items_VD.T, histories, self.popularity_V)

    def user_embeddings(self, histories: Sequences) -> np.ndarray:
        """Solve for the user embedding of each history, float32 [B, D]."""
        newest = histories.drop_unknown().tail(effective_length(self.config.decay))
        users_BD = np.zeros((len(newest), self.items_VD.shape[1]), dtype=np.float32)
        for start in range(0, len(newest), BLOCK):
            block = newest.take(slice(start, start + BLOCK))
            systems_BDD = np.repeat(self._system_DD[None], len(block), axis=0)
            right_sides_BD = np.zeros((len(block), self.items_VD.shape[1]))
            for b, row_T in enumerate(block):
                items_T, newest_T = np.unique(row_T[::-1], return_index=True)
                own_TD = self.items_VD[items_T].astype(np.float64)
                weights_T = self.config.confidence * recency_weights(len(row_T), self.config.decay)[::-1][newest_T]
                systems_BDD[b] += (own_TD.T * (weights_T - 1.0)) @ own_TD
                right_sides_BD[b] = weights_T @ own_TD
            users_BD[start : start + BLOCK] = np.linalg.solve(systems_BDD, right_sides_BD[..., None])[..., 0]
        return users_BD

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {"item_embeddings": self.items_VD, "popularity": self.popularity_V}
