"""Session cache: the newest events of each user and session in memory. Evicted histories are read from the store."""

import contextlib
import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from segue.config.history_events import HistoryEvents
from segue.data.catalog import Catalog
from segue.serving.config import SessionsConfig
from segue.serving.observability.logs import log_event
from segue.serving.schemas.requests import HistoryKey
from segue.serving.sessions.cached_history import CachedHistory, SeenEvents, SessionView
from segue.serving.sessions.event_context import NO_CONTEXT, ContextValues, EventContextReader
from segue.serving.store.event_reader import EventReader, StoredEventRow

_log = logging.getLogger("segue.serving")
_OLDEST_US = -(1 << 63)
_LOG_INTERVAL_S = 60.0
"""Shortest time between two log lines about histories that cannot be read, in seconds."""


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
        history_events: HistoryEvents | None = None,
    ) -> None:
        """Make an empty cache.

        Args:
            store: event log from which histories are read.
            catalog: catalog of the model.
            config: sizes; None: the defaults.
            context_reader: reader of the model's context columns (``ServedModel.event_contexts``); None without any.
            history_events: event types that enter histories; None: all.
        """
        self._store = store
        self._context_reader = context_reader
        self._catalog = catalog
        self._config = config or SessionsConfig()
        self.history_events = history_events if history_events is not None and history_events.selects else None
        """Event types that enter histories; None: all."""
        self._histories: OrderedDict[HistoryKey, CachedHistory] = OrderedDict()
        self._lock = threading.Lock()
        self.keeps_event_types = False
        """True if histories hold the types of their events."""
        self.num_unreadable = 0
        """Number of times that a history could not be read."""
        self._next_log_s = 0.0
        self._first_seq = self.newest_seq()

    def __len__(self) -> int:
        return len(self._histories)

    @property
    def max_histories(self) -> int:
        """Return the largest number of histories in memory."""
        return self._config.max_histories

    def add(self, stored: Sequence[StoredEventRow]) -> None:
        """Add newly committed events to the histories in memory."""
        with self._lock:
            # An item that joins the catalog before the lock is taken would be unknown in a history that stays.
            items = self._catalog.to_indices(row.event.item_id for row in stored).tolist()
            for row, item in zip(stored, items, strict=True):
                context = None
                for key in (("user_id", row.event.user_id), ("session_id", row.event.session_id)):
                    history = self._histories.get(key) if key[1] is not None else None  # type: ignore[arg-type]
                    if history is None:
                        continue
                    if history.all_types is not None:
                        history.all_types.add(row, item, NO_CONTEXT, self._config.max_length)
                    if self.counts(row):
                        context = self._context(row) if context is None else context
                        history.add(row, item, context, self._config.max_length)

    def counts(self, row: StoredEventRow) -> bool:
        """Return whether an event enters histories."""
        return self.history_events is None or row.event.event in self.history_events

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
            if history.times or key in self._histories or (not cached_only and self._has_events(key)):
                self._histories[key] = history
                self._histories.move_to_end(key)
                while len(self._histories) > self._config.max_histories:
                    self._histories.popitem(last=False)
            items, times = history.items.tolist(), history.times.tolist()
            contexts = None if history.contexts is None else history.contexts.copy()
            types = None if history.types is None else history.types.copy()
            state = history.state, history.num_read, history.revision
            seen, full = None, history.all_types
            if full is not None:
                seen = SeenEvents(full.items.tolist(), list(full.types or ()))
            return SessionView(items, *state, history, times, contexts, types, seen)

    def _has_events(self, key: HistoryKey) -> bool:
        """Return whether an empty history has stored events of other types, so that it is worth keeping."""
        return self.history_events is not None and bool(self._read(lambda: self._store.newest(*key, 1)))

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
            first_seqs = {key: min(self._histories[key].seqs, default=self._first_seq + 1) for key in drawn}
            return [key for key, seq in first_seqs.items() if seq <= self._first_seq][:count]

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
            unknown = [key for key, history in self._histories.items() if history.has_unknown_items()]
            for key in unknown:
                del self._histories[key]

    def newest_seq(self) -> int:
        """Return the sequence number of the newest arrival; 0 for a log that is empty or cannot be read."""
        with contextlib.suppress(HistoryUnreadableError):
            return sum(row.seq for row in self.events_after(_OLDEST_US, 0, 1))
        return 0

    def _empty(self) -> CachedHistory:
        has_both = self.keeps_event_types and self.history_events is not None
        with_types = self.keeps_event_types and not has_both
        history = CachedHistory(with_contexts=self._context_reader is not None, with_types=with_types)
        if has_both:
            history.all_types = CachedHistory(with_contexts=False, with_types=True)
        return history

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

    def _load(self, key: HistoryKey) -> CachedHistory:
        history, limit = self._empty(), self._config.max_length
        stored = self._read(lambda: self._store.newest(*key, limit, self.history_events))
        items = self._catalog.to_indices(row.event.item_id for row in stored).tolist()
        for row, item in zip(stored, items, strict=True):
            history.add(row, item, self._context(row), limit)
        if history.all_types is not None:
            stored = self._read(lambda: self._store.newest(*key, limit))
            items = self._catalog.to_indices(row.event.item_id for row in stored).tolist()
            for row, item in zip(stored, items, strict=True):
                history.all_types.add(row, item, NO_CONTEXT, limit)
        return history

    def _context(self, row: StoredEventRow) -> ContextValues:
        return NO_CONTEXT if self._context_reader is None else self._context_reader.from_stored(row.event)
