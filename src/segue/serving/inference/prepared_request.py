"""Preparation of a request for scoring: item indices, the history, and the items to exclude."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import NO_TIME
from segue.models.retrieval.retriever import RetrievalQuery
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import HistoryKey, RecommendRequest, SimilarRequest
from segue.serving.sessions.event_context import NO_CONTEXT
from segue.serving.sessions.request_key import history_key
from segue.serving.sessions.session_cache import SessionCache, SessionView
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
    if isinstance(request, SimilarRequest):
        index = model.catalog.to_indices([request.item_id]).tolist()
        if index == [PAD]:
            raise Problem(404, f"The catalog does not know the item '{request.item_id}'.")
        rules = None if model.pipeline_service is None else RecommendRequest(k=request.k)
        return PreparedRequest(None, index, RetrievalQuery(index, index), request.k, [], rules, explores=False)
    unknown: dict[str, None] = {}
    key, now_us = history_key(request), time.time_ns() // 1000
    history: SessionView | list[int]
    if key is not None:
        history = sessions.view(key, cached_only=cached_only)
        items, times, contexts = history.items, history.times, history.contexts
    else:
        history = items = known_indices(model.catalog, request.history or (), unknown)
        times, contexts = [NO_TIME] * len(items), None
    if request.event is not None:
        event_items = known_indices(model.catalog, [request.event.item_id], unknown)
        if key is None:
            time_us, reader = event_time_us(request.event, now_us), model.event_contexts
            if reader is not None:
                contexts = [NO_CONTEXT] * len(items)
                contexts += [reader.from_request(request.event, time_us)] * len(event_items)
            history = items = items + event_items
            times = times + [time_us] * len(event_items)
    exclude = known_indices(model.catalog, request.exclude, unknown)
    allow = None if request.allow is None else known_indices(model.catalog, request.allow, unknown)
    is_pipeline = model.pipeline_service is not None
    if not is_pipeline:
        if request.filter or request.explain:
            raise Problem(422, "Filters and explanations need a pipeline; this is a single model.")
        if model.exclude_seen if request.exclude_seen is None else request.exclude_seen:
            exclude = exclude + items
    query = RetrievalQuery(items, exclude, allow, times, now_us, contexts)
    return PreparedRequest(key, history, query, request.k, list(unknown), request if is_pipeline else None)


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
