"""Session cache: the newest events of each user and session in memory. Evicted histories are read from the store."""

import contextlib
import logging
import random
import sys
import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.serving.config import SessionsConfig
from segue.serving.observability.logs import log_event
from segue.serving.schemas.requests import HistoryKey
from segue.serving.sessions.event_context import NO_CONTEXT, ContextValues, EventContextReader
from segue.serving.store.event_reader import EventReader, StoredEventRow

_log = logging.getLogger("segue.serving")
_OLDEST_US = -(1 << 63)
_LOG_INTERVAL_S = 60.0
"""Shortest time between two log lines about histories that cannot be read, in seconds."""


class _CachedHistory:
    """Newest events of one key in the order of (time, arrival), 20 bytes per event, and the model's state of them.

    ``contexts`` holds the context values of each event for a model with context columns: 8 bytes more per event.
    Equal rows are shared. ``types`` holds the event types for placements that read them, likewise.

    ``state`` covers the first ``num_read`` events. It is extended only at the end: an insertion in between, or a
    removal in front, drops it. ``revision`` is then raised, so that a state computed at the same time is not kept.
    """

    __slots__ = ("contexts", "items", "num_read", "revision", "seqs", "state", "times", "types")

    def __init__(self, *, with_contexts: bool, with_types: bool) -> None:
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

    def _drop_state(self) -> None:
        self.state, self.num_read = None, 0
        self.revision += 1


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
    source: _CachedHistory
    """Cached history that was copied."""
    times: list[int]
    """Time of each event, UTC microseconds."""
    contexts: list[ContextValues] | None
    """Context values of each event; None for a model without context columns."""
    types: list[str] | None = None
    """Type of each event; None where no placement reads it."""


class HistoryUnreadableError(RuntimeError):
    """A history that the event store cannot read, such as one in a damaged page. No fault of a model or a request."""


