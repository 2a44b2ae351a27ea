"""Engine of one served model: history and filters in, list of recommendations out. No HTTP in here."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from segue.models.generation.generate import generate
from segue.models.retrieval.retriever import RetrievalQuery
from segue.serving.config import EngineConfig
from segue.serving.inference.fallback_lists import FallbackLists
from segue.serving.inference.item_history_feed import ItemHistoryFeed
from segue.serving.inference.micro_batcher import DeadlineExceeded, MicroBatcher
from segue.serving.inference.prepared_request import PreparedRequest, known_indices, prepare_request
from segue.serving.inference.recurrent_states import recurrent_states
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import (
    Durability,
    EventIn,
    HistoryKey,
    NextRequest,
    Recommendation,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
)
from segue.serving.sessions.request_key import history_key
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event import validate_event
from segue.serving.store.event_store import AppendResult
from segue.serving.store.group_commit import GroupCommitWriter


class Engine:
    """Scoring of requests and storing of events for one model.

    ``respond`` runs in the event loop, everything else in one thread at a time.
    """

    def __init__(
        self,
        model: ServedModel,
        sessions: SessionCache,
        writer: GroupCommitWriter | None,
        config: EngineConfig | None = None,
    ) -> None:
        """Start the engine of a model.

        Args:
            model: the model.
            sessions: histories in the item indices of the model's catalog.
            writer: writer of the event store; None in a worker process, whose events the primary process stores.
            config: batching and durability; None: the defaults.
        """
        self._model = model
        self._sessions = sessions
        self._writer = writer
        self._config = config or EngineConfig()
        self._states = recurrent_states(model.retrieval, sessions)
        self._fallback = FallbackLists(model.retrieval)
        self.item_history_feed = ItemHistoryFeed(model, sessions)
        """Feed of committed events to a pipeline's ranker, emptied before each batch."""
        self._batcher: MicroBatcher[RecommendRequest | SimilarRequest, RecommendResponse] = MicroBatcher(
            self.respond_batch, self._config.batching
        )

    @property
    def durability(self) -> Durability:
        """Durability of events whose request has none."""
        return self._config.durability

    @property
    def version(self) -> str:
        """Version of the model."""
        return self._model.version

    @property
    def model(self) -> ServedModel:
        """Served model."""
        return self._model

    @property
    def writable(self) -> bool:
        """Return whether the last write of events succeeded."""
        return self._writer is None or self._writer.writable

    @property
    def busy(self) -> bool:
        """Return whether a new request is refused."""
        return self._batcher.busy

    def store(
        self, events: Sequence[EventIn], durability: Durability | None = None
    ) -> tuple["Future[AppendResult]", list[str]]:
        """Validate events and pass them to the writer.

        Args:
            events: events of one request.
            durability: guarantee before the future is resolved; None: the setting.

        Returns:
            The future of ``GroupCommitWriter.submit``, and the id of each event.

        Raises:
            Problem: 422 for an invalid event, 503 if the writer is overloaded.
        """
        assert self._writer is not None
        now_us = time.time_ns() // 1000
        validated = [validate_event(event, now_us) for event in events]
        force = (durability or self.durability) == "fsync"
        return self._writer.submit(validated, force=force), [event.event_id for event in validated]

    async def respond(self, request: RecommendRequest | SimilarRequest) -> RecommendResponse:
        """Return the list for a request, scored in a batch with others, or a fallback list after ``timeout_ms``.

        The event of a recommendation request must be stored already, and the request checked by ``check_request``.

        Raises:
            Problem: 404 for similar items of an unknown item, 422 for an invalid filter or placement, 503 under
                overload.
        """
        started = time.perf_counter()
        try:
            return await self._batcher.submit(request)
        except DeadlineExceeded:
            return self._respond_with_fallback(request, started)

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return the list for a request, scored at once and without others. Raises the errors of ``respond``."""
        return self._respond_alone(request)

    def next(self, request: NextRequest) -> RecommendResponse:
        """Return a generated sequence of next items (``segue.models.generation.generate``).

        Too slow for the event loop.
        """
        started = time.perf_counter()
        model, unknown = self._model, dict[str, None]()
        now_us = time.time_ns() // 1000
        key = history_key(request)
        view = self._sessions.view(key) if key else None
        history = known_indices(self._model.catalog, request.history or (), unknown) if view is None else view.items
        times, contexts = (None, None) if view is None else (view.times, view.contexts)
        exclude_seen = model.exclude_seen if request.exclude_seen is None else request.exclude_seen
        rows = RetrievalQuery(history, times=times, query_time=now_us, contexts=contexts).as_sequences()
        rng = np.random.default_rng(request.seed)
        exclude = rows if exclude_seen else None
        items, scores = generate(model.scorer, rows, request.steps, request.strategy, rng=rng, exclude=exclude)[:2]
        return _response(model, model.to_recommendations(items[0], scores[0]), list(unknown), started)

    def similar(self, request: SimilarRequest) -> RecommendResponse:
        """Return the list after a history of one item.

        Raises:
            Problem: 404 for an unknown item.
        """
        return self._respond_alone(request)

    def forget(self, key: HistoryKey) -> None:
        """Drop the history and the fallback list of a user or session from memory."""
        self._sessions.forget(key)
        self._fallback.forget(key)

    def close(self) -> None:
        """Score the waiting requests and end the scoring thread."""
        self._batcher.close()

    def _respond_alone(self, request: RecommendRequest | SimilarRequest) -> RecommendResponse:
        (response,) = self.respond_batch([request])
        if isinstance(response, Exception):
            raise response
        return response

    def respond_batch(
        self, requests: Sequence[RecommendRequest | SimilarRequest]
    ) -> list[RecommendResponse | Exception]:
        """Return the response or exception of each request of a batch; each list is the same as without the others."""
        started = time.perf_counter()
        self.item_history_feed.catch_up()
        prepared: list[PreparedRequest | Exception] = []
        for request in requests:
            try:
                prepared.append(prepare_request(request, self._model, self._sessions))
            except Exception as error:  # an error of one request must not fail the others
                prepared.append(error)
        single = [one for one in prepared if isinstance(one, PreparedRequest) and one.pipeline_request is None]
        lists = iter(self._respond_single(single, started) if single else [])
        responses: list[RecommendResponse | Exception] = []
        for one in prepared:
            if isinstance(one, Exception):
                responses.append(one)
            elif one.pipeline_request is None:
                responses.append(next(lists))
            else:
                responses.append(self._respond_pipeline(one, one.pipeline_request, started))
        return responses

    def _respond_pipeline(
        self, prepared: PreparedRequest, request: RecommendRequest, started: float
    ) -> RecommendResponse | Exception:
        """Return the list of a pipeline by the rules of the placement; Problem (422) for an invalid filter."""
        model = self._model
        assert model.pipeline_service is not None
        query, allowed_V = prepared.query, None
        if query.allow is not None:
            allowed_V = np.zeros(model.catalog.size, dtype=bool)
            allowed_V[list(query.allow)] = True
        try:
            items = model.pipeline_service.recommend(
                request, query.as_sequences(), exclude=query.exclude, allowed_V=allowed_V
            )
        except Exception as error:  # an error of one request must not fail the others
            return error
        return _response(model, items, prepared.unknown, started)

    def _respond_single(self, batch: Sequence[PreparedRequest], started: float) -> list[RecommendResponse]:
        hidden_BD = None if self._states is None else self._states.hidden([one.history for one in batch])
        k = max(one.k for one in batch)
        items_BK, scores_BK = self._model.retrieval.top_k([one.query for one in batch], k, hidden_BD)
        responses = []
        for one, items_K, scores_K in zip(batch, items_BK, scores_BK, strict=True):
            if one.key is not None:
                self._fallback.keep(one.key, items_K[: one.k], scores_K[: one.k])
            items = self._model.to_recommendations(items_K[: one.k], scores_K[: one.k])
            responses.append(_response(self._model, items, one.unknown, started))
        return responses

    def _respond_with_fallback(self, request: RecommendRequest | SimilarRequest, started: float) -> RecommendResponse:
        """Return the cached last list of the user, or popular items, without excluded items."""
        unknown: dict[str, None] = {}
        if isinstance(request, SimilarRequest):
            key, exclude, allow = None, known_indices(self._model.catalog, [request.item_id], unknown), None
        else:
            key = history_key(request)
            exclude = known_indices(self._model.catalog, request.exclude, unknown)
            if self._model.exclude_seen if request.exclude_seen is None else request.exclude_seen:
                exclude = exclude + known_indices(self._model.catalog, request.history or (), unknown)
                exclude += [] if key is None else self._sessions.cached(key)
            allow = None if request.allow is None else known_indices(self._model.catalog, request.allow, unknown)
        fallback = self._fallback.find(key, request.k, exclude, allow)
        items = self._model.to_recommendations(fallback.items_K, fallback.scores_K)
        response = _response(self._model, items, list(unknown), started)
        response.fallback = fallback.source
        return response


def _response(model: ServedModel, items: list[Recommendation], unknown: list[str], started: float) -> RecommendResponse:
    took_ms = round((time.perf_counter() - started) * 1e3, 3)
    return RecommendResponse(os.urandom(16).hex(), model.version, items, unknown, took_ms)
