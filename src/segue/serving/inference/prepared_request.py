"""Preparation of a request for scoring: item indices, the history, and the items to exclude."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import NO_TIME, Sequences
from segue.models.retrieval.retriever import RetrievalQuery
from segue.models.top_k import default_seen_rule
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import HistoryKey, RecommendRequest, SimilarRequest
from segue.serving.sessions.cached_history import SeenEvents, SessionView
from segue.serving.sessions.event_context import NO_CONTEXT
from segue.serving.sessions.request_key import history_key
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event import event_time_us


@dataclass(slots=True)
class PreparedRequest:
    """Request with item indices and its history."""

    key: HistoryKey | None
    """Key of the stored history; None for a request that carries its history."""
    history: SessionView | list[int]
    query: RetrievalQuery
    k: int
    unknown: list[str]
    """Item ids of the request that are not in the catalog."""
    pipeline_request: RecommendRequest | None = None
    """Request to a pipeline, which applies its rules: the request itself, or one to the default placement for similar
    items. None for a single model."""
    explores: bool = True
    """True if the placement's exploration draws."""
    notes: Sequence[str] = ()
    """Sentences about rules of the request that do not hold, and about an event that does not enter the history."""
    seen: Sequences | None = None
    """Events of all types in one row, for placements that read event types; None: the history."""


def prepare_request(
    request: RecommendRequest | SimilarRequest,
    model: ServedModel,
    sessions: SessionCache,
    *,
    cached_only: bool = False,
) -> PreparedRequest:
    """Look up item indices and the history of a request. Unknown items are ignored and listed in ``unknown``.

    Args:
        request: the request; its event, if it has a user or session, is stored already.
        model: the model that scores it.
        sessions: histories in the item indices of the model's catalog.
        cached_only: take the history from memory only; it is empty if it is not there.

    Raises:
        Problem: 404 for similar items of an unknown item; 422 for a filter or explanations without a pipeline.
        HistoryUnreadableError: the event store cannot read the history.
    """
    unknown: dict[str, None] = {}
    is_pipeline = model.pipeline_service is not None
    if not is_pipeline and (request.filter or (isinstance(request, RecommendRequest) and request.explain)):
        raise Problem(422, "Filters and explanations need a pipeline; this is a single model.")
    if isinstance(request, SimilarRequest):
        return _prepare_similar(request, model)
    key, now_us = history_key(request), time.time_ns() // 1000
    history: SessionView | list[int]
    types: Sequence[str | None] | None
    seen: SeenEvents | None = None
    if key is not None:
        service = model.pipeline_service
        if service is not None and service.reads_event_types and not sessions.keeps_event_types:
            sessions.keep_event_types()
        history = sessions.view(key, cached_only=cached_only)
        items, times, contexts, types = history.items, history.times, history.contexts, history.types
        seen = history.seen
    else:
        history = items = known_indices(model.catalog, request.history or (), unknown)
        times, contexts, types = [NO_TIME] * len(items), None, None
    if request.event is not None:
        event_items = known_indices(model.catalog, [request.event.item_id], unknown)
        if key is None and not enters_histories(request.event.event, sessions):
            seen = SeenEvents([*items, *event_items], [*[None] * len(items), *[request.event.event] * len(event_items)])
        elif key is None:
            time_us, reader = event_time_us(request.event, now_us), model.event_contexts
            if reader is not None:
                contexts = [NO_CONTEXT] * len(items)
                contexts += [reader.from_request(request.event, time_us)] * len(event_items)
            types = [None] * len(items) + [request.event.event] * len(event_items)
            history = items = items + event_items
            times = times + [time_us] * len(event_items)
    exclude, allow = _listed_items(request, model, unknown)
    if not is_pipeline:
        rule = default_seen_rule(model.exclude_seen) if request.exclude_seen is None else request.exclude_seen
        exclude = exclude + model.changes.hidden + (items if rule is True else _last_known(items) if rule else [])
    query = RetrievalQuery(items, exclude, allow, times, now_us, contexts, types)
    rules = request if is_pipeline else None
    rows = None if seen is None else RetrievalQuery(seen.items, event_types=seen.types).as_sequences()
    notes = [*_notes(request, is_pipeline), *_event_notes(request, sessions)]
    return PreparedRequest(key, history, query, request.k, list(unknown), rules, notes=notes, seen=rows)


def enters_histories(event: str, sessions: SessionCache) -> bool:
    """Return whether an event of a type enters the histories of a model.

    Args:
        event: type of the event.
        sessions: histories of the model.
    """
    return sessions.history_events is None or event in sessions.history_events


def _event_notes(request: RecommendRequest, sessions: SessionCache) -> Sequence[str]:
    """Return sentences about event types that do not enter the history of a request."""
    if sessions.history_events is None:
        return ()
    notes = []
    if request.event is not None and not enters_histories(request.event.event, sessions):
        notes.append(f"The event of the request, of the type '{request.event.event}', does not enter the history.")
    return [*notes, *(sessions.history_events.sentences() if notes or request.explain else ())]


def _prepare_similar(request: SimilarRequest, model: ServedModel) -> PreparedRequest:
    """Return the request for the list after a history of one item, under the rules of a placement."""
    index = model.catalog.to_indices([request.item_id]).tolist()
    if index == [PAD]:
        raise Problem(404, f"The catalog does not know the item '{request.item_id}'.")
    unknown: dict[str, None] = {}
    exclude, allow = _listed_items(request, model, unknown)
    is_pipeline = model.pipeline_service is not None
    rules = RecommendRequest(k=request.k, placement=request.placement, filter=request.filter) if is_pipeline else None
    query = RetrievalQuery(index, [*index, *exclude, *model.changes.hidden], allow)
    notes = _notes(request, is_pipeline)
    return PreparedRequest(None, index, query, request.k, list(unknown), rules, explores=False, notes=notes)


def _listed_items(
    request: RecommendRequest | SimilarRequest, model: ServedModel, unknown: dict[str, None]
) -> tuple[list[int], list[int] | None]:
    """Return the items that a request excludes and those that it allows; None: all."""
    exclude = known_indices(model.catalog, request.exclude, unknown)
    return exclude, None if request.allow is None else known_indices(model.catalog, request.allow, unknown)


def _last_known(items: list[int]) -> list[int]:
    """Return the last item of a history that the catalog holds, if any."""
    return next(([item] for item in reversed(items) if item != PAD), [])


def _notes(request: RecommendRequest | SimilarRequest, is_pipeline: bool) -> Sequence[str]:
    if is_pipeline or request.placement is None:
        return ()
    return (f"This is a single model: the placement '{request.placement}' has no rules here.",)


def known_indices(catalog: Catalog, ids: Iterable[str], unknown: dict[str, None]) -> list[int]:
    """Return the indices of known item ids.

    Args:
        catalog: the catalog.
        ids: item ids.
        unknown: ids that are not in the catalog are added here, in their order.
    """
    ids = list(ids)
    indices = catalog.to_indices_list(ids)
    if PAD not in indices:
        return indices
    unknown.update((item, None) for item, index in zip(ids, indices, strict=True) if index == PAD)
    return [index for index in indices if index != PAD]
