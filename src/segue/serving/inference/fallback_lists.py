"""Fallback lists, which need no scoring: the cached last list of a user, or popular items."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.data.catalog import PAD
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.serving.schemas.requests import HistoryKey

_MAX_LISTS = 10_000
_NUM_POPULAR = 1_000


@dataclass(frozen=True)
class FallbackList:
    """Item indices and scores, best first, with their source."""

    source: Literal["cached", "popular"]
    items_K: np.ndarray
    scores_K: np.ndarray


class FallbackLists:
    """The last list of each recent user or session, and one list of popular items. Safe to use from several threads."""

    def __init__(self, retrieval: Retriever, max_lists: int = _MAX_LISTS) -> None:
        """Score an empty history for the list of popular items.

        Args:
            retrieval: top-k retrieval of the model.
            max_lists: lists kept; the least recently stored one is evicted.

        Raises:
            ValueError: the model cannot score (see ``Retriever.top_k``).
        """
        k = min(_NUM_POPULAR, retrieval.scorer.size)
        items_BK, scores_BK = retrieval.top_k([RetrievalQuery(())], k)
        self._popular = FallbackList("popular", items_BK[0], scores_BK[0])
        self._max_lists = max_lists
        self._lists: OrderedDict[HistoryKey, FallbackList] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: HistoryKey, items_K: np.ndarray, scores_K: np.ndarray) -> None:
        """Store the last list of a key.

        Args:
            key: user or session.
            items_K: item indices, best first.
            scores_K: their scores.
        """
        with self._lock:
            self._lists[key] = FallbackList("cached", items_K.copy(), scores_K.copy())
            self._lists.move_to_end(key)
            if len(self._lists) > self._max_lists:
                self._lists.popitem(last=False)

    def forget(self, key: HistoryKey) -> None:
        """Drop the list of a key."""
        with self._lock:
            self._lists.pop(key, None)

    def find(self, key: HistoryKey | None, k: int, exclude: Sequence[int], allow: Sequence[int] | None) -> FallbackList:
        """Return the allowed items of the key's last list, or of the popular items if none is left.

        Args:
            key: user or session; None: popular items.
            k: largest length of the list.
            exclude: item indices that must not be in the list.
            allow: item indices that may be in it; None: all.
        """
        with self._lock:
            last = None if key is None else self._lists.get(key)
        allowed = None if last is None else _allowed(last, k, exclude, allow)
        return allowed if allowed is not None and len(allowed.items_K) else _allowed(self._popular, k, exclude, allow)


def _allowed(full: FallbackList, k: int, exclude: Sequence[int], allow: Sequence[int] | None) -> FallbackList:
    keep_K = (full.items_K != PAD) & ~np.isin(full.items_K, np.asarray(exclude, dtype=np.int32))
    if allow is not None:
        keep_K &= np.isin(full.items_K, np.asarray(allow, dtype=np.int32))
    return FallbackList(full.source, full.items_K[keep_K][:k], full.scores_K[keep_K][:k])
