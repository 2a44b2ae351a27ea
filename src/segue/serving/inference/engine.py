"""Engine of one served model: history and filters in, list of recommendations out. No HTTP in here."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from segue.serving.config import EngineConfig
from segue.serving.inference.micro_batcher import DeadlineExceeded, MicroBatcher
from segue.serving.inference.request_scorer import RequestScorer
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.schemas.requests import (
    Durability,
    EventIn,
    HistoryKey,
    NextRequest,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
)
from segue.serving.sessions.request_key import history_key
from segue.serving.sessions.session_cache import HistoryUnreadableError, SessionCache
from segue.serving.store.event import validate_event
from segue.serving.store.event_store import AppendResult
from segue.serving.store.group_commit import GroupCommitWriter

_READ_S = 0.25
"""Longest wait for a history that a fallback list needs, in seconds."""
_MAX_ITEMS_IN_LOOP = 50_000
"""Largest catalog whose rules are applied to a fallback list in the event loop, in less than a millisecond."""


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
        self.scorer = RequestScorer(model, sessions)
        """Scorer of its requests."""
        self._batcher: MicroBatcher[RecommendRequest | SimilarRequest, RecommendResponse] = MicroBatcher(
            self.scorer.respond_batch, self._config.batching
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
        clock = self._writer.clock
        now_us, stamp_us = clock.now_us(), clock.stamp_us()
        validated = [validate_event(event, now_us, stamp_us) for event in events]
        force = (durability or self.durability) == "fsync"
        return self._writer.submit(validated, force=force), [event.event_id for event in validated]

    async def respond(self, request: RecommendRequest | SimilarRequest) -> RecommendResponse:
        """Return the list for a request, scored in a batch with others, or a fallback list after ``timeout_ms``.

        The event of a recommendation request must be stored already, and the request checked by ``check_request``.

        Raises:
            Problem: 404 for similar items of an unknown item, 422 for an invalid filter or placement, 503 under
                overload.
            Exception: the model failed.
        """
        try:
            return await self._batcher.submit(request)
        except DeadlineExceeded:
            return await self.respond_without_scoring(request, read_history=True)

    async def respond_without_scoring(
        self, request: RecommendRequest | SimilarRequest, *, read_history: bool = False
    ) -> RecommendResponse:
        """Return the fallback list for a request: the cached last list of the user, or popular items.

        It satisfies the request and the rules of its placement.

        Args:
            request: the request.
            read_history: read a history that is not in memory, so that its items can be left out. False after
                ``respond`` failed, which has read it.

        Raises:
            Problem: those of ``respond``; 503 if the history cannot be read in time.
        """
        key = None if isinstance(request, SimilarRequest) else history_key(request)
        if read_history and key is not None and key not in self._sessions:
            try:
                await asyncio.wait_for(asyncio.to_thread(self._sessions.view, key), _READ_S)
            except TimeoutError:
                raise unavailable("The history could not be read in time: try again in a moment.") from None
            except HistoryUnreadableError:
                pass  # the list may then hold items of the history
        if self._model.pipeline_service is None or self._model.catalog.size <= _MAX_ITEMS_IN_LOOP:
            return self.scorer.respond_without_scoring(request)
        return await asyncio.to_thread(self.scorer.respond_without_scoring, request)

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return the list for a request, scored at once and without others. Raises the errors of ``respond``."""
        return self._respond_alone(request)

    def next(self, request: NextRequest) -> RecommendResponse:
        """Return a generated sequence of next items. See ``RequestScorer.next``. Too slow for the event loop."""
        return self.scorer.next(request)

    def similar(self, request: SimilarRequest) -> RecommendResponse:
        """Return the list after a history of one item.

        Raises:
            Problem: 404 for an unknown item.
        """
        return self._respond_alone(request)

    def forget(self, key: HistoryKey) -> None:
        """Drop the history and the fallback list of a user or session from memory."""
        self._sessions.forget(key)
        self.scorer.forget(key)

    def close(self) -> None:
        """Score the waiting requests and end the scoring thread."""
        self._batcher.close()

    def _respond_alone(self, request: RecommendRequest | SimilarRequest) -> RecommendResponse:
        (response,) = self._batcher.run_alone(lambda: self.respond_batch([request]))
        if isinstance(response, Exception):
            raise response
        return response

    def grow(self, change: Callable[[], None]) -> None:
        """Give the model new items, between two batches.

        Args:
            change: function that replaces the tables of the model.
        """

        def work() -> None:
            change()
            self.scorer.on_growth()

        self._batcher.run_alone(work)

    def failure_of(self, request: RecommendRequest) -> Exception | None:
        """Evaluate a request between two batches, in the calling thread.

        Returns:
            The exception of a failing model; None for a list or a refusal.
        """
        (response,) = self._batcher.run_alone(lambda: self.respond_batch([request]))
        return response if isinstance(response, Exception) and not isinstance(response, Problem) else None

    def respond_batch(
        self, requests: Sequence[RecommendRequest | SimilarRequest]
    ) -> list[RecommendResponse | Exception]:
        """Return the response or exception of each request. See ``RequestScorer.respond_batch``."""
        return self.scorer.respond_batch(requests)
