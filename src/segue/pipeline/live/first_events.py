"""First events of items that joined a served pipeline: what the users had chosen before, for each newest event.

Shape letters: P pairs of a new item and an item before its events.
"""

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

MAX_EVENTS = 30
"""Number of newest events of an item whose histories are kept."""
MAX_HISTORY = 20
"""Number of newest events of a history that are read."""
DECAY = 0.95
"""Factor on an event's weight per event after it in a history."""


def history_weights(history: Sequence[int]) -> dict[int, float]:
    """Return the weight of each item of a history, DECAY ** age summed over its events; the weights sum to 1.

    Args:
        history: item indices, oldest first.
    """
    weights: dict[int, float] = {}
    for age, item in enumerate(reversed(history[-MAX_HISTORY:])):
        weights[item] = weights.get(item, 0.0) + DECAY**age
    total = sum(weights.values())
    return {item: weight / total for item, weight in weights.items()}


@dataclass(frozen=True)
class EventPairs:
    """Shares of the items before the events of new items, sorted by the item before."""

    before_P: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Item index of the history."""
    item_P: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Item index of the new item."""
    share_P: np.ndarray = field(default_factory=lambda: np.empty(0))
    """Mean weight of ``before_P`` in the histories before the events of ``item_P``."""

    def of(self, before: int) -> slice:
        """Return the pairs of one item of a history."""
        low, high = np.searchsorted(self.before_P, [before, before + 1])
        return slice(int(low), int(high))


class FirstEvents:
    """Counts of the events of new items, and the histories before the newest ones. For one thread at a time."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        """Item index -> number of events."""
        self._histories: dict[int, deque[tuple[Hashable, dict[int, float]]]] = {}
        self._shares: dict[int, dict[int, float]] = {}
        """Item index -> mean weight of each item before its kept events; absent after a change."""

    def add(self, item: int, key: Hashable, history: Sequence[int]) -> None:
        """Add an event of a new item.

        Args:
            item: index of the new item.
            key: user or session of the event.
            history: item indices of the user's known events before it, oldest first.
        """
        self.counts[item] += 1
        self._shares.pop(item, None)
        self._histories.setdefault(item, deque(maxlen=MAX_EVENTS)).append((key, history_weights(history)))

    def forget(self, key: Hashable) -> bool:
        """Remove the kept events of a user or session; return whether there were any."""
        removed = 0
        for item, events in self._histories.items():
            kept = [event for event in events if event[0] != key]
            if len(kept) < len(events):
                self.counts[item] -= len(events) - len(kept)
                removed += len(events) - len(kept)
                self._histories[item] = deque(kept, maxlen=MAX_EVENTS)
                self._shares.pop(item, None)
        return removed > 0

    def num_histories(self, item: int) -> int:
        """Return the number of kept events of an item that have a history."""
        return sum(bool(history) for _, history in self._histories.get(item, ()))

    def pairs(self) -> EventPairs:
        """Return the shares of the items before the events of each new item."""
        if not self._histories:
            return EventPairs()
        shares = [self._shares_of(item) for item in self._histories]
        item_P = np.repeat(np.array(list(self._histories), dtype=np.int64), [len(part) for part in shares])
        before_P = np.array([before for part in shares for before in part], dtype=np.int64)
        share_P = np.array([share for part in shares for share in part.values()], dtype=np.float64)
        order = np.argsort(before_P, kind="stable")
        return EventPairs(before_P[order], item_P[order], share_P[order])

    def _shares_of(self, item: int) -> dict[int, float]:
        if item not in self._shares:
            histories = [history for _, history in self._histories[item] if history]
            shares: dict[int, float] = {}
            for history in histories:
                for before, weight in history.items():
                    shares[before] = shares.get(before, 0.0) + weight / len(histories)
            self._shares[item] = shares
        return self._shares[item]
