"""BPR: matrix factorization trained to rank a user's items above all others (Rendle et al. 2009).

Shape letters: B batch, U users of the log, V catalog size with PAD, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import (
    fill_empty_histories,
    fit_fold_in,
    user_item_matrix,
    weighted_mean_embedding,
)
from segue.models.factorization.implicit_adapter import factorize
from segue.models.sparse_rows import item_counts, tie_breaker


@dataclass(frozen=True)
class BPRConfig:
    """Factorization, its training, and the weights of a history's events."""

    embedding_dim: Annotated[int, Range(ge=1)] = 64
    """Length of the embeddings."""
    learning_rate: Annotated[float, Range(gt=0)] = 0.05
    """Step size of stochastic gradient descent; above 0."""
    regularization: Annotated[float, Range(ge=0)] = 0.01
    """L2 penalty on the embeddings at each step."""
    iterations: Annotated[int, Range(ge=1)] = 100
    """Number of passes over the log."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.9
    """Factor on the weight of an event per step back in a scored history, above 0 and at most 1; 1: no decay."""
    seed: Annotated[int, Range(ge=0)] = 0
    """Seed of the initial embeddings and of the sampled pairs; at least 0."""

    def __post_init__(self) -> None:
        check_ranges(self)


class BPR:
    """BPR model: score(j) = x . y_j + b_j, x the user embedding, y_j and b_j embedding and bias of item j.

    x is the mean of the history's item embeddings, weighted by decay ** age, times a matrix: the pairwise loss has no
    closed form for a new user. The matrix is the ridge regression from such means to the trained user embeddings. All
    users, of the log or not, are folded in alike.
    """

    name: ClassVar[str] = "bpr"

    def __init__(self, arrays: Mapping[str, np.ndarray], config: BPRConfig) -> None:
        self._arrays = dict(arrays)
        self.config = config
        self.items_VD, self.bias_V = arrays["item_embeddings"], arrays["item_bias"]
        self.fold_in_DD, self.popularity_V = arrays["fold_in"], arrays["popularity"]

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: BPRConfig) -> "BPR":
        """Train on sampled pairs, one per event in each pass, then fit the fold-in matrix.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        user_items = user_item_matrix(sequences, size)
        users, items = factorize(
            lambda cpu: cpu.bpr.BayesianPersonalizedRanking(
                factors=config.embedding_dim,
                learning_rate=config.learning_rate,
                regularization=config.regularization,
                iterations=config.iterations,
                num_threads=1,
                random_state=config.seed,
            ),
            user_items,
            config.embedding_dim + 1,
        )
        # The library keeps each item's bias in a last column; the last column of the users is 1.
        users_UD, items_VD, bias_V = users[:, :-1], np.ascontiguousarray(items[:, :-1]), items[:, -1].copy()
        means_UD = user_items @ items_VD / np.maximum(np.diff(user_items.indptr), 1)[:, None]
        arrays = {
            "item_embeddings": items_VD,
            "item_bias": bias_V,
            "fold_in": fit_fold_in(means_UD, users_UD),
            "popularity": tie_breaker(item_counts(sequences, size), 1e-6),
        }
        return cls(arrays, config)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: BPRConfig) -> "BPR":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(arrays, config)

    @property
    def size(self) -> int:
        return len(self.items_VD)

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        users_BD = weighted_mean_embedding(histories, self.items_VD, self.config.decay) @ self.fold_in_DD
        return fill_empty_histories(users_BD @ self.items_VD.T + self.bias_V, histories, self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return self._arrays
