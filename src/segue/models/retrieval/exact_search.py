"""Exact top-k of query . key (+ bias) over a large catalog, without a score for every item: a screen looks at all of
them roughly, and only groups that can hold one of the k best are scored again.

Shape letters: B queries, D width, V catalog size with PAD, K list length, G groups, W items of a group, R groups that
are scored again, C their items, M items with an extra, N pairs of a query and an item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.retrieval.int8_scan import GroupBoundScan, ItemGroups, build_scan, rounding_error_bound
from segue.models.top_k import order_by_score_then_index

_AT_ONCE = 1 << 16
"""Items that are scored in one go where all of them must be: bounds the memory."""
_SPARE = 24
"""Groups that are scored again beside two for each item of a list; where that is not enough, four times as many are."""


@dataclass(frozen=True)
class ScoreOffsets:
    """What one query adds to the scores of a few items; never negative."""

    items_M: np.ndarray
    """Ascending, each once."""
    values_M: np.ndarray


@dataclass(frozen=True)
class SearchRequest:
    """What one query's list may hold."""

    banned: np.ndarray
    """Items that must not appear."""
    allowed: np.ndarray | None = None
    """The only items that may appear; nothing: all."""
    extra: ScoreOffsets | None = None


@dataclass(frozen=True)
class _Pairs:
    """Items of several queries, query by query: int64 [N] each."""

    rows: np.ndarray
    items: np.ndarray
    values: np.ndarray | None = None

    @classmethod
    def of_banned(cls, wishes: Sequence[SearchRequest]) -> "_Pairs":
        """What must not appear, PAD always."""
        lengths = [1 + len(wish.banned) for wish in wishes]
        parts = [part for wish in wishes for part in (_PAD, wish.banned)]
        return cls(np.repeat(np.arange(len(wishes)), lengths), np.concatenate(parts).astype(np.int64, copy=False))

    @classmethod
    def of_extras(cls, wishes: Sequence[SearchRequest]) -> "_Pairs | None":
        """What is added to which item, if anything is."""
        found = [(b, wish.extra) for b, wish in enumerate(wishes) if wish.extra is not None and len(wish.extra.items_M)]
        if not found:
            return None
        rows = np.repeat([b for b, _ in found], [len(extra.items_M) for _, extra in found])
        items = np.concatenate([extra.items_M for _, extra in found]).astype(np.int64, copy=False)
        return cls(rows, items, np.concatenate([extra.values_M for _, extra in found]))

    def where(self, kept_N: np.ndarray) -> "_Pairs":
        """Some of them."""
        values = None if self.values is None else self.values[kept_N]
        return _Pairs(self.rows[kept_N], self.items[kept_N], values)


