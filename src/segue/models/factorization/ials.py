"""iALS: matrix factorization by alternating least squares, every history folded in exactly (Hu, Koren & Volinsky 2008).

Shape letters: B batch, V catalog size with PAD, D dimensions, T distinct items of one history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, recency_weights, user_item_matrix
from segue.models.factorization.implicit_adapter import factorize
from segue.models.sparse_rows import effective_length, item_counts, tie_breaker

BLOCK = 64
"""So many people are solved for together: 64 systems of 256 x 256 take 34 MB."""


@dataclass(frozen=True)
class IALSConfig:
    """The factorization, and how a history weighs."""

    embedding_dim: int = 64
    """Length of the vectors."""
    confidence: float = 10.0
    """What an event weighs, where the absence of one weighs 1 (alpha of the paper's eq. 1)."""
    regularization: float = 10.0
    """Pulls the vectors towards zero (lambda of eq. 3)."""
    iterations: int = 15
    """How often people and items are solved for in turn."""
    decay: float = 0.9
    """Each step back into a history multiplies an event's confidence by this when it is answered; 1: the paper's."""
    seed: int = 0
    """Draws the first vectors."""

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("confidence", "regularization"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")


class IALS:
    """score(j) = x . y_j, where x solves (Y'Y + lambda I + sum_i (c_i - 1) y_i y_i') x = sum_i c_i y_i over the
    history's distinct items i (eq. 4), c_i = confidence * decay ** age of the newest event of i.

    People of the training log are folded in like everybody else: their trained vectors are not kept.
    """

    name: ClassVar[str] = "ials"

    def __init__(self, arrays: Mapping[str, np.ndarray], config: IALSConfig) -> None:
        self.items_VD, self.popularity_V = arrays["items"], arrays["popularity"]
        self.config = config
        items = self.items_VD.astype(np.float64)
        self._system_DD = items.T @ items + config.regularization * np.eye(items.shape[1])

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: IALSConfig) -> "IALS":
        """Factorizes people x items, 1 where the person took the item; repeats count once."""
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
        return cls({"items": items_VD, "popularity": tie_breaker(item_counts(sequences, size), 1e-6)}, config)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: IALSConfig) -> "IALS":
        """What ``arrays`` gave."""
        return cls(arrays, config)

    @property
    def size(self) -> int:
        return len(self.items_VD)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        return fill_empty_histories(self.user_embeddings(histories) @ self.items_VD.T, histories, self.popularity_V)

    def user_embeddings(self, histories: Sequences) -> np.ndarray:
        """Everybody's vector, float32 [B, D]: one small solve for each history, many at once."""
        newest = histories.drop_unknown().tail(effective_length(self.config.decay))
        people_BD = np.zeros((len(newest), self.items_VD.shape[1]), dtype=np.float32)
        for start in range(0, len(newest), BLOCK):
            block = newest.take(slice(start, start + BLOCK))
            systems_BDD = np.repeat(self._system_DD[None], len(block), axis=0)
            sides_BD = np.zeros((len(block), self.items_VD.shape[1]))
            for b, row_T in enumerate(block):
                items_T, newest_T = np.unique(row_T[::-1], return_index=True)
                own_TD = self.items_VD[items_T].astype(np.float64)
                weights_T = self.config.confidence * recency_weights(len(row_T), self.config.decay)[::-1][newest_T]
                systems_BDD[b] += (own_TD.T * (weights_T - 1.0)) @ own_TD
                sides_BD[b] = weights_T @ own_TD
            people_BD[start : start + BLOCK] = np.linalg.solve(systems_BDD, sides_BD[..., None])[..., 0]
        return people_BD

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"items": self.items_VD, "popularity": self.popularity_V}
