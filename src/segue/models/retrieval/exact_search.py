"""Exact top-k of query . key (+ bias) over a large catalog, without an exact score for every item.

A scan bounds the best score of every group of items; only groups that can hold one of the k best are scored again.

Shape letters: B queries, D width, V catalog size with PAD, K list length, G groups, W items of a group, R groups that
are scored again, C their items, M items with an offset, N pairs of a query and an item.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.retrieval.int8_scan import GroupBoundScan, ItemGroups, build_scan, rounding_error_bound
from segue.models.top_k import order_by_score_then_index

_MAX_BATCH_ITEMS = 1 << 16
"""Items of one batch where all items must be scored; bounds the memory."""
_NUM_SPARE_GROUPS = 24
"""Groups that are scored again in addition to two for each item of a list; multiplied by 4 until they suffice."""


@dataclass(frozen=True)
class ScoreOffsets:
    """Addends of one query to the scores of a few items."""

    items_M: np.ndarray
    """Items, ascending, without duplicates."""
    values_M: np.ndarray
    """Addends, float32, never negative."""


@dataclass(frozen=True)
class SearchRequest:
    """Items that one query's list may hold, and their score offsets."""

    excluded: np.ndarray
    """Items that must not appear."""
    allowed: np.ndarray | None = None
    """The only items that may appear; None: all."""
    offsets: ScoreOffsets | None = None
    """Addends to the scores of a few items; None: no offsets."""


@dataclass(frozen=True)
class _Pairs:
    """Items of several queries, query by query: int64 [N] each."""

    rows: np.ndarray
    items: np.ndarray
    values: np.ndarray | None = None

    @classmethod
    def of_excluded(cls, requests: Sequence[SearchRequest]) -> "_Pairs":
        """Return the items that must not appear, PAD always among them."""
        lengths = [1 + len(request.excluded) for request in requests]
        parts = [part for request in requests for part in (_PAD, request.excluded)]
        return cls(np.repeat(np.arange(len(requests)), lengths), np.concatenate(parts).astype(np.int64, copy=False))

    @classmethod
    def of_offsets(cls, requests: Sequence[SearchRequest]) -> "_Pairs | None":
        """Return the items with an offset; None without any."""
        given = [(b, r.offsets) for b, r in enumerate(requests) if r.offsets is not None and len(r.offsets.items_M)]
        if not given:
            return None
        rows = np.repeat([b for b, _ in given], [len(offsets.items_M) for _, offsets in given])
        items = np.concatenate([offsets.items_M for _, offsets in given]).astype(np.int64, copy=False)
        return cls(rows, items, np.concatenate([offsets.values_M for _, offsets in given]))

    def take(self, index_N: np.ndarray) -> "_Pairs":
        """Return some of the pairs, by index or mask."""
        values = None if self.values is None else self.values[index_N]
        return _Pairs(self.rows[index_N], self.items[index_N], values)


class _Ranked(NamedTuple):
    """The k best pairs of each query."""

    pairs: _Pairs
    positions: np.ndarray
    """Position of each pair in its query's list."""
    scores: np.ndarray
    """float32."""