class ExactSearch:
    """The keys of a catalog and their screen. Lists equal ``top_k`` of all scores, item by item.

    Scores are rounded from float64, so that items with equal keys have equal scores wherever they lie, and the tie
    rule (the smaller index first) holds; they differ from a float32 product in the last bits. From one thread at a
    time.
    """

    def __init__(
        self, keys_VD: np.ndarray, bias_V: np.ndarray | None = None, screening: GroupBoundScan | None = None
    ) -> None:
        """ValueError where a key is not a number: its item would be anywhere in a list."""
        if not np.isfinite(keys_VD).all() or not (bias_V is None or np.isfinite(bias_V).all()):
            raise ValueError(_BROKEN)
        self.keys_VD = keys_VD
        self.bias_V = bias_V
        self.screen = screening or build_scan(keys_VD, bias_V)
        self.groups: ItemGroups = self.screen.groups
        self._chunks = np.ascontiguousarray(keys_VD)[: self.groups.grouped].reshape(self.groups.count, -1)
        """float32 [G, W * D]: the same numbers, of which a whole group is copied at once."""
        self._copied = np.empty((0, self._chunks.shape[1]), dtype=np.float32)
        """Where groups are copied to: fresh memory for each query would cost more than the copying."""
        self._longest = float(np.sqrt(np.einsum("vd,vd->v", keys_VD, keys_VD).max(initial=0.0)))
        self._highest = 0.0 if bias_V is None else float(np.abs(bias_V).max(initial=0.0))

    def top_k(self, query_BD: np.ndarray, k: int, wishes: Sequence[SearchRequest]) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each query, best first: (items int32 [B, K], scores float32 [B, K]), PAD and -inf behind.

        ValueError where a query is not a number.
        """
        if not np.isfinite(query_BD).all():
            raise ValueError(_BROKEN)
        items_BK = np.full((len(query_BD), k), PAD, dtype=np.int32)
        scores_BK = np.full((len(query_BD), k), -np.inf, dtype=np.float32)
        left = np.array([b for b, wish in enumerate(wishes) if wish.allowed is None], dtype=np.int64)
        alone = [b for b, wish in enumerate(wishes) if wish.allowed is not None]
        count = 2 * k + _SPARE
        while len(left):
            if 4 * count > self.groups.count or count * self.groups.width > _AT_ONCE:
                alone += left.tolist()
                break
            own = [wishes[b] for b in left]
            best, places, scores, sure_B = self._screened(query_BD[left], k, own, count)
            items_BK[left[best.rows], places], scores_BK[left[best.rows], places] = best.items, scores
            left, count = left[~sure_B], 4 * count
        for b in alone:
            items, scores = self._alone(query_BD[b : b + 1], k, wishes[b])
            items_BK[b, : len(items)], scores_BK[b, : len(items)] = items, scores
        return items_BK, scores_BK

    def _screened(
        self, query_BD: np.ndarray, k: int, wishes: Sequence[SearchRequest], count: int
    ) -> tuple[_Pairs, np.ndarray, np.ndarray, np.ndarray]:
        """The best items of the ``count`` most promising groups of each query, all queries together: (the items, the
        place of each in its query's list, its score, and for which queries they are the best of all: bool [B])."""
        group_BR, least_B, off_B = self.screen.best(query_BD, count)
        group_BR = np.sort(group_BR, axis=1)
        batch, width = len(query_BD), self.groups.width
        scores_BRW = self._rescored(query_BD, group_BR)
        scores_RW, chosen_R = scores_BRW.reshape(-1, width), self._numbered(np.arange(batch)[:, None], group_BR).ravel()
        banned, extras = _Pairs.of_banned(wishes), _Pairs.of_extras(wishes)
        for pairs in (extras, banned):
            if pairs is not None:
                at, hit = _found(chosen_R, self._numbered(pairs.rows, pairs.items // width))
                where = at[hit], pairs.items[hit] % width
                if pairs.values is None:
                    scores_RW[where] = -np.inf
                else:
                    scores_RW[where] += pairs.values[hit]
        round_B = rounding_error_bound(query_BD, self._longest, self._highest)
        scores_BC = scores_BRW.reshape(batch, -1)
        kth_B = np.partition(scores_BC, -k, axis=1)[:, -k]
        kth_B = np.maximum(kth_B, _LOWEST)  # fewer than k that may appear
        # The extra is added in float32 as well, which may round once more.
        floor_B = np.maximum(kth_B - 2 * (round_B + 2e-7 * np.abs(kth_B)), _LOWEST).astype(np.float32)
        rows, near = np.nonzero(scores_BC >= floor_B[:, None])
        found = _Pairs(rows, group_BR[rows, near // width] * width + near % width)
        beside = self._beside(query_BD, floor_B, least_B + off_B, chosen_R, extras)
        if len(beside.rows):  # these are not yet rid of what is banned
            size = len(self.keys_VD)
            beside = beside.where(~np.isin(beside.rows * size + beside.items, banned.rows * size + banned.items))
            found = _Pairs(np.append(found.rows, beside.rows), np.append(found.items, beside.items))
        # Nothing in another group reaches the floor; with a tie it might.
        return (*self._ordered(query_BD, found, extras, k), least_B + off_B < floor_B)

    def _numbered(self, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """One number for a query and a group; behind the last group is one more."""
        numbers: np.ndarray = rows * (self.groups.count + 1) + groups
        return numbers

    def _rescored(self, query_BD: np.ndarray, group_BR: np.ndarray) -> np.ndarray:
        """float32 [B, R, W]: keys . query (+ bias) of whole groups."""
        width, count = self.groups.width, group_BR.shape[1]
        if count > len(self._copied):
            self._copied = np.empty((count, self._chunks.shape[1]), dtype=np.float32)
        copied, scores_BRW = self._copied[:count], np.empty((*group_BR.shape, width), dtype=np.float32)
        for query_D, group_R, scores_RW in zip(query_BD, group_BR, scores_BRW, strict=True):
            np.take(self._chunks, group_R, axis=0, out=copied, mode="clip")
            np.dot(copied.reshape(-1, len(query_D)), query_D, out=scores_RW.reshape(-1))
        if self.bias_V is not None:
            scores_BRW += self.bias_V[: self.groups.grouped].reshape(-1, width)[group_BR]
        return scores_BRW

    def _beside(
        self,
        query_BD: np.ndarray,
        floor_B: np.ndarray,
        most_B: np.ndarray,
        chosen_R: np.ndarray,
        extras: _Pairs | None,
    ) -> _Pairs:
        """Items of no chosen group that may be among the best all the same: those behind the last group, and those
        that an extra may raise so far, none of them better than ``most_B`` before."""
        loose_BL = query_BD @ self.keys_VD[self.groups.grouped :].T
        if self.bias_V is not None:
            loose_BL += self.bias_V[self.groups.grouped :]
        if extras is None:
            rows, near = np.nonzero(loose_BL >= floor_B[:, None])
            return _Pairs(rows, near + self.groups.grouped)
        assert extras.values is not None
        rows = np.repeat(np.arange(len(query_BD)), loose_BL.shape[1])
        items = np.tile(np.arange(self.groups.grouped, len(self.keys_VD)), len(query_BD))
        outside = ~_found(chosen_R, self._numbered(extras.rows, extras.items // self.groups.width))[1]
        outside &= extras.items < self.groups.grouped
        own = extras.where(outside & (most_B[extras.rows] + extras.values >= floor_B[extras.rows]))
        return _Pairs(np.append(own.rows, rows), np.append(own.items, items))

    def _ordered(
        self, query_BD: np.ndarray, pairs: _Pairs, extras: _Pairs | None, k: int
    ) -> tuple[_Pairs, np.ndarray, np.ndarray]:
        """(the k best of each query, the place of each, its score float32): by scores that float64 rounded."""
        keys, queries = self.keys_VD[pairs.items].astype(np.float64), query_BD.astype(np.float64)
        scores = np.einsum("nd,nd->n", keys, queries[pairs.rows]).astype(np.float32)
        if self.bias_V is not None:
            scores = scores + self.bias_V[pairs.items]
        if extras is not None:
            assert extras.values is not None
            size = len(self.keys_VD)
            at, hit = _found(extras.rows * size + extras.items, pairs.rows * size + pairs.items)
            scores[hit] += extras.values[at[hit]]
        order = order_by_score_then_index(scores, pairs.items, rows_N=pairs.rows)
        rows = pairs.rows[order]
        places = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = places < k
        return pairs.where(order[kept]), places[kept], scores[order[kept]]

    def _alone(self, query_1D: np.ndarray, k: int, wish: SearchRequest) -> tuple[np.ndarray, np.ndarray]:
        """One query whose items are all looked at, or all that are allowed: (items, scores), best first."""
        candidates = np.arange(len(self.keys_VD)) if wish.allowed is None else np.unique(wish.allowed)
        candidates = candidates[~np.isin(candidates, np.append(wish.banned, PAD))].astype(np.int64)
        extras = _Pairs.of_extras([wish])
        best: list[_Pairs] = []
        for start in range(0, len(candidates), _AT_ONCE):
            items = candidates[start : start + _AT_ONCE]
            best.append(self._ordered(query_1D, _Pairs(np.zeros(len(items), np.int64), items), extras, k)[0])
        items = np.concatenate([np.empty(0, np.int64), *(one.items for one in best)])
        pairs, _, scores = self._ordered(query_1D, _Pairs(np.zeros(len(items), np.int64), items), extras, k)
        return pairs.items, scores


def _found(sorted_M: np.ndarray, wanted_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(where each number stands in an ascending list, whether it does): int64 [N], bool [N]."""
    if not len(sorted_M):
        return np.zeros(len(wanted_N), dtype=np.int64), np.zeros(len(wanted_N), dtype=bool)
    at = np.minimum(np.searchsorted(sorted_M, wanted_N), len(sorted_M) - 1)
    return at, sorted_M[at] == wanted_N


def search_requests(exclude: Sequences) -> list[SearchRequest]:
    """Lists that leave out row b's items."""
    return [SearchRequest(row) for row in exclude]


_PAD = np.array([PAD], dtype=np.int64)
_LOWEST = float(np.finfo(np.float32).min)
_BROKEN = "A score is NaN: the model is broken, its list would be arbitrary."
