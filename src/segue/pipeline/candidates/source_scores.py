"""Scores of a source for a batch of histories: its best items, and the scores of given items.

Each class is the cheapest exact form for a type of model; ``AnnScores`` is approximate. Shape letters: B batch, C
candidates, K candidates of one source, D embedding size, M raised items, V catalog size with PAD.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.retrieval.exact_search import ExactSearch, SearchRequest, search_requests
from segue.models.top_k import order_by_score_then_index, top_k
from segue.pipeline.candidates.vector_index import HNSWIndex

MAX_OVERSAMPLING = 8
"""Largest factor on the number of items requested from an approximate index, to replace excluded ones. Where it is not
enough, the search is exact."""


class SourceScores(Protocol):
    """Protocol of a source's scores for a batch of histories."""

    def top_k(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """Return the k best allowed items, int32 [B, K], best first; PAD where there are fewer.

        Args:
            k: number of items.
            exclude: items that are left out, row b for row b; None: none.
            allowed_V: bool, items that may be returned; None: all.
        """
        ...

    def score_items(self, items_BC: np.ndarray) -> np.ndarray:
        """Return the scores of given items, float32 [B, C]; -inf without a score."""
        ...

    def all_scores(self) -> np.ndarray:
        """Return the scores of all items, float32 [B, V]."""
        ...


class DenseScores:
    """Scores of every item in one matrix."""

    def __init__(self, scores_BV: np.ndarray) -> None:
        self.scores_BV = scores_BV

    def top_k(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """See ``SourceScores.top_k``."""
        return top_k(self.scores_BV, k, exclude=exclude, allowed_V=allowed_V)[0]

    def score_items(self, items_BC: np.ndarray) -> np.ndarray:
        """See ``SourceScores.score_items``."""
        scores_BC: np.ndarray = np.take_along_axis(self.scores_BV, items_BC, axis=1)
        return scores_BC

    def all_scores(self) -> np.ndarray:
        """See ``SourceScores.all_scores``."""
        return self.scores_BV


class StaticScores:
    """Scores that are equal for every user, sorted once."""

    def __init__(self, scores_V: np.ndarray, order: np.ndarray, batch: int) -> None:
        self.scores_V = scores_V
        self.order = order
        self.batch = batch

    def top_k(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """See ``SourceScores.top_k``."""
        out_BK = np.full((self.batch, k), PAD, dtype=np.int32)
        free = self.order if allowed_V is None else self.order[allowed_V[self.order]]
        for b in range(self.batch):
            row_items = free
            if exclude is not None and exclude.lengths[b]:
                banned = exclude.items[exclude.starts[b] : exclude.stops[b]]
                row_items = free[: k + len(banned)]
                row_items = row_items[~np.isin(row_items, banned)]
            out_BK[b, : min(k, len(row_items))] = row_items[:k]
        return out_BK

    def score_items(self, items_BC: np.ndarray) -> np.ndarray:
        """See ``SourceScores.score_items``."""
        scores_BC: np.ndarray = self.scores_V[items_BC]
        return scores_BC

    def all_scores(self) -> np.ndarray:
        """See ``SourceScores.all_scores``."""
        return np.tile(self.scores_V, (self.batch, 1))


class SparseScores:
    """Scores of a model that raises few items above popularity: only these and the k most popular items are compared.

    They equal the scores of a dense row, bit for bit.
    """

    def __init__(self, base_V: np.ndarray, order: np.ndarray, lifts: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Store the scores.

        Args:
            base_V: float32 popularity of each item.
            order: all items by ``base_V``, as of ``rank_order``.
            lifts: per history the raised items, rising, and their lifts.
        """
        self.base_V = base_V
        self.order = order
        self.lifts = lifts

    def top_k(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """See ``SourceScores.top_k``."""
        out_BK = np.full((len(self.lifts), k), PAD, dtype=np.int32)
        free = self.order if allowed_V is None else self.order[allowed_V[self.order]]
        for b, (raised, lift) in enumerate(self.lifts):
            banned = np.empty(0, dtype=np.int32)
            if exclude is not None:
                banned = exclude.items[exclude.starts[b] : exclude.stops[b]]
            # The first k popular ones that may appear beat whatever lies behind them and is not raised.
            popular = free[: k + len(banned)]
            popular = popular[~_find_sorted(raised, popular)[1]]
            items = np.concatenate([raised, popular])
            scores = np.concatenate([lift + self.base_V[raised], self.base_V[popular]])
            if len(banned) or allowed_V is not None:
                is_allowed = ~np.isin(items, banned)
                is_allowed &= True if allowed_V is None else allowed_V[items]
                items, scores = items[is_allowed], scores[is_allowed]
            best_items = items[order_by_score_then_index(scores, items)[:k]]
            out_BK[b, : len(best_items)] = best_items
        return out_BK

    def score_items(self, items_BC: np.ndarray) -> np.ndarray:
        """See ``SourceScores.score_items``."""
        return np.stack([self._row(b, items_C) for b, items_C in enumerate(items_BC)])

    def all_scores(self) -> np.ndarray:
        """See ``SourceScores.all_scores``."""
        return self.score_items(np.broadcast_to(np.arange(len(self.base_V)), (len(self.lifts), len(self.base_V))))

    def _row(self, b: int, items: np.ndarray) -> np.ndarray:
        raised_M, lift_M = self.lifts[b]
        scores: np.ndarray = self.base_V[items]
        index, hit = _find_sorted(raised_M, items)
        scores[hit] += lift_M[index[hit]]
        return scores


def _find_sorted(rising_M: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (position of each item in a rising array, bool: the array holds it)."""
    if len(rising_M) == 0:
        return np.zeros(items.shape, dtype=np.int64), np.zeros(items.shape, dtype=bool)
    index = np.minimum(np.searchsorted(rising_M, items), len(rising_M) - 1)
    return index, rising_M[index] == items


class VectorScores:
    """Scores that are inner products of a query embedding and item embeddings."""

    def __init__(self, query_BD: np.ndarray, keys_VD: np.ndarray) -> None:
        self.query_BD = query_BD
        self.keys_VD = keys_VD

    def score_items(self, items_BC: np.ndarray) -> np.ndarray:
        """See ``SourceScores.score_items``."""
        scores_BC: np.ndarray = np.einsum("bd,bcd->bc", self.query_BD, self.keys_VD[items_BC])
        return scores_BC

    def all_scores(self) -> np.ndarray:
        """See ``SourceScores.all_scores``."""
        scores_BV: np.ndarray = self.query_BD @ self.keys_VD.T
        return scores_BV


class ExactSearchScores(VectorScores):
    """Inner products for a large catalog: only blocks that can hold one of the best items are scored."""

    def __init__(self, query_BD: np.ndarray, exact_search: ExactSearch) -> None:
        super().__init__(query_BD, exact_search.keys_VD)
        self.exact_search = exact_search

    def top_k(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """See ``SourceScores.top_k``."""
        if allowed_V is not None:
            return DenseScores(self.all_scores()).top_k(k, exclude, allowed_V)
        no_history = np.empty(0, dtype=np.int64)
        requests = [SearchRequest(no_history)] * len(self.query_BD) if exclude is None else search_requests(exclude)
        return self.exact_search.top_k(self.query_BD, k, requests)[0]


class AnnScores(VectorScores):
    """Inner products for a large catalog, searched by an approximate index."""

    def __init__(self, query_BD: np.ndarray, keys_VD: np.ndarray, index: HNSWIndex) -> None:
        super().__init__(query_BD, keys_VD)
        self.index = index

    def top_k(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """See ``SourceScores.top_k``; a row with too few allowed matches is searched exactly."""
        num_matches = k if exclude is None else k + int(exclude.lengths.max(initial=0))
        if allowed_V is not None:
            num_matches = int(min(MAX_OVERSAMPLING * k, num_matches / max(float(allowed_V.mean()), 1e-9) + k))
        matches_BK = self.index.nearest(self.query_BD, min(num_matches, len(self.keys_VD) - 1))
        out_BK = np.full((len(matches_BK), k), PAD, dtype=np.int32)
        for b, matches in enumerate(matches_BK):
            free = matches[matches != PAD]
            if exclude is not None:
                free = free[~np.isin(free, exclude.items[exclude.starts[b] : exclude.stops[b]])]
            free = free if allowed_V is None else free[allowed_V[free]]
            if len(free) < k:
                row = None if exclude is None else exclude.take(slice(b, b + 1))
                free = DenseScores(self.query_BD[b : b + 1] @ self.keys_VD.T).top_k(k, row, allowed_V)[0]
            out_BK[b, : min(k, len(free))] = free[:k]
        return out_BK


def rank_order(scores_V: np.ndarray) -> np.ndarray:
    """Return all items with a finite score, int32, best first, ties by index."""
    known = np.flatnonzero(np.isfinite(scores_V))
    known = known[known != PAD]
    return known[order_by_score_then_index(scores_V[known])].astype(np.int32)
