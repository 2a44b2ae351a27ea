"""Cached history of one user or session, and the copies of it that requests read."""

import sys
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segue.data.catalog import PAD
from segue.serving.sessions.event_context import ContextValues
from segue.serving.store.event_reader import StoredEventRow


class CachedHistory:
    """Newest events of one key in the order of (time, arrival), 20 bytes per event, and the model's state of them.

    ``contexts`` holds the context values of each event for a model with context columns: 8 bytes more per event.
    Equal rows are shared. ``types`` holds the event types for placements that read them, likewise. Where events of
    some types do not enter the history, ``all_types`` holds those of all types with their types.

    ``state`` covers the first ``num_read`` events. It is extended only at the end: an insertion in between, or a
    removal in front, drops it. ``revision`` is then raised, so that a state computed at the same time is not kept.
    """

    __slots__ = ("all_types", "contexts", "items", "num_read", "revision", "seqs", "state", "times", "types")

    def __init__(self, *, with_contexts: bool, with_types: bool) -> None:
        self.all_types: CachedHistory | None = None
        self.times, self.seqs, self.items = array("q"), array("q"), array("i")
        self.contexts: list[ContextValues] | None = [] if with_contexts else None
        self.types: list[str] | None = [] if with_types else None
        self.state: np.ndarray | None = None
        self.num_read = 0
        self.revision = 0

    def add(self, row: StoredEventRow, item: int, context: ContextValues, max_length: int) -> None:
        """Insert an event at its position; an event that is there already, or is too old, changes nothing.

        Args:
            row: the event.
            item: item index, PAD for an unknown item.
            context: context values of the event.
            max_length: largest length of the history.
        """
        time_us, seq, position = row.event.time_us, row.seq, len(self.times)
        if position and (self.times[-1], self.seqs[-1]) >= (time_us, seq):
            position = bisect_left(range(position), (time_us, seq), key=lambda i: (self.times[i], self.seqs[i]))
            if self.seqs[position] == seq:
                return
            self._drop_state()
        self.times.insert(position, time_us)
        self.seqs.insert(position, seq)
        self.items.insert(position, item)
        if self.contexts is not None:
            self.contexts.insert(position, context)
        if self.types is not None:
            self.types.insert(position, sys.intern(row.event.event))
        if len(self.times) > max_length:
            del self.times[0], self.seqs[0], self.items[0]
            if self.contexts is not None:
                del self.contexts[0]
            if self.types is not None:
                del self.types[0]
            self._drop_state()

    def has_unknown_items(self) -> bool:
        """Return whether an event is of an unknown item."""
        return PAD in self.items or (self.all_types is not None and PAD in self.all_types.items)

    def _drop_state(self) -> None:
        self.state, self.num_read = None, 0
        self.revision += 1


class SeenEvents(NamedTuple):
    """Events of all types of a history, for rules that read their types."""

    items: list[int]
    """Item indices, oldest first; PAD for an unknown item."""
    types: list[str | None]
    """Type of each event; None where unknown."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """Copy of a history at one time, with the model's state of its first ``num_read`` events."""

    items: list[int]
    """Item indices, oldest first; PAD for an unknown item."""
    state: np.ndarray | None
    """Model state; None if none is kept."""
    num_read: int
    """Events that ``state`` covers."""
    revision: int
    """Revision of the cached history when the copy was made."""
    source: CachedHistory
    """Cached history that was copied."""
    times: list[int]
    """Time of each event, UTC microseconds."""
    contexts: list[ContextValues] | None
    """Context values of each event; None for a model without context columns."""
    types: list[str] | None = None
    """Type of each event; None where no placement reads it."""
    seen: SeenEvents | None = None
    """Events of all types, where a placement reads types and events of some do not enter the history."""
