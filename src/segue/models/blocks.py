"""Exact top-k of query . key (+ bias) over a large catalogue, without a score for every item: a screen looks at all of
them roughly, and only groups that can hold one of the k best are scored again.

Shape letters: B queries, D width, V catalogue size with PAD, K list length, G groups, C candidates, M items with
an extra.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.screen import Groups, Screen, rounding, screen

_AT_ONCE = 1 << 16
"""Items that are scored in one go where all of them must be: bounds the memory."""


@dataclass(frozen=True)
class Extra:
    """What one query adds to the scores of a few items; never negative."""

    items_M: np.ndarray
    """Ascending, each once."""
    values_M: np.ndarray


@dataclass(frozen=True)
class Wish:
    """What one query's list may hold."""

    banned: np.ndarray
    """Items that must not appear."""
    allowed: np.ndarray | None = None
    """The only items that may appear; nothing: all."""
    extra: Extra | None = None


@dataclass(frozen=True)
class _Candidates:
    """What is scored again."""

    groups: np.ndarray
    """Whole ones, int64."""
    items: np.ndarray
    """Behind them, int64, in none of these groups."""


class Blocks:
    """The keys of a catalogue and their screen. Lists equal ``top_k`` of all scores, item by item.

    Scores are rounded from float64, so that items with equal keys have equal scores wherever they lie, and the tie
    rule (the smaller index first) holds; they differ from a float32 product in the last bits. From one thread at a
    time.
    """

    def __init__(self, keys_VD: np.ndarray, bias_V: np.ndarray | None = None, screening: Screen | None = None) -> None:
        """ValueError where a key is not a number: its item would be anywhere in a list."""
        if not np.isfinite(keys_VD).all() or not (bias_V is None or np.isfinite(bias_V).all()):
            raise ValueError(_BROKEN)
        self.keys_VD = keys_VD
        self.bias_V = bias_V
        self.screen = screening or screen(keys_VD, bias_V)
        self.groups: Groups = self.screen.groups
        self._loose = np.arange(self.groups.grouped, len(keys_VD))
        self._chunks = np.ascontiguousarray(keys_VD)[: self.groups.grouped].reshape(self.groups.count, -1)
        """float32 [G, members * D]: the same numbers, of which a whole group is copied at once."""
        self._shut_V = np.zeros(len(keys_VD), dtype=bool)
        self._longest = float(np.sqrt(np.einsum("vd,vd->v", keys_VD, keys_VD).max(initial=0.0)))
        self._highest = 0.0 if bias_V is None else float(np.abs(bias_V).max(initial=0.0))

    def top_k(self, query_BD: np.ndarray, k: int, wishes: Sequence[Wish]) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each query, best first: (items int32 [B, K], scores float32 [B, K]), PAD and -inf behind.

        ValueError where a query is not a number.
        """
        if not np.isfinite(query_BD).all():
            raise ValueError(_BROKEN)
        best_BG, off_B = self.screen.maxima(query_BD)
        round_B = rounding(query_BD, self._longest, self._highest)
        items_BK = np.full((len(query_BD), k), PAD, dtype=np.int32)
        scores_BK = np.full((len(query_BD), k), -np.inf, dtype=np.float32)
        for b, wish in enumerate(wishes):
            banned = np.append(wish.banned, PAD)
            candidates = self._candidates(best_BG[b], float(off_B[b]), k, wish, banned)
            # Looked up in a table of all items: several times faster than comparing two lists.
            self._shut_V[banned] = True
            found = self._pick(query_BD[b], candidates, float(round_B[b]), k, wish.extra)
            self._shut_V[banned] = False
            items_BK[b, : len(found[0])], scores_BK[b, : len(found[0])] = found
        return items_BK, scores_BK

    def _candidates(self, best_G: np.ndarray, off: float, k: int, wish: Wish, banned: np.ndarray) -> "_Candidates":
        """Items, each once and some of them banned, among which all of the k best are."""
        nothing = np.empty(0, dtype=np.int64)
        if wish.allowed is not None:
            return _Candidates(nothing, np.unique(wish.allowed))
        if 4 * k >= len(best_G):
            return _Candidates(nothing, np.arange(len(self.keys_VD)))
        # A group with a banned item is not proof of anything, but may hold a good one all the same.
        sure_G = best_G.copy()
        sure_G[self.groups.of(banned)] = -np.inf
        floor = np.partition(sure_G, -k)[-k] - 2 * off
        reach_G = best_G >= floor
        reach = np.flatnonzero(reach_G)
        if len(reach) * self.groups.width > min(len(self.keys_VD) // 4, _AT_ONCE):
            return _Candidates(nothing, np.arange(len(self.keys_VD)))
        if wish.extra is None:
            return _Candidates(reach, self._loose)
        lifted = best_G.max() + off + wish.extra.values_M >= floor + off
        own = wish.extra.items_M[lifted & (wish.extra.items_M < self.groups.grouped)]
        return _Candidates(reach, np.concatenate([self._loose, own[~reach_G[self.groups.of(own)]]]))

    def _pick(
        self, query_D: np.ndarray, candidates: "_Candidates", off: float, k: int, extra: Extra | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of the candidates: in float32 first, what can be among them in float64."""
        items_C = np.concatenate([self.groups.members(candidates.groups), candidates.items])
        scores_C = self._plus(self._products(query_D, candidates), items_C, extra)
        scores_C[self._shut_V[items_C]] = -np.inf
        floor = np.float32(_LOWEST)
        if len(scores_C) > k:
            kth = np.partition(scores_C, -k)[-k]
            # The extra is added in float32 as well, which may round once more.
            floor = max(floor, kth - 2 * (off + 2e-7 * abs(kth)))
        items_C = np.sort(items_C[scores_C >= floor])
        product = self.keys_VD[items_C].astype(np.float64) @ query_D.astype(np.float64)
        exact = self._plus(product.astype(np.float32), items_C, extra)
        order = np.argsort(-exact, kind="stable")[:k]
        return items_C[order], exact[order]

    def _products(self, query_D: np.ndarray, candidates: "_Candidates") -> np.ndarray:
        """float32 [C]: keys . query, of whole groups first."""
        out = [np.take(self._chunks, candidates.groups, axis=0).reshape(-1, len(query_D)) @ query_D]
        for start in range(0, len(candidates.items), _AT_ONCE):
            out.append(self.keys_VD[candidates.items[start : start + _AT_ONCE]] @ query_D)
        product_C: np.ndarray = np.concatenate(out)
        return product_C

    def _plus(self, product_C: np.ndarray, items_C: np.ndarray, extra: Extra | None) -> np.ndarray:
        scores_C = product_C if self.bias_V is None else product_C + self.bias_V[items_C]
        if extra is not None and len(extra.items_M):
            place = np.minimum(np.searchsorted(extra.items_M, items_C), len(extra.items_M) - 1)
            scores_C = scores_C + np.where(extra.items_M[place] == items_C, extra.values_M[place], np.float32(0))
        return scores_C


def wishes_of(exclude: Sequences) -> list[Wish]:
    """Lists that leave out row b's items."""
    return [Wish(row) for row in exclude]


_LOWEST = np.finfo(np.float32).min
_BROKEN = "A score is NaN: the model is broken, its list would be arbitrary."
