"""Thread of one process that applies changes of the catalog to every loaded version, and feeds events to new items.

A change is read from the event store: a message between processes only reports that there is one. So no process can
miss a change, and a version that is loaded later begins with all of them.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from weakref import WeakSet

from segue.pipeline.live.first_events import MAX_EVENTS
from segue.serving.catalog.live_model import LiveModel
from segue.serving.observability.logs import log_event
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.store.catalog_tables import LiveItem, PlacementRules, read_items, read_rules
from segue.serving.store.event_reader import EventReader, StoredEventRow

_log = logging.getLogger("segue.serving")
_IDLE_S, _EVENTS_S = 1.0, 0.1
"""Interval of the checks for events: without and with a version that wants them, in seconds."""
_MAX_SHARE = 0.2
"""Largest share of the time in which the thread refreshes lists after events."""
_MAX_RESTORED = 5_000
"""Newest events of new items that are read at a start."""
_DEMAND_S, _MAX_DEMAND = 3_600, 20_000
"""Age in seconds, and number, of the events that are read for the trend scores at a start."""


class LiveUpdates:
    """Applies changes to all attached versions. Safe to use from several threads."""

    def __init__(self, store: EventReader) -> None:
        """Read the changes of an event store, and start the thread.

        Args:
            store: event store of the data directory.
        """
        self._store = store
        self._models: WeakSet[LiveModel] = WeakSet()
        self._items: dict[str, LiveItem] = {}
        self._rules: list[PlacementRules] = []
        self._revision = 0
        self._lock, self._waiting_lock = threading.Lock(), threading.Lock()
        self._waiting: list[Future[None]] = []
        self._wake = threading.Event()
        self._is_behind = False
        """Whether a change is stored that could not be applied."""
        self._is_closed = False
        self.on_applied: Callable[[], None] = lambda: None
        """Called in the thread after changes are applied here and before their callers know, to inform workers."""
        self._read()
        self._thread = threading.Thread(target=self._run, name="segue-catalog", daemon=True)
        self._thread.start()

    @property
    def rules(self) -> list[PlacementRules]:
        """Present rules of each changed placement."""
        return self._rules

    def attach(self, model: LiveModel) -> None:
        """Apply all changes to a version, and every later one.

        Args:
            model: live state of a loaded version that serves no request yet.

        Raises:
            ValueError: the version lacks a column that the live rules name.
        """
        with self._lock:
            self._read()
            try:
                model.apply(self._items.values(), self._rules)
            except ValueError as error:
                raise ValueError(
                    f"Version {model.model.version} cannot apply the live rules of this server (reset a placement with "
                    f"'segue placements', or deploy a version with its columns): {error}"
                ) from None
            except Exception:
                self._apply_items(model, list(self._items.values()), self._rules)
            self._restore(model)
            self._models.add(model)
        self._wake.set()

    def refresh(self) -> "Future[None]":
        """Read the store, and apply new changes to all versions; the future is resolved when they are applied."""
        future: Future[None] = Future()
        with self._waiting_lock:  # not the other lock: the event loop must not wait for a change that is applied
            self._waiting.append(future)
        self._wake.set()
        return future

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._wake.set()
        self._thread.join()

    def _read(self) -> list[LiveItem]:
        """Read the changes above the known revision, and return the changed items."""
        changed = read_items(self._store, self._revision)
        self._items.update({item.item_id: item for item in changed})
        self._revision = max([self._revision, *(item.revision for item in changed)])
        self._rules = read_rules(self._store)
        return changed

    def _restore(self, model: LiveModel) -> None:
        """Feed the stored events of new items, and those of the last minutes for the trend scores."""
        types = model.sessions.history_events
        if model.has_trend:
            since_us = time.time_ns() // 1000 - _DEMAND_S * 1_000_000
            model.restore_demand(self._store.events_after(since_us, 0, _MAX_DEMAND, types))
        added = model.model.catalog.added
        if not added:
            return
        start = {item: self._items[item].start_seq for item in added}
        first_seq = min(start.values())
        rows = self._store.newest_of_items(added, first_seq, _MAX_RESTORED, types)
        newest: dict[str, list[StoredEventRow]] = {}
        for row in rows:
            if row.seq > start[row.event.item_id]:
                newest.setdefault(row.event.item_id, []).append(row)
        kept = sorted((row for part in newest.values() for row in part[-MAX_EVENTS:]), key=lambda row: row.seq)
        counts = {item: len(part) for item, part in newest.items()}
        if len(rows) == _MAX_RESTORED:
            counts = self._store.count_of_items(added, first_seq, types)
        model.restore_events(kept, counts)

    def _run(self) -> None:
        while not self._is_closed:
            wants_events = any(model.wants_events for model in list(self._models))
            if self._wake.wait(_EVENTS_S if wants_events else _IDLE_S):
                self._wake.clear()
            self._attempt(self._apply)
            if wants_events:
                started_s = time.monotonic()
                for model in list(self._models):
                    self._attempt(model.refresh)
                took_s = time.monotonic() - started_s
                if took_s > _EVENTS_S:  # many new items: requests need the processor too
                    self._wake.wait(took_s * (1 / _MAX_SHARE - 1))

    def _apply(self) -> None:
        """Apply new changes for the waiting callers."""
        with self._lock:
            with self._waiting_lock:
                waiting, self._waiting = self._waiting, []
            if not waiting and not self._is_behind:
                return
            before, rules = self._revision, self._rules
            try:
                changed = self._read()
                if changed or rules != self._rules:
                    for model in list(self._models):
                        self._apply_to(model, changed)
                self._is_behind = False
            except Exception as error:
                self._revision, self._is_behind = before, True  # applied again with the next turn of the thread
                _settle(waiting, unavailable(_BEHIND))
                raise error
        self.on_applied()
        _settle(waiting)

    def _apply_to(self, model: LiveModel, changed: Sequence[LiveItem]) -> None:
        rules: Sequence[PlacementRules] = self._rules
        try:
            model.apply((), rules)
        except ValueError as error:  # a version that no longer serves, or does not yet
            message = f"A version keeps its earlier rules: {error}"
            log_event(_log, logging.ERROR, message, version=model.model.version)
            rules = model.rules
        self._apply_items(model, changed, rules)

    def _apply_items(self, model: LiveModel, items: Sequence[LiveItem], rules: Sequence[PlacementRules]) -> None:
        """Apply changes of items. One that cannot be applied hides its item, and blocks no other change."""
        try:
            model.apply(items, rules)
        except (MemoryError, OSError):
            raise  # these may pass
        except Exception as error:
            if len(items) > 1:
                half = len(items) // 2
                self._apply_items(model, items[:half], rules)
                self._apply_items(model, items[half:], rules)
                return
            for item in items:
                message = f"Change {item.revision} of an item could not be applied to a version, which hides the item."
                fields = {"version": model.model.version, "failure": type(error).__name__}
                log_event(_log, logging.ERROR, message, **fields)
                model.apply([replace(item, cells={}, deleted=True)], rules)
                model.failures[item.item_id] = type(error).__name__

    def _attempt(self, work: Callable[[], None]) -> None:
        """Run a function; the thread must outlive its errors."""
        try:
            work()
        except Exception as error:
            if not self._is_closed:
                log_event(_log, logging.ERROR, "A change of the catalog failed.", failure=type(error).__name__)
                time.sleep(_IDLE_S)


_BEHIND = "The change is stored, but the catalog cannot be read now: it is applied as soon as it can be."


def _settle(futures: Sequence["Future[None]"], problem: Problem | None = None) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_result(None) if problem is None else future.set_exception(problem)
