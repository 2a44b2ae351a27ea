"""FPMC: a factorization of user preference plus a factorization of item transitions (Rendle et al. 2010).

Differs: baskets are single events, so the "last basket" is the last item. Shape letters: B batch, U users of the log,
V catalog size with PAD, N events, M rows that a step touches, D dimensions, E = 2 D.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, fit_fold_in, weighted_mean_embedding
from segue.models.sparse_rows import item_counts, tie_breaker


@dataclass(frozen=True)
class FPMCConfig:
    """Factorizations and their training."""

    embedding_dim: Annotated[int, Range(ge=1)] = 64
    """Length of the embeddings of each of the two factorizations."""
    epochs: Annotated[int, Range(ge=1)] = 20
    """Number of passes over the events."""
    learning_rate: Annotated[float, Range(gt=0)] = 0.05
    """Step size of Adagrad; above 0."""
    regularization: Annotated[float, Range(ge=0)] = 0.01
    """L2 penalty on the embeddings of each event (lambda of the paper's eq. 15)."""
    batch_size: Annotated[int, Range(ge=1)] = 1024
    """Number of events of one step."""
    seed: Annotated[int, Range(ge=0)] = 0
    """Seed of the initial embeddings, the order of events and the negatives; at least 0."""

    def __post_init__(self) -> None:
        check_ranges(self)


class FPMC:
    """FPMC model: score(j) = x . p_j + f_l . t_j (eq. 12), l the last item, x the user embedding.

    p_j, f_l and t_j are item embeddings for preference, last item and next item. A user is scored by a history: x is
    the mean of its items' p times the ridge regression from such means to the trained user embeddings.
    """

    name: ClassVar[str] = "fpmc"

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self.items_VE, self.last_item_VD = arrays["item_embeddings"], arrays["last_item_embeddings"]
        self.fold_in_DD, self.popularity_V = arrays["fold_in"], arrays["popularity"]
        self._preference_VD = np.ascontiguousarray(self.items_VE[:, : self.last_item_VD.shape[1]])

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: FPMCConfig) -> "FPMC":
        """Train with S-BPR (section 5.2): each event against one sampled negative, in mini-batches.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        rng = np.random.default_rng(config.seed)
        users_UD, last_item_VD, items_VE = _train(sequences, size, config, rng)
        known = sequences.drop_unknown()
        means_UD = weighted_mean_embedding(known.take(known.lengths > 0), items_VE[:, : config.embedding_dim], 1.0)
        arrays = {
            "item_embeddings": items_VE,
            "last_item_embeddings": last_item_VD,
            "fold_in": fit_fold_in(means_UD, users_UD),
            "popularity": tie_breaker(item_counts(sequences, size), 1e-6),
        }
        return cls(arrays)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: FPMCConfig) -> "FPMC":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(arrays)

    @property
    def size(self) -> int:
        return len(self.items_VE)

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        known = histories.drop_unknown()
        last_B = known.padded(1)[:, 0]
        users_BD = weighted_mean_embedding(known, self._preference_VD, 1.0) @ self.fold_in_DD
        query_BE = np.concatenate([users_BD, self.last_item_VD[last_B]], axis=1)
        return fill_empty_histories(query_BE @ self.items_VE.T, known, self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return self._arrays


def bpr_gradients(
    query_BE: np.ndarray, target_BE: np.ndarray, negative_BE: np.ndarray, regularization: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of -log sigmoid(query . (target - negative)) + regularization / 2 * (squares of all three).

    Args:
        query_BE: query embedding of each event.
        target_BE: embedding of the target item.
        negative_BE: embedding of the negative item.
        regularization: L2 penalty.

    Returns:
        Gradients by query, target and negative, each [B, E].
    """
    difference_BE = target_BE - negative_BE
    margin_B = np.einsum("be,be->b", query_BE, difference_BE)
    slope_B1 = (-0.5 + 0.5 * np.tanh(0.5 * margin_B))[:, None].astype(query_BE.dtype)  # -sigmoid(-margin), no overflow
    by_item_BE = slope_B1 * query_BE
    return (
        slope_B1 * difference_BE + regularization * query_BE,
        by_item_BE + regularization * target_BE,
        regularization * negative_BE - by_item_BE,
    )


def item_transitions(sequences: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the transitions to every known event.

    The last item of a first event, and of one after an unknown item, is PAD. Users are numbered without gaps; users
    without a known item have no number.

    Returns:
        (user int64 [N], last item int32 [N], item int32 [N]).
    """
    row_N, position_N = sequences.positions()
    items_N = sequences.items[position_N]
    last_N = np.where(np.diff(row_N, prepend=-1) > 0, PAD, np.roll(items_N, 1))
    known = items_N != PAD
    _, user_N = np.unique(row_N[known], return_inverse=True)
    return user_N, last_N[known], items_N[known]


def _train(
    sequences: Sequences, size: int, config: FPMCConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (users [U, D], last items [V, D], items [V, 2 D]: preference and next item), float32.

    Row PAD of the last items stays zero.
    """
    user_N, last_N, item_N = item_transitions(sequences)
    dim = config.embedding_dim
    shapes = [(int(user_N.max(initial=-1)) + 1, dim), (size, dim), (size, 2 * dim)]
    tables = [AdagradTable(rng.normal(0.0, 0.1, shape).astype(np.float32), config.learning_rate) for shape in shapes]
    users, last_items, items = tables
    last_items.rows[PAD] = 0.0
    occurring = np.unique(item_N)
    for _ in range(config.epochs):
        order_N = rng.permutation(len(item_N))
        negative_N = rng.choice(occurring, len(item_N)) if len(occurring) else item_N
        for start in range(0, len(order_N), config.batch_size):
            batch = order_N[start : start + config.batch_size]
            query_BE = np.concatenate([users.rows[user_N[batch]], last_items.rows[last_N[batch]]], axis=1)
            by_query_BE, by_target_BE, by_negative_BE = bpr_gradients(
                query_BE, items.rows[item_N[batch]], items.rows[negative_N[batch]], config.regularization
            )
            users.step(user_N[batch], by_query_BE[:, :dim])
            last_items.step(last_N[batch], by_query_BE[:, dim:])
            last_items.rows[PAD] = 0.0
            items.step(
                np.concatenate([item_N[batch], negative_N[batch]]), np.concatenate([by_target_BE, by_negative_BE])
            )
    return users.rows, last_items.rows, items.rows


class AdagradTable:
    """Embedding table with sparse Adagrad updates (Duchi et al. 2011); a step costs O(rows of the batch)."""

    def __init__(self, rows: np.ndarray, learning_rate: float) -> None:
        self.rows = rows
        self.learning_rate = learning_rate
        self._squares = np.zeros_like(rows)

    def step(self, index_M: np.ndarray, gradient_MD: np.ndarray) -> None:
        """Take one step against the gradients of some rows.

        Args:
            index_M: the row of each gradient; gradients of the same row are added.
            gradient_MD: gradients, float [M, width].
        """
        order_M = np.argsort(index_M, kind="stable")
        sorted_M = index_M[order_M]
        first = np.flatnonzero(np.diff(sorted_M, prepend=-1))
        updated = sorted_M[first]
        total = np.add.reduceat(gradient_MD[order_M], first, axis=0)
        self._squares[updated] += total * total
        self.rows[updated] -= self.learning_rate * total / (np.sqrt(self._squares[updated]) + 1e-8)
