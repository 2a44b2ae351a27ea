"""Scoring of requests by one model, several at once, and lists in their place that need no scoring."""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.generation.generate import generate
from segue.models.generation.strategy import find_strategy
from segue.serving.inference.fallback_lists import MAX_LISTS, FallbackLists, FallbackSource
from segue.serving.inference.item_history_feed import ItemHistoryFeed
from segue.serving.inference.prepared_request import PreparedRequest, prepare_request
from segue.serving.inference.recent_lists import MAX_KEYS, RecentLists
from segue.serving.inference.recurrent_states import recurrent_states
from segue.serving.inference.served_model import ServedModel
from segue.serving.inference.served_pipeline import CACHED
from segue.serving.schemas.requests import (
    HistoryKey,
    NextRequest,
    Recommendation,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
)
from segue.serving.sessions.session_cache import HistoryUnreadableError, SessionCache


class RequestScorer:
    """Lists of one model. Lists are scored in one thread at a time; those without scoring in any thread."""

    def __init__(self, model: ServedModel, sessions: SessionCache) -> None:
        """Prepare the fallback lists and the states of a model.

        Args:
            model: the model.
            sessions: histories in the item indices of the model's catalog.
        """
        self._model = model
        self._sessions = sessions
        self._states = recurrent_states(model.retrieval, sessions)
        self._fallback = FallbackLists(model.retrieval, min(MAX_LISTS, sessions.max_histories))
        self._recent = RecentLists(min(MAX_KEYS, sessions.max_histories))
        if model.pipeline_service is not None and model.pipeline_service.reads_event_types:
            sessions.keep_event_types()
        self.item_history_feed = ItemHistoryFeed(model, sessions)
        """Feed of committed events to a pipeline's ranker, emptied before each batch."""

    def on_growth(self) -> None:
        """Use the larger tables of a model that got new items; no list is scored meanwhile."""
        self._states = recurrent_states(self._model.retrieval, self._sessions)
        self._fallback.grow(self._model.scorer.size)

    def forget(self, key: HistoryKey) -> None:
        """Drop the fallback list of a user or session, and the events that wait for the ranker."""
        self._fallback.forget(key)
        self._recent.forget(key)
        self.item_history_feed.forget(key)

    def respond_batch(
        self, requests: Sequence[RecommendRequest | SimilarRequest]
    ) -> list[RecommendResponse | Exception]:
        """Return the response or exception of each request of a batch; each list is the same as without the others."""
        started = time.perf_counter()
        self._fallback.begin_batch()
        self.item_history_feed.catch_up()
        prepared: list[PreparedRequest | RecommendResponse | Exception] = []
        for request in requests:
            try:
                prepared.append(prepare_request(request, self._model, self._sessions))
            except HistoryUnreadableError:
                prepared.append(_result_or_error(partial(self.respond_without_scoring, request)))
            except Exception as error:  # an error of one request must not fail the others
                prepared.append(error)
        single = [one for one in prepared if isinstance(one, PreparedRequest) and one.pipeline_request is None]
        lists = iter(self._respond_single(single, started) if single else [])
        responses: list[RecommendResponse | Exception] = []
        for one in prepared:
            if not isinstance(one, PreparedRequest):
                responses.append(one)
            elif one.pipeline_request is None:
                responses.append(next(lists))
            else:
                responses.append(_result_or_error(partial(self._respond_pipeline, one, started)))
        return responses

    def _respond_pipeline(self, prepared: PreparedRequest, started: float) -> RecommendResponse:
        """Return the list of a pipeline by the rules of the placement; Problem (422) for an invalid filter."""
        model, request = self._model, prepared.pipeline_request
        assert model.pipeline_service is not None and request is not None
        allowed_V, history = self._allowed_items(prepared, request), prepared.query.as_sequences()
        items = model.pipeline_service.recommend(request, history, allowed_V, explore=prepared.explores)
        indices = model.catalog.to_indices([item.id for item in items])
        if prepared.key is not None:
            self._fallback.keep(prepared.key, indices, np.array([item.score for item in items], dtype=np.float32))
            self._keep_recent(prepared.key, indices)
        response = _response(model, items, prepared.unknown, started, notes=prepared.notes)
        if request.explain:
            notes = model.pipeline_service.list_notes(request, history, indices.tolist(), prepared.seen)
            response.notes = [*prepared.notes, *notes]
        return response

    def _keep_recent(self, key: HistoryKey | None, indices: np.ndarray) -> None:
        service = self._model.pipeline_service
        if key is not None and service is not None and service.reads_impressions:
            self._recent.add(key, indices.tolist())

    def _allowed_items(self, prepared: PreparedRequest, request: RecommendRequest) -> np.ndarray:
        """Return the items that a request and the rules of its placement allow, bool [V]; Problem (422)."""
        service, query, allow_V = self._model.pipeline_service, prepared.query, None
        assert service is not None
        if query.allow is not None:
            allow_V = np.zeros(self._model.catalog.size, dtype=bool)
            allow_V[list(query.allow)] = True
        recent = self._recent.of(prepared.key) if service.reads_impressions else ()
        return service.allowed_items(
            request,
            query.as_sequences(),
            exclude=query.exclude,
            impressions=recent,
            allowed_V=allow_V,
            seen=prepared.seen,
        )

    def _respond_single(self, batch: Sequence[PreparedRequest], started: float) -> list[RecommendResponse | Exception]:
        """Return the lists of a single model; after an exception each request is scored alone, to fail alone."""
        try:
            return list(self._score_single(batch, started))
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [response for one in batch for response in self._respond_single([one], started)]

    def _score_single(self, batch: Sequence[PreparedRequest], started: float) -> list[RecommendResponse]:
        hidden_BD = None if self._states is None else self._states.hidden([one.history for one in batch])
        k = max(one.k for one in batch)
        items_BK, scores_BK = self._model.retrieval.top_k([one.query for one in batch], k, hidden_BD)
        responses = []
        for one, items_K, scores_K in zip(batch, items_BK, scores_BK, strict=True):
            items = self._model.to_recommendations(items_K[: one.k], scores_K[: one.k])
            if one.key is not None:
                self._fallback.keep(one.key, items_K[: one.k], scores_K[: one.k])
            responses.append(_response(self._model, items, one.unknown, started, notes=one.notes))
        return responses

    def respond_without_scoring(self, request: RecommendRequest | SimilarRequest) -> RecommendResponse:
        """Return the fallback list, with the history from memory only."""
        started = time.perf_counter()
        model = self._model
        prepared = prepare_request(request, model, self._sessions, cached_only=True)
        query, rules, service = prepared.query, prepared.pipeline_request, model.pipeline_service
        if rules is None or service is None:
            found = self._fallback.find(prepared.key, prepared.k, query.exclude, query.allow)
            items = model.to_recommendations(found.items_K, found.scores_K)
            return _response(model, items, prepared.unknown, started, found.source, prepared.notes)
        last_items, last_scores = self._fallback.last(prepared.key)
        allowed_V = self._allowed_items(prepared, rules)
        items = service.recommend_without_scoring(rules, last_items, last_scores, allowed_V)
        self._keep_recent(prepared.key, model.catalog.to_indices([item.id for item in items]))
        source: FallbackSource = "cached" if any(item.source == CACHED for item in items) else "popular"
        return _response(model, items, prepared.unknown, started, source, prepared.notes)

    def next(self, request: NextRequest) -> RecommendResponse:
        """Return a generated sequence of next items (``segue.models.generation.generate``).

        Every strategy but 'top-k' works on calibrated probabilities; the propensity of a sampled item is that of its
        draw.

        The rules of its placement hold, pins and quotas too. Too slow for the event loop.
        """
        started, model = time.perf_counter(), self._model
        try:
            prepared, allowed_V = self._prepare_next(request, cached_only=False)
        except HistoryUnreadableError:
            return self.next_without_scoring(request)
        strategy = find_strategy(request.strategy, temperature=request.temperature)
        scorer = model.scorer if strategy.name == "top-k" else model.probability_scorer or model.scorer
        rows, rng = prepared.query.as_sequences(), np.random.default_rng(request.seed)
        if model.pipeline_service is not None:  # sequences are made of the model's own items
            rows = model.pipeline_service.pipeline_history(rows)
        exclude = Sequences.from_lists([[item for item in prepared.query.exclude if item < scorer.size]])
        allowed_all_V, allowed_V = allowed_V, None if allowed_V is None else allowed_V[: scorer.size]
        if allowed_all_V is None and prepared.query.allow is not None:
            allowed_V = np.isin(np.arange(scorer.size), list(prepared.query.allow))
        rows = replace(rows, items=np.where(rows.items < scorer.size, rows.items, PAD))  # items that join meanwhile
        items, scores = generate(scorer, rows, request.steps, strategy, rng=rng, exclude=exclude, allowed_V=allowed_V)
        recommendations = model.to_recommendations(items[0], scores[0])
        if strategy.name == "sample":
            for recommendation in recommendations:
                recommendation.propensity = min(math.exp(recommendation.score), 1.0)
        if allowed_all_V is not None:
            recommendations = self._arrange(prepared, recommendations, allowed_all_V)
            self._keep_recent(prepared.key, model.catalog.to_indices([item.id for item in recommendations]))
        return _response(model, recommendations, prepared.unknown, started, notes=prepared.notes)

    def next_without_scoring(self, request: NextRequest) -> RecommendResponse:
        """Return the fallback list in place of a generated sequence."""
        return self.respond_without_scoring(_as_recommend_request(request))

    def _arrange(
        self, prepared: PreparedRequest, items: list[Recommendation], allowed_V: np.ndarray
    ) -> list[Recommendation]:
        """Return the allowed ones of given items under the pins and quotas of the placement, filled where too few."""
        service, rules = self._model.pipeline_service, prepared.pipeline_request
        assert service is not None and rules is not None
        by_id = {item.id: item for item in items}
        indices = self._model.catalog.to_indices(by_id)
        known_K = indices > PAD
        scores_K = np.array([item.score for item in by_id.values()], dtype=np.float64)
        built = service.recommend_without_scoring(rules, indices[known_K], scores_K[known_K], allowed_V)
        return [by_id.get(item.id, item) for item in built]

    def _prepare_next(self, request: NextRequest, *, cached_only: bool) -> tuple[PreparedRequest, np.ndarray | None]:
        """Return the prepared request, and the items that a pipeline allows, bool [V]; None for a single model."""
        prepared = prepare_request(_as_recommend_request(request), self._model, self._sessions, cached_only=cached_only)
        rules = prepared.pipeline_request
        return prepared, None if rules is None else self._allowed_items(prepared, rules)

    def allowed_recommendations(
        self, request: RecommendRequest | SimilarRequest | NextRequest, items: list[Recommendation]
    ) -> list[Recommendation]:
        """Return a list that another version made under the rules of this version; empty if these allow no item of it.

        Args:
            request: the request.
            items: the other version's list.
        """
        plain = _as_recommend_request(request) if isinstance(request, NextRequest) else request
        prepared = prepare_request(plain, self._model, self._sessions, cached_only=True)
        pairs = zip(items, self._model.catalog.to_indices_list([item.id for item in items]), strict=True)
        if prepared.pipeline_request is None:
            exclude, allow = set(prepared.query.exclude), prepared.query.allow
            return [item for item, i in pairs if i not in exclude and (allow is None or i in allow)]
        allowed_V = self._allowed_items(prepared, prepared.pipeline_request)
        kept = [item for item, index in pairs if allowed_V[index]]
        return self._arrange(prepared, kept, allowed_V) if kept else []


def _as_recommend_request(request: NextRequest) -> RecommendRequest:
    """Return the request for a list with the history and the rules of a request for a sequence."""
    return RecommendRequest(
        request.user_id,
        request.session_id,
        request.history,
        k=request.steps,
        exclude_seen=request.exclude_seen,
        exclude=request.exclude,
        allow=request.allow,
        placement=request.placement,
        filter=request.filter,
    )


def _result_or_error(work: Callable[[], RecommendResponse]) -> RecommendResponse | Exception:
    """Return the result of a function, or its exception: an error of one request must not fail the others."""
    try:
        return work()
    except Exception as error:
        return error


def _response(
    model: ServedModel,
    items: list[Recommendation],
    unknown: list[str],
    started: float,
    fallback: FallbackSource | None = None,
    notes: Sequence[str] = (),
) -> RecommendResponse:
    took_ms = round((time.perf_counter() - started) * 1e3, 3)
    response = RecommendResponse(os.urandom(16).hex(), model.version, items, unknown, took_ms, fallback=fallback)
    if notes:
        response.notes = list(notes)
    return response
