"""Requests of recorded lists, made again: the history, the placement's rules and the logged items with propensities."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segue.data.catalog import Catalog
from segue.data.sequences import NO_TIME
from segue.models.retrieval.retriever import RetrievalQuery
from segue.pipeline.placements.placement import DEFAULT_PLACEMENT, PlacementRequest
from segue.serving.config import SessionsConfig
from segue.serving.experiments.shown_lists import Conditions, ShownList, read_shown_lists
from segue.serving.inference.recent_lists import MAX_ITEMS, WINDOW_S
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_reader import EventReader, StoredEventRow
from segue.workflows.recommendation_logs.export_shown import attribution_file, user_keys

_ALL = 1 << 40
"""Number of events that no user has."""
_RECENT_US = round(WINDOW_S * 1e6)


@dataclass(frozen=True)
class LoggedRequest:
    """Recorded list with the inputs that made it, in the item indices of another model's catalog."""

    shown: ShownList
    items: np.ndarray
    """int32: logged items; PAD for one that the catalog lacks."""
    query: RetrievalQuery
    """History before the request, with times and contexts."""
    request: PlacementRequest
    k: int
    """Requested length of the list."""


def logged_requests(
    data_dir: Path,
    model: ServedModel,
    skipped: Counter[str],
    *,
    since_us: int = 0,
    until_us: int | None = None,
    placement: str | None = None,
) -> Iterator[LoggedRequest]:
    """Yield the recorded lists with propensities, oldest first, each with the inputs of its request.

    The history of a user is that of the events up to the time of the request, of the types that the model's training
    log kept. An event that arrived later with an earlier timestamp is in it, although the server did not have it then.
    The items of the user's recorded lists of the half hour before are the recently recommended ones.

    Args:
        data_dir: data directory of a server.
        model: the model whose catalog indexes the items.
        skipped: receives the number of the other lists, by reason.
        since_us: only lists from this time on, UTC microseconds.
        until_us: only lists before this time, UTC microseconds; None: also the newest.
        placement: only lists of this placement; None: all.

    Raises:
        ValueError: the data directory cannot be read.
    """
    keys, path = user_keys(data_dir), attribution_file(data_dir)
    reader = EventReader(Path(data_dir) / "events.sqlite")
    events: dict[HistoryKey, list[StoredEventRow]] = {}
    recent = _RecentItems()
    try:
        for lists in read_shown_lists(path, since_us - _RECENT_US):
            for shown in lists:
                impressions = recent.of_request(shown)
                if shown.time_us < since_us or (until_us is not None and shown.time_us >= until_us):
                    continue
                if placement is not None and (shown.placement or DEFAULT_PLACEMENT) != placement:
                    continue
                if not shown.has_propensities or shown.conditions is None:
                    skipped["without propensities"] += 1
                    continue
                if not shown.conditions.is_complete:
                    skipped["of requests with too many ids"] += 1
                    continue
                # A user without a stored event had an empty history.
                key = keys.get(shown.user or "")
                if key is not None and key not in events:
                    events[key] = reader.newest(*key, _ALL)
                stored = events[key] if key is not None else []
                yield _logged_request(shown, shown.conditions, stored, model, impressions)
    finally:
        reader.close()


class _RecentItems:
    """Items of the earlier recorded lists of each user, as ``RecentLists`` of a server holds them."""

    def __init__(self) -> None:
        self._items: dict[str, deque[tuple[int, str]]] = defaultdict(lambda: deque(maxlen=MAX_ITEMS))

    def of_request(self, shown: ShownList) -> list[str]:
        """Return the recently recommended items before a list, and add those of the list."""
        if shown.user is None:
            return []
        items, oldest_us = self._items[shown.user], shown.time_us - _RECENT_US
        before = [item for time_us, item in items if time_us >= oldest_us]
        items.extend((shown.time_us, item.id) for item in shown.items)
        return before


def _logged_request(
    shown: ShownList,
    conditions: Conditions,
    stored: list[StoredEventRow],
    model: ServedModel,
    impressions: Sequence[str],
) -> LoggedRequest:
    catalog, reader = model.catalog, model.event_contexts
    request = _placement_request(shown, conditions, catalog)
    request = replace(request, impressions=[item for item in catalog.to_indices_list(impressions) if item])
    if conditions.history is not None:
        items = [item for item in catalog.to_indices_list(conditions.history) if item]
        query = RetrievalQuery(items, times=[NO_TIME] * len(items), query_time=shown.time_us)
    else:
        sessions, earlier = SessionsConfig(), [row for row in stored if row.event.time_us <= shown.time_us]
        events = sessions.events_of(model.history_events)
        known = [row for row in earlier if events is None or row.event.event in events][-sessions.max_length :]
        query = RetrievalQuery(
            catalog.to_indices_list(row.event.item_id for row in known),
            times=[row.event.time_us for row in known],
            query_time=shown.time_us,
            contexts=None if reader is None else [reader.from_stored(row.event) for row in known],
        )
        seen = earlier[-sessions.max_length :]
        items, types = catalog.to_indices_list(row.event.item_id for row in seen), [row.event.event for row in seen]
        request = replace(request, seen=RetrievalQuery(items, event_types=types).as_sequences())
    items_K = catalog.to_indices(item.id for item in shown.items)
    return LoggedRequest(shown, items_K, query, request, max(conditions.k, len(items_K)))


def _placement_request(shown: ShownList, conditions: Conditions, catalog: Catalog) -> PlacementRequest:
    allowed_V = None
    if conditions.allow is not None:
        allowed_V = np.zeros(catalog.size, dtype=bool)
        allowed_V[catalog.to_indices(conditions.allow)] = True
    return PlacementRequest(
        shown.placement or DEFAULT_PLACEMENT,
        exclude=[item for item in catalog.to_indices_list(conditions.exclude) if item],
        exclude_seen=conditions.exclude_seen,
        filter=conditions.filter,
        allowed_V=allowed_V,
    )