class ExactSearch:
    """Keys of a catalog with a scan of their groups. Lists equal ``top_k`` of all scores, item by item.

    Scores are rounded from float64. So items with equal keys have equal scores at any position, and the tie rule (the
    smaller index first) holds. They differ from a float32 product in the last bits. Not thread-safe.

    Raises:
        ValueError: a key or bias is not finite, so its item could be anywhere in a list.
    """

    def __init__(
        self, keys_VD: np.ndarray, bias_V: np.ndarray | None = None, scan: GroupBoundScan | None = None
    ) -> None:
        if not np.isfinite(keys_VD).all() or not (bias_V is None or np.isfinite(bias_V).all()):
            raise ValueError(_BROKEN)
        self.keys_VD = keys_VD
        self.bias_V = bias_V
        self.scan = scan or build_scan(keys_VD, bias_V)
        self.groups: ItemGroups = self.scan.groups
        self._group_keys = np.ascontiguousarray(keys_VD)[: self.groups.grouped].reshape(self.groups.count, -1)
        """float32 [G, W * D]: the same numbers; a group is one row, which is copied at once."""
        self._buffer = np.empty((0, self._group_keys.shape[1]), dtype=np.float32)
        """Copies of groups: new memory for each query would take longer than the copying."""
        self._max_norm = float(np.sqrt(np.einsum("vd,vd->v", keys_VD, keys_VD).max(initial=0.0)))
        self._max_bias = 0.0 if bias_V is None else float(np.abs(bias_V).max(initial=0.0))

    def top_k(self, query_BD: np.ndarray, k: int, requests: Sequence[SearchRequest]) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best items of each query, best first.

        Args:
            query_BD: float32 [B, D].
            k: list length.
            requests: allowed items and score offsets of each query.

        Returns:
            (items int32 [B, K], scores float32 [B, K]); PAD with -inf behind shorter lists.

        Raises:
            ValueError: a query is not finite.
        """
        if not np.isfinite(query_BD).all():
            raise ValueError(_BROKEN)
        items_BK = np.full((len(query_BD), k), PAD, dtype=np.int32)
        scores_BK = np.full((len(query_BD), k), -np.inf, dtype=np.float32)
        left = np.array([b for b, request in enumerate(requests) if request.allowed is None], dtype=np.int64)
        exhaustive = [b for b, request in enumerate(requests) if request.allowed is not None]
        count = 2 * k + _NUM_SPARE_GROUPS
        while len(left):
            if 4 * count > self.groups.count or count * self.groups.width > _MAX_BATCH_ITEMS:
                exhaustive += left.tolist()
                break
            best, is_exact_B = self._search_groups(query_BD[left], k, [requests[b] for b in left], count)
            rows = left[best.pairs.rows]
            items_BK[rows, best.positions], scores_BK[rows, best.positions] = best.pairs.items, best.scores
            left, count = left[~is_exact_B], 4 * count
        for b in exhaustive:
            items, scores = self._search_exhaustively(query_BD[b : b + 1], k, requests[b])
            items_BK[b, : len(items)], scores_BK[b, : len(items)] = items, scores
        return items_BK, scores_BK

    def _search_groups(
        self, query_BD: np.ndarray, k: int, requests: Sequence[SearchRequest], count: int
    ) -> tuple[_Ranked, np.ndarray]:
        """Rank the items of each query's ``count`` best groups; bool [B]: the queries for which that is the top k."""
        group_BR, lowest_B, error_B = self.scan.top_groups(query_BD, count)
        group_BR = np.sort(group_BR, axis=1)
        batch, width = len(query_BD), self.groups.width
        scores_BRW = self._score_groups(query_BD, group_BR)
        scores_RW, chosen_R = (
            scores_BRW.reshape(-1, width),
            self._group_key(np.arange(batch)[:, None], group_BR).ravel(),
        )
        excluded, offsets = _Pairs.of_excluded(requests), _Pairs.of_offsets(requests)
        for pairs in (offsets, excluded):
            if pairs is not None:
                at, is_chosen = _find(chosen_R, self._group_key(pairs.rows, pairs.items // width))
                cell = at[is_chosen], pairs.items[is_chosen] % width
                if pairs.values is None:
                    scores_RW[cell] = -np.inf
                else:
                    scores_RW[cell] += pairs.values[is_chosen]
        rounding_B = rounding_error_bound(query_BD, self._max_norm, self._max_bias)
        scores_BC = scores_BRW.reshape(batch, -1)
        kth_B = np.partition(scores_BC, -k, axis=1)[:, -k]
        kth_B = np.maximum(kth_B, _LOWEST)  # fewer than k items may appear
        # Offsets are added in float32 as well, which can round once more.
        threshold_B = np.maximum(kth_B - 2 * (rounding_B + 2e-7 * np.abs(kth_B)), _LOWEST).astype(np.float32)
        rows, column = np.nonzero(scores_BC >= threshold_B[:, None])
        candidates = _Pairs(rows, group_BR[rows, column // width] * width + column % width)
        others = self._candidates_outside_groups(query_BD, threshold_B, lowest_B + error_B, chosen_R, offsets)
        if len(others.rows):  # these may still hold excluded items
            size = len(self.keys_VD)
            others = others.take(~np.isin(others.rows * size + others.items, excluded.rows * size + excluded.items))
            candidates = _Pairs(np.append(candidates.rows, others.rows), np.append(candidates.items, others.items))
        # Below the threshold, no item of another group can be among the best; equal to it, one can.
        return self._rank(query_BD, candidates, offsets, k), lowest_B + error_B < threshold_B

    def _group_key(self, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return one number for a query and a group; the number of groups stands for items in no group."""
        keys: np.ndarray = rows * (self.groups.count + 1) + groups
        return keys

    def _score_groups(self, query_BD: np.ndarray, group_BR: np.ndarray) -> np.ndarray:
        """Return keys . query (+ bias) of whole groups, float32 [B, R, W]."""
        width, count = self.groups.width, group_BR.shape[1]
        if count > len(self._buffer):
            self._buffer = np.empty((count, self._group_keys.shape[1]), dtype=np.float32)
        keys, scores_BRW = self._buffer[:count], np.empty((*group_BR.shape, width), dtype=np.float32)
        for query_D, group_R, scores_RW in zip(query_BD, group_BR, scores_BRW, strict=True):
            np.take(self._group_keys, group_R, axis=0, out=keys, mode="clip")
            np.dot(keys.reshape(-1, len(query_D)), query_D, out=scores_RW.reshape(-1))
        if self.bias_V is not None:
            scores_BRW += self.bias_V[: self.groups.grouped].reshape(-1, width)[group_BR]
        return scores_BRW

    def _candidates_outside_groups(
        self,
        query_BD: np.ndarray,
        threshold_B: np.ndarray,
        bound_B: np.ndarray,
        chosen_R: np.ndarray,
        offsets: _Pairs | None,
    ) -> _Pairs:
        """Return items of no chosen group that can be among the best: those behind the last group, and those that an
        offset can raise to the threshold from at most ``bound_B``."""
        rest_BL = query_BD @ self.keys_VD[self.groups.grouped :].T
        if self.bias_V is not None:
            rest_BL += self.bias_V[self.groups.grouped :]
        if offsets is None:
            rows, column = np.nonzero(rest_BL >= threshold_B[:, None])
            return _Pairs(rows, column + self.groups.grouped)
        assert offsets.values is not None
        rows = np.repeat(np.arange(len(query_BD)), rest_BL.shape[1])
        items = np.tile(np.arange(self.groups.grouped, len(self.keys_VD)), len(query_BD))
        is_outside = ~_find(chosen_R, self._group_key(offsets.rows, offsets.items // self.groups.width))[1]
        is_outside &= offsets.items < self.groups.grouped
        raised = offsets.take(is_outside & (bound_B[offsets.rows] + offsets.values >= threshold_B[offsets.rows]))
        return _Pairs(np.append(raised.rows, rows), np.append(raised.items, items))

    def _rank(self, query_BD: np.ndarray, pairs: _Pairs, offsets: _Pairs | None, k: int) -> _Ranked:
        """Return the k best pairs of each query, by scores rounded from float64."""
        keys, queries = self.keys_VD[pairs.items].astype(np.float64), query_BD.astype(np.float64)
        scores = np.einsum("nd,nd->n", keys, queries[pairs.rows]).astype(np.float32)
        if self.bias_V is not None:
            scores = scores + self.bias_V[pairs.items]
        if offsets is not None:
            assert offsets.values is not None
            size = len(self.keys_VD)
            at, has_offset = _find(offsets.rows * size + offsets.items, pairs.rows * size + pairs.items)
            scores[has_offset] += offsets.values[at[has_offset]]
        order = order_by_score_then_index(scores, pairs.items, rows_N=pairs.rows)
        rows = pairs.rows[order]
        positions = np.arange(len(rows)) - np.searchsorted(rows, rows)
        is_kept = positions < k
        return _Ranked(pairs.take(order[is_kept]), positions[is_kept], scores[order[is_kept]])

    def _search_exhaustively(
        self, query_1D: np.ndarray, k: int, request: SearchRequest
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (items, scores) of one query, best first, by a score of every allowed item."""
        allowed = np.arange(len(self.keys_VD)) if request.allowed is None else np.unique(request.allowed)
        allowed = allowed[~np.isin(allowed, np.append(request.excluded, PAD))].astype(np.int64)
        offsets = _Pairs.of_offsets([request])
        parts: list[np.ndarray] = [np.empty(0, np.int64)]
        for start in range(0, len(allowed), _MAX_BATCH_ITEMS):
            items = allowed[start : start + _MAX_BATCH_ITEMS]
            parts.append(self._rank(query_1D, _Pairs(np.zeros(len(items), np.int64), items), offsets, k).pairs.items)
        items = np.concatenate(parts)
        best = self._rank(query_1D, _Pairs(np.zeros(len(items), np.int64), items), offsets, k)
        return best.pairs.items, best.scores


def _find(sorted_M: np.ndarray, values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (position of each value in an ascending array, True if the array holds it): int64 [N], bool [N]."""
    if not len(sorted_M):
        return np.zeros(len(values_N), dtype=np.int64), np.zeros(len(values_N), dtype=bool)
    at = np.minimum(np.searchsorted(sorted_M, values_N), len(sorted_M) - 1)
    return at, sorted_M[at] == values_N


def search_requests(exclude: Sequences) -> list[SearchRequest]:
    """Return requests whose lists exclude the items of row b, one for each row."""
    return [SearchRequest(row) for row in exclude]


_PAD = np.array([PAD], dtype=np.int64)
_LOWEST = float(np.finfo(np.float32).min)
_BROKEN = "A score is NaN: the model is broken, its list would be arbitrary."
