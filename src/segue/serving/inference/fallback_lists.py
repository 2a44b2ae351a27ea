"""Fallback lists, which need no scoring: the cached last list of a user, popular items, then any item."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.data.catalog import PAD
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.serving.schemas.requests import HistoryKey

FallbackSource = Literal["cached", "popular"]
"""Source of the first items of a fallback list."""
MAX_LISTS = 10_000
"""Last lists in memory, of one version; fewer where fewer histories are."""
_NUM_POPULAR = 1_000
_NO_LIST = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))


@dataclass(frozen=True)
class FallbackList:
    """Item indices and scores, with the source of the first ones."""

    source: FallbackSource
    items_K: np.ndarray
    scores_K: np.ndarray


class FallbackLists:
    """The last list of each recent user or session, and one list of popular items. Safe to use from several threads."""

    def __init__(self, retrieval: Retriever, max_lists: int = MAX_LISTS) -> None:
        """Score an empty history for the list of popular items.

        Args:
            retrieval: top-k retrieval of the model.
            max_lists: lists kept; the least recently stored one is evicted.

        Raises:
            ValueError: the model cannot score (see ``Retriever.top_k``).
        """
        self._size = retrieval.scorer.size
        items_BK, scores_BK = retrieval.top_k([RetrievalQuery(())], min(_NUM_POPULAR, self._size))
        self._popular_items, self._popular_scores = items_BK[0], scores_BK[0]
        self._max_lists = max_lists
        self._lists: OrderedDict[HistoryKey, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._forgotten: set[HistoryKey] = set()
        """Keys that were forgotten during this batch, whose histories were read before."""
        self._lock = threading.Lock()

    def grow(self, size: int) -> None:
        """Take items that joined the catalog. ``size``: number of items with PAD."""
        self._size = size

    def begin_batch(self) -> None:
        """Begin a batch: its histories are read after this. One batch is scored at a time."""
        with self._lock:
            self._forgotten = set()

    def keep(self, key: HistoryKey, items_K: np.ndarray, scores_K: np.ndarray) -> None:
        """Store the last list of a key.

        Args:
            key: user or session.
            items_K: item indices, best first.
            scores_K: their scores.
        """
        is_item_K = items_K != PAD
        with self._lock:
            if key in self._forgotten:
                return
            self._lists[key] = items_K[is_item_K], scores_K[is_item_K]
            self._lists.move_to_end(key)
            if len(self._lists) > self._max_lists:
                self._lists.popitem(last=False)

    def forget(self, key: HistoryKey) -> None:
        """Drop the list of a key, and keep none of the batch that is being scored."""
        with self._lock:
            self._forgotten.add(key)
            self._lists.pop(key, None)

    def last(self, key: HistoryKey | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the items and scores of a key's last list; empty without one."""
        with self._lock:
            return _NO_LIST if key is None else self._lists.get(key, _NO_LIST)

    def find(self, key: HistoryKey | None, k: int, exclude: Sequence[int], allow: Sequence[int] | None) -> FallbackList:
        """Return allowed items: those of the key's last list, then popular ones, then others in the catalog's order.

        Args:
            key: user or session; None: no last list.
            k: length of the list; it is shorter only where fewer items are allowed.
            exclude: item indices that must not be in the list.
            allow: item indices that may be in it; None: all.
        """
        last_items, last_scores = self.last(key)
        # The first k + len(exclude) + 1 others hold k that are neither excluded nor PAD.
        others = np.arange(min(self._size, k + len(exclude) + 1)) if allow is None else np.asarray(allow)
        items = np.concatenate([last_items, self._popular_items, others]).astype(np.int32)
        scores = np.concatenate([last_scores, self._popular_scores, np.zeros(len(others), dtype=np.float32)])
        is_open = (items != PAD) & ~np.isin(items, np.asarray(exclude, dtype=np.int32))
        if allow is not None:
            is_open &= np.isin(items, np.asarray(allow, dtype=np.int32))
        open_positions = np.flatnonzero(is_open)
        first_positions = np.unique(items[open_positions], return_index=True)[1]  # an item stands where it is first
        chosen = open_positions[np.sort(first_positions)[:k]]
        source: FallbackSource = "cached" if (chosen < len(last_items)).any() else "popular"
        return FallbackList(source, items[chosen], scores[chosen])
