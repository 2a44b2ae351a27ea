"""Live state of one loaded version: changes of items and rules in, placements and trend scores of its lists out.

``on_commit`` and ``forget`` only queue. Everything else runs in one thread at a time, under a lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from segue.data.catalog import PAD
from segue.models.forecasting.trend import Trend
from segue.pipeline.filters.column_updates import check_cell
from segue.pipeline.live.live_demand import LiveDemand
from segue.pipeline.placements.placement import PlacementEngine
from segue.serving.catalog.availability import is_available
from segue.serving.catalog.live_network import LiveNetwork
from segue.serving.catalog.live_pipeline import LivePipeline
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import HistoryKey
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.catalog_tables import LiveItem, PlacementRules
from segue.serving.store.event_reader import StoredEventRow

MAX_QUEUED = 50_000
"""Committed events that may wait; older ones are dropped."""
DEMAND_INTERVAL_S = 1.0
"""Shortest time between two changes of the trend scores, in seconds."""
DECAY_INTERVAL_S = 30.0
"""Time after which trend scores fall without an event, in seconds."""


class LiveModel:
    """Live state of one version. Without changes and without a trend model it costs nothing."""

    def __init__(
        self,
        model: ServedModel,
        sessions: SessionCache,
        run_alone: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> None:
        """Prepare the live state of a version.

        Args:
            model: the version.
            sessions: histories in the item indices of its catalog.
            run_alone: runs a function while no list is scored.
        """
        self.model = model
        service = model.pipeline_service
        self.pipeline = None if service is None else LivePipeline(model, service, sessions)
        """Live state of a pipeline; None for a single model."""
        self._network = LiveNetwork.of(model, sessions)
        self._run_alone = run_alone
        self._sessions = sessions
        self._items: dict[str, LiveItem] = {}
        self.failures: dict[str, str] = {}
        """Names of the errors of changes that could not be applied, by item; such an item is hidden."""
        self._rules: tuple[PlacementRules, ...] = ()
        self._demands = [LiveDemand(trend) for trend in _trends(model)]
        self._queue: deque[StoredEventRow] = deque(maxlen=MAX_QUEUED)
        self._forgotten: deque[HistoryKey] = deque()
        self._lock = threading.Lock()
        self._demand_due_s = self._demand_decay_s = 0.0
        self._has_new_demand = False

    @property
    def wants_events(self) -> bool:
        """True if committed events change lists beyond the histories: there are new items, or a trend model."""
        return bool(self._demands) or self.model.catalog.has_added

    @property
    def sessions(self) -> SessionCache:
        """Histories in the item indices of its catalog."""
        return self._sessions

    @property
    def has_item_features(self) -> bool:
        """True for a single network with item features, which give new items their embeddings."""
        return self._network is not None

    @property
    def has_trend(self) -> bool:
        """True if the version has a trend model."""
        return bool(self._demands)

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """Queue newly committed events."""
        if stored and self.wants_events:
            if self.pipeline is not None:
                self.pipeline.clock.newest_seq = stored[-1].seq
            self._queue.extend(row for row in stored if self._sessions.counts(row))

    def forget(self, key: HistoryKey) -> None:
        """Drop the events of a user or session, waiting ones included, before the next refresh."""
        if self.wants_events:
            self._forgotten.append(key)

    def apply(self, items: Iterable[LiveItem], rules: Sequence[PlacementRules]) -> None:
        """Apply changes of items, and the present rules of all changed placements.

        Args:
            items: rows that changed since the last call.
            rules: present rules of each changed placement.

        Raises:
            ValueError: a rule names a column or a setting that this version lacks; the state stays as it was.
        """
        changed = {item.item_id: item for item in items}
        with self._lock:
            if not changed and tuple(rules) == self._rules:
                return
            merged = {**self._items, **changed}
            if self.pipeline is None:
                if self._network is not None:
                    self._network.apply(merged, self._run_alone, lambda: self._hide(merged))
                self._hide(merged)
            else:
                self.pipeline.clock.newest_seq = max(self.pipeline.clock.newest_seq, _newest(changed))
                self.pipeline.replace_placements(merged, changed, rules)
            self._items, self._rules = merged, tuple(rules)
            self.failures = {item: name for item, name in self.failures.items() if item not in changed}
            self._set_titles(changed)

    def compiled(self, rules: Sequence[PlacementRules]) -> PlacementEngine | None:
        """Return the placements that rules would make; None for a single model. ValueError for a wrong rule."""
        with self._lock:
            return None if self.pipeline is None else self.pipeline.compiled(rules)

    def restore_events(self, rows: Sequence[StoredEventRow], counts: Mapping[str, int]) -> None:
        """Restore the events of new items from the event store, after a start.

        Args:
            rows: newest events of new items, oldest first.
            counts: item id -> number of its events since it was put.
        """
        if self.pipeline is None:
            return
        with self._lock:
            self.pipeline.clock.newest_seq = max(self.pipeline.clock.newest_seq, self._sessions.newest_seq())
            for row in rows:
                self._add_event(row)
            for count, index in zip(counts.values(), self.model.catalog.to_indices_list(counts), strict=True):
                self.pipeline.events.counts[index] = max(count, self.pipeline.events.counts[index])
            self.pipeline.refresh_new_items(self._items)

    def restore_demand(self, rows: Sequence[StoredEventRow]) -> None:
        """Restore the demand of the last minutes from the event store, after a start; ``rows`` oldest first."""
        with self._lock:
            for row in rows:
                self._add_demand(row, self.model.catalog.to_indices_list([row.event.item_id])[0])

    def refresh(self) -> None:
        """Feed the queued events, and refresh the new items and the trend scores after them."""
        with self._lock:
            has_changed = self._forget_keys()
            for _ in range(len(self._queue)):
                has_changed |= self._add_event(self._queue.popleft())
            if self.pipeline is not None and self.pipeline.install_content():
                self.pipeline.replace_placements(self._items, {}, self._rules)
            elif has_changed and self.pipeline is not None:
                self.pipeline.refresh_new_items(self._items)
            now_s = time.monotonic()
            if now_s >= (self._demand_due_s if self._has_new_demand else self._demand_decay_s):
                self._demand_due_s, self._demand_decay_s = now_s + DEMAND_INTERVAL_S, now_s + DECAY_INTERVAL_S
                self._has_new_demand = False
                self._refresh_demand()

    def check_cell(self, name: str, value: Any) -> None:
        """Check that a column of the items can hold a value. ValueError for another type.

        Args:
            name: name of a column of this version's items.
            value: plain value of a request.
        """
        if self.pipeline is not None:
            check_cell(self.pipeline.service.placements.item_data.columns, name, value)
        elif self._network is not None:
            self._network.check_cell(name, value)

    def finish(self) -> None:
        """Wait until new items of a large catalog have neighbors by content, and apply all events."""
        if self.pipeline is not None:
            self.pipeline.wait_for_content()
        self.refresh()

    @property
    def changed_items(self) -> list[str]:
        """Ids of the changed items, deleted ones included."""
        return list(self._items)

    def hides(self, item_id: str) -> bool:
        """Return whether a change keeps an item out of every list: it is deleted or not available."""
        change = self._items.get(item_id)
        return change is not None and not is_available(change, single_model=self.pipeline is None)

    @property
    def rules(self) -> tuple[PlacementRules, ...]:
        """Applied rules of each changed placement."""
        return self._rules

    def item(self, item_id: str) -> LiveItem | None:
        """Return the change of an item; None for an unchanged one."""
        return self._items.get(item_id)

    def num_new_items(self) -> int:
        """Return the number of changed items that the model's own catalog does not hold, deleted ones included."""
        base = self.model.catalog.base
        return sum(item not in base for item in self._items)

    def row(self, item_id: str) -> dict[str, Any]:
        """Return the present values of an item by column."""
        if self.pipeline is not None:
            row = self.pipeline.row(item_id)
        else:
            row = {"title": self.model.titles[item_id]} if item_id in self.model.titles else {}
        live = self._items.get(item_id)
        cells = {} if live is None else live.cells
        return {name: cell for name, cell in {**row, **cells}.items() if cell is not None}

    def _forget_keys(self) -> bool:
        """Drop the events of forgotten keys; return whether an event of a new item was among them."""
        has_changed = False
        while self._forgotten:
            key = self._forgotten.popleft()
            for demand in self._demands:
                demand.forget(key)
            if self.pipeline is not None:
                has_changed |= self.pipeline.events.forget(key)
            for _ in range(len(self._queue)):  # a thread may append meanwhile
                row = self._queue.popleft()
                if _key(row) != key:
                    self._queue.append(row)
            self._has_new_demand = True
        return has_changed

    def _add_event(self, row: StoredEventRow) -> bool:
        """Count an event; return whether it is one of a new item."""
        (index,) = self.model.catalog.to_indices_list([row.event.item_id])
        self._add_demand(row, index)
        return self.pipeline is not None and self.pipeline.add_event(row, index, _key(row))

    def _add_demand(self, row: StoredEventRow, index: int) -> None:
        for demand in self._demands:
            demand.add(_key(row), index, row.event.time_us)
            self._has_new_demand = True

    def _refresh_demand(self) -> None:
        if not self._demands:
            return
        for demand in self._demands:
            demand.refresh(time.time_ns() // 1000)
        if self.pipeline is not None:
            for source in self.pipeline.service.pipeline.sources:
                if isinstance(source.scorer, Trend):
                    source.refresh_static_scores()
            self.pipeline.service.placements.refresh_fallback()

    def _hide(self, items: Mapping[str, LiveItem]) -> None:
        """Hide the items of a single model that are deleted or not available."""
        gone = [item.item_id for item in items.values() if not is_available(item, single_model=True)]
        hidden = [index for index in self.model.catalog.to_indices_list(gone) if index != PAD]
        self.model.changes.hidden = hidden

    def _set_titles(self, changed: Mapping[str, LiveItem]) -> None:
        """Set the titles of changed items, and the ids of catalog pages."""
        tables = [self.model.titles, *([] if self.pipeline is None else [self.pipeline.service.titles])]
        for item in changed.values():
            column = "title" if "title" in item.cells else self.model.title_column
            title = item.cells.get(column)
            for titles in tables:
                if isinstance(title, str):
                    titles[item.item_id] = title
                elif item.replaced or column in item.cells:
                    titles.pop(item.item_id, None)
        self.model.changes.deleted = frozenset(item.item_id for item in self._items.values() if item.deleted)
        self.model.changes.sorted_ids = None


def _newest(items: Mapping[str, LiveItem]) -> int:
    return max((item.start_seq for item in items.values()), default=0)


def _key(row: StoredEventRow) -> HistoryKey:
    event = row.event
    return ("user_id", event.user_id) if event.user_id is not None else ("session_id", event.session_id or "")


def _trends(model: ServedModel) -> list[Trend]:
    """Return the trend models of a version, each once."""
    scorers = [model.scorer]
    if model.pipeline_service is not None:
        scorers = [source.scorer for source in model.pipeline_service.pipeline.sources]
    return list({id(scorer): scorer for scorer in scorers if isinstance(scorer, Trend)}.values())
