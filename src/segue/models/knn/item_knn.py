"""Item-kNN: cosine similarity of items by their users, in any order (Sarwar et al. 2001; Deshpande & Karypis 2004)."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.knn.session_index import positions_in_row, recency_positions
from segue.models.sparse_rows import (
    SparseRows,
    ages,
    decayed_lifts,
    effective_length,
    item_counts,
    keep_largest,
    tie_breaker,
)

BLOCK_PAIRS = 1 << 21
"""Number of pairs of items that are compared at a time, about 200 MB."""


@dataclass(frozen=True)
class ItemKNNConfig:
    """Item similarity and the weights of a history's events."""

    num_neighbors: Annotated[int, Range(ge=1)] = 200
    """Number of most similar items that are kept for each item."""
    shrinkage: Annotated[float, Range(ge=0)] = 10.0
    """Term added to the denominator of the cosine; it lowers the similarity of items with few common users."""
    weighting: Literal["none", "tfidf", "bm25"] = "none"
    """Weighting of the user-item matrix before the cosine; 'tfidf' and 'bm25' damp users with many items."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.5
    """Factor on the vote of an event per step back in the history, above 0 and at most 1; 1: no decay."""
    max_user_items: Annotated[int, Range(ge=1)] | None = 5000
    """Number of newest items of a user that are counted, at least 1. The pairs grow with the square of it, and those of
    a robot mean little. none: no limit."""

    def __post_init__(self) -> None:
        check_ranges(self)


class ItemVoteConfig(Protocol):
    """Settings that a fitted model needs."""

    @property
    def decay(self) -> float: ...


class ItemKNN:
    """Item-kNN model: score(j) = sum over the history of decay ** age * similarity(item, j)."""

    name: ClassVar[str] = "item-knn"

    def __init__(self, similarities: SparseRows, popularity_V: np.ndarray, decay: float) -> None:
        self.similarities = similarities
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: ItemKNNConfig) -> "ItemKNN":
        """Compute the cosine between the item columns of the user-item matrix, without the diagonal.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        user_items = _weighted_user_items(sequences, size, config)
        rows = SparseRows.from_blocks(_blocks_of_neighbors(user_items, config))
        return cls(rows, tie_breaker(item_counts(sequences, size), 1e-7), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: ItemVoteConfig) -> "ItemKNN":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(SparseRows.restore(arrays), arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return self.similarities.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        known = histories.drop_unknown().tail(effective_length(self.decay))
        return self.similarities.weighted_sum(known, self.decay ** ages(known)) + self.popularity_V

    def lifts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scored items of one history of known items, ascending, and their scores above popularity."""
        return decayed_lifts(self.similarities, items, self.decay)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {**self.similarities.arrays(), "popularity": self.popularity_V}


def _blocks_of_neighbors(user_items: Any, config: ItemKNNConfig) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the most similar items of some items after others, as ``keep_largest`` returns them."""
    from scipy import sparse

    size = user_items.shape[1]
    item_users = user_items.T.tocsr()
    norm_V = np.sqrt(np.asarray(user_items.power(2).sum(axis=0)).ravel())
    items_per_user_N = np.diff(user_items.indptr)[item_users.indices]
    pairs = np.concatenate([[0], np.cumsum(items_per_user_N)])[item_users.indptr]
    block_V = np.cumsum(np.minimum(np.diff(pairs), size)) // BLOCK_PAIRS
    edges = [0, *(np.flatnonzero(np.diff(block_V)) + 1).tolist(), size]
    for start, stop in pairwise(edges):
        products = (item_users[start:stop] @ user_items).tocoo()
        off_diagonal = products.row + start != products.col
        row, col, dot = products.row[off_diagonal], products.col[off_diagonal], products.data[off_diagonal]
        cosine = dot / (norm_V[row + start] * norm_V[col] + config.shrinkage)
        matrix = sparse.coo_array((cosine.astype(np.float32), (row, col)), shape=products.shape)
        yield keep_largest(matrix, config.num_neighbors)


def _newest_items(known: Sequences, size: int, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return (user, item) of the events, without the older items of users with more than ``limit`` items."""
    row_N, position_N = known.positions()
    heavy = np.flatnonzero(known.lengths > limit) if limit is not None else np.empty(0, dtype=np.int64)
    if limit is None or not len(heavy):
        return row_N, known.items[position_N]
    heavy_row, position = recency_positions(known.take(heavy), size)
    num_items = np.bincount(heavy_row, minlength=len(heavy))
    newest = positions_in_row(heavy_row) >= num_items[heavy_row] - limit
    if num_capped := int((num_items > limit).sum()):
        users = "1 user has" if num_capped == 1 else f"{num_capped:,} users have"
        warnings.warn(
            f"{users} more than {limit:,} items; item-knn counts the newest {limit:,} of them (max_user_items).",
            stacklevel=2,
        )
    is_light_N = known.lengths[row_N] <= limit
    rows = np.concatenate([row_N[is_light_N], heavy[heavy_row[newest]]])
    return rows, np.concatenate([known.items[position_N[is_light_N]], known.items[position[newest]]])


def _weighted_user_items(sequences: Sequences, size: int, config: ItemKNNConfig) -> Any:
    """Return the user-item matrix, scipy CSR float64 [U, V]: 1 where the user interacted with the item, or a weight.

    Weights: tf-idf (Salton & Buckley 1988) or BM25 (Robertson & Zaragoza 2009, eq. 3.15, k1 1.2, b .75), with users
    as terms and items as documents.
    """
    from scipy import sparse

    known = sequences.drop_unknown()
    row_N, items_N = _newest_items(known, size, config.max_user_items)
    ones = np.ones(len(row_N), dtype=np.float64)
    user_items = sparse.coo_array((ones, (row_N, items_N)), shape=(len(known), size)).tocsr()
    user_items.data[:] = 1.0
    if config.weighting == "none":
        return user_items
    items_per_user = np.maximum(np.diff(user_items.indptr), 1)
    idf = np.log(1.0 + size / items_per_user)
    if config.weighting == "bm25":
        users_per_item_V = np.asarray(user_items.sum(axis=0)).ravel()
        scale_V = 1.2 * (0.25 + 0.75 * users_per_item_V / max(users_per_item_V.mean(), 1e-12))
        user_items.data = user_items.data * 2.2 / (user_items.data + scale_V[user_items.indices])
    return sparse.diags_array(idf) @ user_items