class SessionCache:
    """Histories as item indices of one catalog (PAD for an unknown item).

    Safe to use from several threads: the writer adds events, request threads read. An event for a key that is not in
    memory is not added: the next request reads it from the store, which already holds it.
    """

    def __init__(
        self,
        store: EventReader,
        catalog: Catalog,
        config: SessionsConfig | None = None,
        *,
        context_reader: EventContextReader | None = None,
    ) -> None:
        """Make an empty cache.

        Args:
            store: event log from which histories are read.
            catalog: catalog of the model.
            config: sizes; None: the defaults.
            context_reader: reader of the model's context columns (``ServedModel.event_contexts``); None without any.
        """
        self._store = store
        self._context_reader = context_reader
        self._catalog = catalog
        self._config = config or SessionsConfig()
        self._histories: OrderedDict[HistoryKey, _CachedHistory] = OrderedDict()
        self._lock = threading.Lock()
        self.keeps_event_types = False
        """True if histories hold the types of their events."""
        self.num_unreadable = 0
        """Number of times that a history could not be read."""
        self._next_log_s = 0.0
        self._first_seq = self.newest_seq()

    def __len__(self) -> int:
        return len(self._histories)

    def add(self, stored: Sequence[StoredEventRow]) -> None:
        """Add newly committed events to the histories in memory."""
        items = self._catalog.to_indices(row.event.item_id for row in stored).tolist()
        with self._lock:
            for row, item in zip(stored, items, strict=True):
                context = None
                for key in (("user_id", row.event.user_id), ("session_id", row.event.session_id)):
                    history = self._histories.get(key) if key[1] is not None else None  # type: ignore[arg-type]
                    if history is not None:
                        context = self._context(row) if context is None else context
                        history.add(row, item, context, self._config.max_length)

    def history(self, key: HistoryKey) -> list[int]:
        """Return the item indices of the newest events of a key, oldest first; empty for an unknown key."""
        return self.view(key).items

    def view(self, key: HistoryKey, *, cached_only: bool = False) -> SessionView:
        """Return a copy of the history of a key, read from the store if it is not in memory.

        Args:
            key: user or session.
            cached_only: never read the store; a history that is not in memory is empty.

        Raises:
            HistoryUnreadableError: the store cannot read the history.
        """
        # The store is read under the lock: an event that is committed meanwhile is either read, or added after.
        with self._lock:
            history = self._histories.get(key)
            if history is None:
                history = self._empty() if cached_only else self._load(key)
            if history.times:
                self._histories[key] = history
                self._histories.move_to_end(key)
                while len(self._histories) > self._config.max_histories:
                    self._histories.popitem(last=False)
            items, times = history.items.tolist(), history.times.tolist()
            contexts = None if history.contexts is None else history.contexts.copy()
            types = None if history.types is None else history.types.copy()
            state = history.state, history.num_read, history.revision
            return SessionView(items, *state, history, times, contexts, types)

    def events_after(self, time_us: int, seq: int, limit: int) -> list[StoredEventRow]:
        """Return stored events after a time and a sequence number. See ``EventReader.events_after``.

        Raises:
            HistoryUnreadableError: the store cannot read them.
        """
        return self._read(lambda: self._store.events_after(time_us, seq, limit))

    def __contains__(self, key: HistoryKey) -> bool:
        return key in self._histories

    def sample_keys(self, count: int) -> list[HistoryKey]:
        """Return random keys in memory whose history began before this cache was made, thus before its model served.

        Args:
            count: largest number of keys.
        """
        with self._lock:
            drawn = random.sample(list(self._histories), min(4 * count, len(self._histories)))
            return [key for key in drawn if min(self._histories[key].seqs) <= self._first_seq][:count]

    def save_state(self, view: SessionView, state: np.ndarray) -> None:
        """Keep a model state of a whole history with it, unless the history has changed other than at its end.

        Args:
            view: the history that the state was computed from.
            state: model state after the last event of ``view``.
        """
        with self._lock:
            if view.source.revision == view.revision:
                view.source.state, view.source.num_read = state, len(view.items)

    def forget(self, key: HistoryKey) -> None:
        """Drop a key from memory; the next request reads it from the store."""
        with self._lock:
            self._histories.pop(key, None)

    def keep_event_types(self) -> None:
        """Give histories the types of their events from now on; those in memory are read again."""
        with self._lock:
            if not self.keeps_event_types:
                self.keeps_event_types = True
                self._histories.clear()

    def forget_unknown_items(self) -> None:
        """Drop the histories with an item that was unknown, after new items have joined the catalog."""
        with self._lock:
            for key in [key for key, history in self._histories.items() if PAD in history.items]:
                del self._histories[key]

    def newest_seq(self) -> int:
        """Return the sequence number of the newest arrival; 0 for a log that is empty or cannot be read."""
        with contextlib.suppress(HistoryUnreadableError):
            return sum(row.seq for row in self.events_after(_OLDEST_US, 0, 1))
        return 0

    def _empty(self) -> _CachedHistory:
        return _CachedHistory(with_contexts=self._context_reader is not None, with_types=self.keeps_event_types)

    def _read(self, read: Callable[[], list[StoredEventRow]]) -> list[StoredEventRow]:
        """Return the rows that the store reads; damage raises various errors, such as text that is not UTF-8."""
        try:
            return read()
        except Exception as error:
            self.num_unreadable += 1
            if time.monotonic() >= self._next_log_s:
                self._next_log_s = time.monotonic() + _LOG_INTERVAL_S
                log_event(_log, logging.ERROR, "A history cannot be read.", failure=type(error).__name__)
            raise HistoryUnreadableError(f"The event store failed with {type(error).__name__}.") from error

    def _load(self, key: HistoryKey) -> _CachedHistory:
        history = self._empty()
        stored = self._read(lambda: self._store.newest(*key, self._config.max_length))
        items = self._catalog.to_indices(row.event.item_id for row in stored).tolist()
        for row, item in zip(stored, items, strict=True):
            history.add(row, item, self._context(row), self._config.max_length)
        return history

    def _context(self, row: StoredEventRow) -> ContextValues:
        return NO_CONTEXT if self._context_reader is None else self._context_reader.from_stored(row.event)
