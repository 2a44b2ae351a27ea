"""What can be answered without scoring: a person's last list, or what is popular."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.data.catalog import PAD
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.serving.schemas.requests import HistoryKey

_KEYS = 10_000
_POPULAR = 1_000


@dataclass(frozen=True)
class FallbackList:
    """A list, and where it is from."""

    source: Literal["last", "popular"]
    items_K: np.ndarray
    scores_K: np.ndarray


class FallbackLists:
    """The newest list of each of the people who asked last, and the one for somebody unknown. From any thread."""

    def __init__(self, retrieval: Retriever, keys: int = _KEYS) -> None:
        """Scores once. ValueError as ``top_k``."""
        k = min(_POPULAR, retrieval.scorer.size)
        items_BK, scores_BK = retrieval.top_k([RetrievalQuery(())], k)
        self._popular = FallbackList("popular", items_BK[0], scores_BK[0])
        self._keys = keys
        self._lists: OrderedDict[HistoryKey, FallbackList] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: HistoryKey, items_K: np.ndarray, scores_K: np.ndarray) -> None:
        """Remembers a list; the oldest one makes room."""
        with self._lock:
            self._lists[key] = FallbackList("last", items_K.copy(), scores_K.copy())
            self._lists.move_to_end(key)
            if len(self._lists) > self._keys:
                self._lists.popitem(last=False)

    def forget(self, key: HistoryKey) -> None:
        """Drops a person's list."""
        with self._lock:
            self._lists.pop(key, None)

    def find(self, key: HistoryKey | None, k: int, exclude: Sequence[int], allow: Sequence[int] | None) -> FallbackList:
        """At most k items of the person's last list that may still be shown, or of the popular ones where that leaves
        none."""
        with self._lock:
            last = None if key is None else self._lists.get(key)
        found = None if last is None else _kept(last, k, exclude, allow)
        return found if found is not None and len(found.items_K) else _kept(self._popular, k, exclude, allow)


def _kept(found: FallbackList, k: int, exclude: Sequence[int], allow: Sequence[int] | None) -> FallbackList:
    keep = (found.items_K != PAD) & ~np.isin(found.items_K, np.asarray(exclude, dtype=np.int32))
    if allow is not None:
        keep &= np.isin(found.items_K, np.asarray(allow, dtype=np.int32))
    return FallbackList(found.source, found.items_K[keep][:k], found.scores_K[keep][:k])
