"""Bounded queue of recommended lists and events that wait to be written to the attribution file."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from segue.serving.experiments.shown_lists import encode_items
from segue.serving.schemas.requests import HistoryKey, RecommendResponse
from segue.serving.store.event import Event


class QueuedList(NamedTuple):
    """A recommended list that waits to be written."""

    columns: tuple[str, int, str, str, float, str | None]
    """List id, time in UTC microseconds, version, variant, propensity and placement."""
    key: HistoryKey | None
    experiment: str | None
    items: str
    """Items with their sources, as JSON: a fraction of the memory of the response."""
    conditions: str | None = None
    """Conditions of the request, as JSON; None for a list without draws."""

    @classmethod
    def of(
        cls,
        response: RecommendResponse,
        placement: str | None,
        key: HistoryKey | None,
        experiment: str | None,
        time_us: int | None = None,
        conditions: str | None = None,
    ) -> "QueuedList":
        """Return the queued form of a response. See ``RecommendationLog.record_impression``."""
        time_us = time.time_ns() // 1000 if time_us is None else time_us
        version, variant, propensity = response.model_version, response.variant, response.propensity
        columns = (response.recommendation_id, time_us, version, variant, propensity, placement)
        return cls(columns, key, experiment, encode_items(response), conditions)

    def row(self, user: str | None) -> tuple[str | int | float | None, ...]:
        """Return the row of the list for a user's digest."""
        return (*self.columns, user, self.experiment, self.items, self.conditions)


class AttributionQueue:
    """Lists and events in the order of their arrival. Safe to use from several threads."""

    def __init__(self, max_size: int) -> None:
        """Make an empty queue of at most ``max_size`` entries."""
        self._max_size = max_size
        self._entries: deque[QueuedList | Event] = deque()
        self.dropped = 0
        """Entries that were not queued, because the queue was full, or that were lost afterwards."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: QueuedList | Event) -> None:
        """Append an entry, or drop and count it where the queue is full."""
        if len(self._entries) < self._max_size:
            self._entries.append(entry)
        else:
            self.dropped += 1

    def take(self, max_entries: int) -> list[QueuedList | Event]:
        """Remove and return the oldest entries; for one thread at a time."""
        return [self._entries.popleft() for _ in range(min(max_entries, len(self._entries)))]

    def count_lists(self, groups: Sequence[Sequence[str]], digest: Callable[[str, str], str]) -> list[int]:
        """Return the number of queued lists of each group of users.

        Args:
            groups: digests of users and sessions.
            digest: ("user_id" or "session_id", id) -> keyed digest.
        """
        counts = [0] * len(groups)
        number_of = {user: number for number, users in enumerate(groups) for user in users}
        for entry in list(self._entries):
            if isinstance(entry, QueuedList) and entry.key is not None:
                number = number_of.get(digest(*entry.key))
                if number is not None:
                    counts[number] += 1
        return counts
