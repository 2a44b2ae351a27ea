"""BPR: matrix factorization that learns to put what a person took above what they did not (Rendle et al. 2009).

Shape letters: B batch, U people of the log, V catalog size with PAD, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import (
    fill_empty_histories,
    fold_in_map,
    user_item_matrix,
    weighted_mean_embedding,
)
from segue.models.factorization.implicit_adapter import factorize
from segue.models.sparse_rows import item_counts, tie_breaker


@dataclass(frozen=True)
class BPRConfig:
    """The factorization, and how a history weighs."""

    embedding_dim: int = 64
    """Length of the vectors."""
    learning_rate: float = 0.05
    """Step of the stochastic gradient."""
    regularization: float = 0.01
    """Pulls the vectors towards zero, at each step."""
    iterations: int = 100
    """Passes over the log."""
    decay: float = 0.9
    """Each step back into a history multiplies an event's weight by this when it is answered; 1: all alike."""
    seed: int = 0
    """Draws the first vectors and the pairs."""

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}.")
        if self.regularization < 0:
            raise ValueError(f"regularization must not be negative, got {self.regularization}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")


class BPR:
    """score(j) = x . y_j + b_j, where x = mean of the history's item vectors, weighted by decay ** age, times a map.

    The pairwise loss has no closed form for a new person. The map is the ridge regression from such means to the
    vectors that training gave its own people; so everybody, known or not, is folded in alike.
    """

    name: ClassVar[str] = "bpr"

    def __init__(self, arrays: Mapping[str, np.ndarray], config: BPRConfig) -> None:
        self._arrays = dict(arrays)
        self.config = config
        self.items_VD, self.bias_V = arrays["items"], arrays["bias"]
        self.map_DD, self.popularity_V = arrays["map"], arrays["popularity"]

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: BPRConfig) -> "BPR":
        """Samples pairs, as many in each pass as there are events; then learns how to fold people in."""
        taken = user_item_matrix(sequences, size)
        people, items = factorize(
            lambda cpu: cpu.bpr.BayesianPersonalizedRanking(
                factors=config.embedding_dim,
                learning_rate=config.learning_rate,
                regularization=config.regularization,
                iterations=config.iterations,
                num_threads=1,
                random_state=config.seed,
            ),
            taken,
            config.embedding_dim + 1,
        )
        # The library keeps each item's bias in a last column, against which every person has a 1.
        people_UD, items_VD, bias_V = people[:, :-1], np.ascontiguousarray(items[:, :-1]), items[:, -1].copy()
        means_UD = taken @ items_VD / np.maximum(np.diff(taken.indptr), 1)[:, None]
        arrays = {
            "items": items_VD,
            "bias": bias_V,
            "map": fold_in_map(means_UD, people_UD),
            "popularity": tie_breaker(item_counts(sequences, size), 1e-6),
        }
        return cls(arrays, config)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: BPRConfig) -> "BPR":
        """What ``arrays`` gave."""
        return cls(arrays, config)

    @property
    def size(self) -> int:
        return len(self.items_VD)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        people_BD = weighted_mean_embedding(histories, self.items_VD, self.config.decay) @ self.map_DD
        return fill_empty_histories(people_BD @ self.items_VD.T + self.bias_V, histories, self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return self._arrays
