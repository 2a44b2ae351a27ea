"""Live state of a served pipeline: changed columns, hidden items, new items with their first events, live rules.

Shape letters: V catalog size of the pipeline with PAD, N new items, K neighbors.
"""

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.catalog import PAD
from segue.pipeline.config import PlacementConfig
from segue.pipeline.filters.column_updates import row_of, update_columns
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.live.content_index import NUM_NEIGHBORS, ContentIndex
from segue.pipeline.live.first_events import FirstEvents
from segue.pipeline.live.live_placements import LivePlacementEngine
from segue.pipeline.live.new_items import EventClock, NewItems
from segue.pipeline.placements.placement import PlacementEngine
from segue.serving.catalog.availability import is_available
from segue.serving.inference.served_model import ServedModel
from segue.serving.inference.served_pipeline import PipelineService
from segue.serving.schemas.requests import HistoryKey
from segue.serving.sessions.session_cache import HistoryUnreadableError, SessionCache
from segue.serving.store.catalog_tables import LiveItem, PlacementRules
from segue.serving.store.event_reader import StoredEventRow

MAX_ITEMS_AT_ONCE = 20_000
"""Largest catalog whose content index is built before the first new item is acknowledged, in half a second."""


class LivePipeline:
    """Changes of one pipeline while it is served. For one thread at a time."""

    def __init__(self, model: ServedModel, service: PipelineService, sessions: SessionCache) -> None:
        """Begin with the pipeline's own items and rules.

        Args:
            model: the version.
            service: its lists.
            sessions: histories in the item indices of its catalog.
        """
        self.catalog = model.catalog
        self.service = service
        self.events = FirstEvents()
        """Events of the new items."""
        self.clock = EventClock()
        self._sessions = sessions
        self._base = service.placements
        self._content: ContentIndex | None = None
        self._building: Future[ContentIndex] | None = None
        self._neighbors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        counts_V = service.pipeline.item_statistics.counts_V.astype(np.float64)
        self._shares_V = (counts_V + 1.0) / (counts_V.sum() + len(counts_V))

    def replace_placements(
        self, items: Mapping[str, LiveItem], changed: Mapping[str, LiveItem], rules: Sequence[PlacementRules]
    ) -> None:
        """Answer with placements over changed items; new ones join behind the others.

        Args:
            items: every changed item by id.
            changed: those that changed since the last call.
            rules: present rules of each changed placement.

        Raises:
            ValueError: a rule with an unknown column or a wrong filter.
        """
        joining = [item.item_id for item in changed.values() if item.item_id not in self.catalog and not item.deleted]
        catalog = self.catalog.grown(joining) if joining else self.catalog
        present = self.service.placements.item_data.columns
        rows = {}
        for item, index in zip(changed.values(), catalog.to_indices_list(changed), strict=True):
            self._neighbors.pop(item.item_id, None)
            if index != PAD:
                old, new = row_of(present, index) if index < present.size else {}, self._row(item, index)
                rows[index] = {name: new.get(name) for name in {**old, **new} if new.get(name) != old.get(name)}
        hidden = [item.item_id for item in items.values() if not is_available(item, single_model=False)]
        added = [items[item] for item in catalog.added]
        data, first = self._base.item_data, self._base.item_data.columns.size
        counts_N = [self.events.counts[first + row] for row in range(len(added))]
        engine = LivePlacementEngine(
            self.service.pipeline,
            ItemData(
                catalog,
                update_columns(present, rows, joining),
                np.concatenate([data.counts_V, np.array(counts_N, dtype=data.counts_V.dtype)]),
                np.concatenate([data.first_us_V, np.array([item.start_us for item in added], dtype=np.int64)]),
            ),
            placement_settings(self._base, rules),
            self._new_items(added),
            [index for index in catalog.to_indices_list(hidden) if index != PAD],
        )
        self.service.replace_placements(engine)
        if joining:
            self.catalog.adopt(catalog)
            self._sessions.forget_unknown_items()

    def refresh_new_items(self, items: Mapping[str, LiveItem]) -> None:
        """Use the newest events of the new items. ``items``: every changed item by id."""
        engine = self.service.placements
        if isinstance(engine, LivePlacementEngine):
            new_items = self._new_items([items[item] for item in self.catalog.added])
            self.service.replace_placements(engine.with_new_items(new_items))

    def compiled(self, rules: Sequence[PlacementRules]) -> PlacementEngine:
        """Return the placements that rules would make; ValueError for a wrong rule or an unknown column."""
        engine = self.service.placements
        settings = placement_settings(self._base, rules)
        data = engine.item_data
        return PlacementEngine(engine.pipeline, data.catalog, {}, placements=settings, item_data=data)

    def add_event(self, row: StoredEventRow, index: int, key: HistoryKey) -> bool:
        """Count an event; return whether it is one of a new item.

        Args:
            row: the event.
            index: index of its item.
            key: its user or session.
        """
        if index < self._base.item_data.columns.size:
            return False
        try:
            view = self._sessions.view(key)
        except HistoryUnreadableError:
            return False
        earlier = bisect_left(view.times, row.event.time_us)
        self.events.add(index, key, [item for item in view.items[:earlier] if item != PAD])
        return True

    def row(self, item_id: str) -> dict[str, Any]:
        """Return the present values of an item by column; none for an unknown item."""
        (index,) = self.catalog.to_indices_list([item_id])
        return {} if index == PAD else row_of(self.service.placements.item_data.columns, index)

    def _row(self, item: LiveItem, index: int) -> dict[str, Any]:
        """Return the changed row of an item: its own cells, over the model's where only some are replaced."""
        own = self._base.item_data.columns
        base = row_of(own, index) if index < own.size and not item.replaced else {}
        return {**base, **item.cells}

    def _new_items(self, added: Sequence[LiveItem]) -> NewItems:
        first, neighbors_NK = len(self._shares_V), np.zeros((len(added), NUM_NEIGHBORS), dtype=np.int32)
        similarities_NK = np.zeros((len(added), NUM_NEIGHBORS))
        for row, item in enumerate(added):
            indices, similarities = self._neighbors_of(item)
            neighbors_NK[row, : len(indices)], similarities_NK[row, : len(indices)] = indices, similarities
        rows = range(first, first + len(added))
        return NewItems(
            self._shares_V,
            neighbors_NK,
            similarities_NK,
            np.array([item.start_seq for item in added], dtype=np.int64),
            np.array([self.events.counts[index] for index in rows], dtype=np.int64),
            np.array([self.events.num_histories(index) for index in rows], dtype=np.int64),
            self.events.pairs(),
            self.clock,
        )

    def install_content(self) -> bool:
        """Use the content index that was built in the background; return whether new items have neighbors by it now."""
        if self._building is None or not self._building.done():
            return False
        building, self._building = self._building, None
        self._content = building.result()  # a failed build is tried again for the next new item
        self._neighbors.clear()
        return True

    def wait_for_content(self) -> None:
        """Wait until the content index that is built in the background is complete."""
        if self._building is not None:
            self._building.exception()

    def _neighbors_of(self, item: LiveItem) -> tuple[np.ndarray, np.ndarray]:
        """Return the items most like a new one, none while the index of a large catalog is built."""
        if self._content is None and self._building is None:
            self._build_content()
        if self._content is None:
            return np.empty(0, dtype=np.int32), np.empty(0)
        if item.item_id not in self._neighbors:
            self._neighbors[item.item_id] = self._content.neighbors(item.cells)
        return self._neighbors[item.item_id]

    def _build_content(self) -> None:
        columns = self._base.item_data.columns
        if columns.size <= MAX_ITEMS_AT_ONCE:
            self._content = ContentIndex(columns, self._shares_V)
            return
        building: Future[ContentIndex] = Future()

        def build() -> None:
            try:
                building.set_result(ContentIndex(columns, self._shares_V))
            except Exception as error:
                building.set_exception(error)

        self._building = building
        threading.Thread(target=build, name="segue-content", daemon=True).start()


def placement_settings(base: PlacementEngine, rules: Sequence[PlacementRules]) -> list[PlacementConfig]:
    """Return the settings of all placements: those of the model, some of them replaced.

    Args:
        base: placements of the model.
        rules: present rules of each changed placement.

    Raises:
        ValueError: a setting that does not exist, or a wrong value.
    """
    settings = dict(base.settings)
    for rule in rules:
        if rule.settings is not None:
            settings[rule.name] = decode_settings(PlacementConfig, {**rule.settings, "name": rule.name})
    return list(settings.values())
