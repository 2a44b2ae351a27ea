"""Items that were recently recommended to each user or session, for placements that leave them out."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable

from segue.serving.schemas.requests import HistoryKey

MAX_ITEMS = 200
"""Newest recommended items of a key that count as recent."""
WINDOW_S = 1800.0
"""Age up to which a recommended item counts as recent, in seconds."""
MAX_KEYS = 50_000
"""Users and sessions in memory; fewer where fewer histories are."""


class RecentLists:
    """Items of the latest lists of each key, in this process. Safe to use from several threads."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        """Make an empty memory of at most ``max_keys`` users and sessions."""
        self._max_keys = max_keys
        self._items: OrderedDict[HistoryKey, deque[tuple[float, int]]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: HistoryKey, items: Iterable[int]) -> None:
        """Add the items of a list.

        Args:
            key: user or session of the list.
            items: item indices.
        """
        now_s = time.monotonic()
        with self._lock:
            recent = self._items.setdefault(key, deque(maxlen=MAX_ITEMS))
            recent.extend((now_s, item) for item in items)
            self._items.move_to_end(key)
            if len(self._items) > self._max_keys:
                self._items.popitem(last=False)

    def of(self, key: HistoryKey | None) -> list[int]:
        """Return the recent item indices of a key; empty without any."""
        if key is None:
            return []
        oldest_s = time.monotonic() - WINDOW_S
        with self._lock:
            return [item for time_s, item in self._items.get(key, ()) if time_s >= oldest_s]

    def forget(self, key: HistoryKey) -> None:
        """Drop the items of a key."""
        with self._lock:
            self._items.pop(key, None)
