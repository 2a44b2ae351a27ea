"""History and rules -> answer. Knows models, events and sessions; knows nothing of HTTP."""

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import NO_TIME
from segue.models.generation.generate import generate
from segue.models.retrieval.retriever import RetrievalQuery
from segue.serving.config import EngineConfig
from segue.serving.inference.fallback_lists import FallbackList, FallbackLists
from segue.serving.inference.item_history_feed import ItemHistoryFeed
from segue.serving.inference.micro_batcher import DeadlineExceeded, MicroBatcher
from segue.serving.inference.recurrent_states import recurrent_states
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
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
from segue.serving.sessions.event_context import NO_CONTEXT
from segue.serving.sessions.request_key import history_key
from segue.serving.sessions.session_cache import SessionCache, SessionView
from segue.serving.store.event import event_time_us, validate_event
from segue.serving.store.event_store import AppendResult
from segue.serving.store.group_commit import GroupCommitWriter


@dataclass(slots=True)
class _Prepared:
    """A request with its history looked up."""

    key: HistoryKey | None
    history: SessionView | list[int]
    question: RetrievalQuery
    k: int
    unknown: list[str]
    placed: RecommendRequest | None = None
    """The request itself, where a pipeline's rules are to be kept."""


class Engine:
    """Stores events and answers questions. ``ask`` from the event loop, everything else from one thread at a time."""

    def __init__(
        self,
        model: ServedModel,
        sessions: SessionCache,
        writer: GroupCommitWriter | None,
        config: "EngineConfig | None" = None,
    ) -> None:
        """Without a ``writer`` another process stores events (``segue.serving.workers.worker``)."""
        self._model = model
        self._sessions = sessions
        self._writer = writer
        self._config = config or EngineConfig()
        self._states = recurrent_states(model.retrieval, sessions)
        self._last = FallbackLists(model.retrieval)
        self.item_history_feed = ItemHistoryFeed(model, sessions)
        """Hears of every commit, and tells the model before it answers."""
        self._batcher: MicroBatcher[RecommendRequest | SimilarRequest, RecommendResponse] = MicroBatcher(
            self.respond_batch, self._config.batching
        )

    @property
    def durability(self) -> Durability:
        """What an acknowledgement is worth where a request does not say."""
        return self._config.durability

    @property
    def version(self) -> str:
        """Of the model that answers."""
        return self._model.version

    @property
    def model(self) -> ServedModel:
        """What answers."""
        return self._model

    @property
    def writable(self) -> bool:
        """Whether the last write of events went well."""
        return self._writer is None or self._writer.writable

    @property
    def busy(self) -> bool:
        """Whether whoever asks now is refused."""
        return self._batcher.busy

    def store(
        self, events: Sequence[EventIn], durability: Durability | None = None
    ) -> tuple["Future[AppendResult]", list[str]]:
        """Hands events to the writer: (what becomes of them, the id of each). Problem as ``accept`` and ``submit``."""
        assert self._writer is not None
        now_us = time.time_ns() // 1000
        events = [validate_event(one, now_us) for one in events]
        force = (durability or self.durability) == "fsync"
        return self._writer.submit(events, force=force), [event.event_id for event in events]

    async def respond(self, request: RecommendRequest | SimilarRequest) -> RecommendResponse:
        """What comes next for a request that ``check`` passed and whose event, if any, is stored; or what goes with an
        item. Answered together with whatever else is asked; where that takes too long, from what is at hand.

        Problem (404) for an unknown item, (503) where too many wait.
        """
        started = time.perf_counter()
        try:
            return await self._batcher.submit(request)
        except DeadlineExceeded:
            return self._at_hand(request, started)

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """As ``ask``, at once and alone."""
        return self._alone(request)

    def next(self, request: NextRequest) -> RecommendResponse:
        """The next items one after the other (``segue.models.generation.generate``); too slow for the event loop."""
        started = time.perf_counter()
        model, unknown = self._model, dict[str, None]()
        now_us = time.time_ns() // 1000
        key = history_key(request)
        live = self._sessions.view(key) if key else None
        history = self._index(request.history or (), unknown) if live is None else live.items
        times, told = (None, None) if live is None else (live.times, live.contexts)
        seen = model.exclude_seen if request.exclude_seen is None else request.exclude_seen
        rows = RetrievalQuery(history, times=times, query_time=now_us, contexts=told).rows()
        rng = np.random.default_rng(request.seed)
        found = generate(model.scorer, rows, request.steps, request.strategy, rng=rng, exclude=rows if seen else None)
        return _answer(model, model.to_recommendations(found[0][0], found[1][0]), list(unknown), started)

    def similar(self, request: SimilarRequest) -> RecommendResponse:
        """What goes with one item: what comes next for somebody who has seen only it. Problem (404) where it is
        unknown."""
        return self._alone(request)

    def forget(self, key: HistoryKey) -> None:
        """Drops what is in memory of a person or a session."""
        self._sessions.forget(key)
        self._last.forget(key)

    def close(self) -> None:
        """Answers what waits and ends the scorer's thread."""
        self._batcher.close()

    def _alone(self, request: RecommendRequest | SimilarRequest) -> RecommendResponse:
        (answer,) = self.respond_batch([request])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def respond_batch(self, requests: Sequence[RecommendRequest | SimilarRequest]) -> list[RecommendResponse | Exception]:
        """Answers to several requests together, each the same as alone; an exception where one has none."""
        started = time.perf_counter()
        self.item_history_feed.catch_up()
        prepared: list[_Prepared | Exception] = []
        for request in requests:
            try:
                prepared.append(self._prepare(request))
            except Exception as error:  # one request's trouble is not the others'
                prepared.append(error)
        able = [one for one in prepared if isinstance(one, _Prepared) and one.placed is None]
        found = iter(self._lists(able, started) if able else [])
        answers: list[RecommendResponse | Exception] = []
        for one in prepared:
            if isinstance(one, Exception):
                answers.append(one)
            else:
                answers.append(next(found) if one.placed is None else self._placed(one, one.placed, started))
        return answers

    def _placed(self, one: _Prepared, request: RecommendRequest, started: float) -> RecommendResponse | Exception:
        """A pipeline's list, by the rules of its placement; Problem (422) for a wish that it cannot keep."""
        model = self._model
        assert model.pipeline_service is not None
        allowed_V = None
        if one.question.allow is not None:
            allowed_V = np.zeros(model.catalog.size, dtype=bool)
            allowed_V[list(one.question.allow)] = True
        try:
            items = model.pipeline_service.recommend(
                request, one.question.rows(), exclude=one.question.exclude, allowed_V=allowed_V
            )
        except Exception as error:  # one request's trouble is not the others'
            return error
        return _answer(model, items, one.unknown, started)

    def _lists(self, able: Sequence[_Prepared], started: float) -> list[RecommendResponse]:
        retrieval = self._model.retrieval
        hidden_BD = None if self._states is None else self._states.hidden([one.history for one in able])
        items_BK, scores_BK = retrieval.top_k([one.question for one in able], max(one.k for one in able), hidden_BD)
        answers = []
        for one, items_K, scores_K in zip(able, items_BK, scores_BK, strict=True):
            if one.key is not None:
                self._last.keep(one.key, items_K[: one.k], scores_K[: one.k])
            items = self._model.to_recommendations(items_K[: one.k], scores_K[: one.k])
            answers.append(_answer(self._model, items, one.unknown, started))
        return answers

    def _prepare(self, request: RecommendRequest | SimilarRequest) -> _Prepared:
        """Looks up ids and the live history. Problem (404) for an unknown item that something is to go with."""
        if isinstance(request, SimilarRequest):
            index = self._model.catalog.to_indices([request.item_id]).tolist()
            if index == [PAD]:
                raise Problem(404, f"The catalog does not know the item '{request.item_id}'.")
            return _Prepared(None, index, RetrievalQuery(index, index), request.k, [])
        unknown: dict[str, None] = {}
        key, now_us = history_key(request), time.time_ns() // 1000
        history: SessionView | list[int]
        if key is not None:
            history = self._sessions.view(key)
            items, times, told = history.items, history.times, history.contexts
        else:
            history = items = self._index(request.history or (), unknown)
            times, told = [NO_TIME] * len(items), None
        if request.event is not None:
            seen = self._index([request.event.item_id], unknown)
            if key is None:
                when, around = event_time_us(request.event, now_us), self._model.event_contexts
                told = None if around is None else [NO_CONTEXT] * len(items)
                if around is not None and told is not None:
                    told += [around.from_request(request.event, when)] * len(seen)
                history = items = items + seen
                times = times + [when] * len(seen)
        exclude = self._index(request.exclude, unknown)
        allow = None if request.allow is None else self._index(request.allow, unknown)
        if self._model.pipeline_service is not None:
            question = RetrievalQuery(items, exclude, allow, times, now_us, told)
            return _Prepared(key, history, question, request.k, list(unknown), request)
        if request.filter or request.explain:
            raise Problem(422, "Filters and reasons need a pipeline; this is a single model.")
        if self._model.exclude_seen if request.exclude_seen is None else request.exclude_seen:
            exclude = exclude + items
        return _Prepared(
            key, history, RetrievalQuery(items, exclude, allow, times, now_us, told), request.k, list(unknown)
        )

    def _at_hand(self, request: RecommendRequest | SimilarRequest, started: float) -> RecommendResponse:
        """The last list of the same person, or what is popular, with the request's own rules kept."""
        unknown: dict[str, None] = {}
        if isinstance(request, SimilarRequest):
            key, exclude, allow = None, self._index([request.item_id], unknown), None
        else:
            key = history_key(request)
            exclude = self._index(request.exclude, unknown)
            if self._model.exclude_seen if request.exclude_seen is None else request.exclude_seen:
                exclude = exclude + self._index(request.history or (), unknown)
                exclude += [] if key is None else self._sessions.cached(key)
            allow = None if request.allow is None else self._index(request.allow, unknown)
        lasting: FallbackList = self._last.find(key, request.k, exclude, allow)
        answer = _answer(self._model, self._model.to_recommendations(lasting.items_K, lasting.scores_K), list(unknown), started)
        answer.fallback = lasting.source
        return answer

    def _index(self, ids: Iterable[str], unknown: dict[str, None]) -> list[int]:
        """Indices of the ids that the catalog knows; notes the others."""
        ids = list(ids)
        indices = self._model.catalog.to_indices_list(ids)
        if PAD not in indices:
            return indices
        unknown.update((item, None) for item, index in zip(ids, indices, strict=True) if index == PAD)
        return [index for index in indices if index != PAD]


def _answer(model: ServedModel, items: list[Recommendation], unknown: list[str], started: float) -> RecommendResponse:
    took_ms = round((time.perf_counter() - started) * 1e3, 3)
    return RecommendResponse(os.urandom(16).hex(), model.version, items, unknown, took_ms)
