"""A process that answers beside the keeper: its own copy of the models, histories that hear of every commit, and
nothing that is kept. What it is sent to store, and what only the keeper knows, goes there."""

import asyncio
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segue.serving.deployment.reloader import Reloader, initial_deployment, model_source
from segue.serving.deployment.variant_router import Deployment, LoadedModel, VariantRouter
from segue.serving.http import listener
from segue.serving.http.app import BODY_DEADLINE_S, MAX_BODY_BYTES, build_app
from segue.serving.http.auth import Keys, RateLimit
from segue.serving.http.handlers import AppState
from segue.serving.http.listener import listen
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.observability import logs
from segue.serving.observability.prometheus import Metrics
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.schemas.requests import Durability, EventIn, HistoryKey, RecommendResponse
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_reader import EventReader, StoredEventRow
from segue.serving.store.event_store import AppendResult
from segue.serving.workers import messages
from segue.serving.workers.channel import MessageChannel, PendingReplies

LOCAL_PATHS = frozenset({"/v1/events", "/v1/recommend", "/v1/similar", "/v1/next", "/health/live", "/openapi.json"})
"""What a branch answers itself."""
_GONE = "The server is starting again: ask again in a moment."


class PrimaryConnection:
    """The other end of the line."""

    def __init__(self, line: MessageChannel) -> None:
        self._line = line
        self._calls = PendingReplies()

    def submit(self, sent: Sequence[EventIn], durability: Durability | None) -> "Future[AppendResult]":
        """Hands events to the keeper; the future as ``Writer.submit`` has it."""
        number, future = self._calls.open(Future[AppendResult]())
        self._send(messages.AppendEvents(number, list(sent), durability))
        return future

    def forward(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> "Future[messages.ForwardedResponse]":
        """Hands a whole request to the keeper."""
        number, future = self._calls.open(Future[messages.ForwardedResponse]())
        self._send(messages.ForwardedRequest(number, method, target, headers, body))
        return future

    def record_impression(
        self, answer: RecommendResponse, placement: str | None, key: HistoryKey | None, experiment: str | None
    ) -> None:
        """As ``Recorder.shown``."""
        self._send(messages.RecordImpression(answer, placement, key, experiment))

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """The keeper hears of events itself."""

    def receive_messages(self, audience: CommitListeners, fleet: VariantRouter, on: Mapping[type, Callable[[], None]]) -> None:
        """Takes what the keeper says until it is gone; ``on``: what to do at frames that say nothing else."""
        while (frame := self._line.receive()) is not None:
            if isinstance(frame, messages.EventsCommitted):
                audience.on_commit(frame.stored)
                self._send(messages.Ack(frame.number))
            elif isinstance(frame, messages.EraseKeys):
                fleet.forget(frame.keys)
                self._send(messages.Ack(frame.number))
            elif isinstance(frame, messages.EventsAppended):
                self._calls.resolve(frame.number, AppendResult(frame.accepted, frame.duplicates))
            elif isinstance(frame, messages.RequestRefused):
                refused: Future[Any] | None = self._calls.pop(frame.number)
                if refused is not None and refused.set_running_or_notify_cancel():
                    refused.set_exception(Problem(frame.status, frame.detail, frame.headers))
            elif isinstance(frame, messages.ForwardedResponse):
                self._calls.resolve(frame.number, frame)
            elif isinstance(frame, messages.MetricsRequest):
                self._send(messages.MetricsResponse(frame.number, fleet.metrics.text()))
            elif type(frame) in on:
                on[type(frame)]()

    def _send(self, frame: Any) -> None:
        """Problem (503) where the keeper is gone."""
        try:
            self._line.send(frame)
        except OSError:
            raise unavailable(_GONE) from None


class WorkerRouter(VariantRouter):
    """A fleet whose events the keeper stores."""

    def __init__(
        self, lineup: Deployment, audience: CommitListeners, keeper: PrimaryConnection, *, measure: bool
    ) -> None:
        self._keeper = keeper
        super().__init__(lineup, audience, metrics=Metrics(), recorder=keeper if measure else None)

    def store(
        self, sent: Sequence[EventIn], durability: Durability | None = None
    ) -> tuple["Future[AppendResult]", list[str]]:
        """As ``Fleet.store``; what is wrong with an event, the future says."""
        for one in sent:
            if one.event_id is None:
                one.event_id = uuid.uuid4().hex
        return self._keeper.submit(sent, durability or self.durability), [str(one.event_id) for one in sent]


class ForwardToPrimary:
    """The application, and before it the keeper for everything that is not ``HERE``."""

    def __init__(self, app: ASGIApp, keeper: PrimaryConnection) -> None:
        self._app = app
        self._keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI call."""
        if scope["type"] != "http" or scope["path"] in LOCAL_PATHS:
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        if body is None:
            return
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        try:
            page = await asyncio.wrap_future(self._keeper.forward(scope["method"], target, headers, body))
        except (Problem, asyncio.CancelledError):
            page = messages.ForwardedResponse(
                0, 503, [(b"content-type", b"text/plain"), (b"retry-after", b"1")], _GONE.encode()
            )
        await send({"type": "http.response.start", "status": page.status, "headers": page.headers})
        await send({"type": "http.response.body", "body": page.body})


async def _whole(receive: Receive) -> bytes | None:
    """A body, or so much of it that the keeper will call it too large; None where it does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            while len(body) <= MAX_BODY_BYTES:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        return None
    return bytes(body)


def main(descriptor: int) -> None:
    """Serves beside the keeper at the other end of the descriptor, until it says so or is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the keeper is told as well, and says when
    line = MessageChannel(socket.socket(fileno=descriptor))
    hello = line.receive()
    assert isinstance(hello, messages.StartWorker)
    logs.configure_logging(as_json=hello.config.json_logs, requests=hello.config.log_requests)
    store = EventReader(Path(hello.data_dir) / "events.sqlite")
    keeper, audience, models = PrimaryConnection(line), CommitListeners(), model_source(Path(hello.model_path))

    def member(model: ServedModel) -> LoadedModel:
        if hello.config.approximate:
            model.enable_approximate_search()
        live = SessionCache(store, model.catalog, hello.sessions, context_reader=model.event_contexts)
        return LoadedModel(Engine(model, live, None, hello.config.engine), live)

    lineup, turn = initial_deployment(models, member, lambda line: None)
    fleet = WorkerRouter(lineup, audience, keeper, measure=hello.config.record_impressions)
    watch = Reloader(models, fleet, member, turn, interval_s=hello.config.reload_interval_s)
    rate = hello.config.requests_per_s
    limit = RateLimit(None if rate is None else rate / hello.config.workers)
    door = AppState(fleet, Keys.read(os.environ, hello.host), None, limit, hello.config.cors_origins)
    app, address = ForwardToPrimary(build_app(door), keeper), (hello.host, hello.port)
    stopping: list[Callable[[], None]] = []
    welcome = threading.Event()

    def drain() -> None:
        if not stopping:  # it was never asked anything
            os._exit(0)
        stopping[0]()

    def follow() -> None:
        try:
            keeper.receive_messages(
                audience,
                fleet,
                {
                    messages.StartServing: welcome.set,
                    messages.ReloadModels: watch.schedule,
                    messages.StopServing: drain,
                },
            )
        finally:
            if not door.draining:  # without its keeper it cannot know what has happened since
                os._exit(1)

    threading.Thread(target=follow, name="segue-keeper", daemon=True).start()
    line.send(messages.WorkerReady())
    welcome.wait()
    listener.run(_answer(app, door, address, stopping))
    os._exit(0)  # threads that still wait for a keeper that is gone must not hold this process


async def _answer(app: ASGIApp, door: AppState, address: tuple[str, int], stopping: list[Callable[[], None]]) -> None:
    loop = asyncio.get_running_loop()

    def started(stop: Callable[[], None]) -> None:
        def soon() -> None:
            loop.call_soon_threadsafe(stop)

        stopping.append(soon)

    await listen(app, door, *address, started)


if __name__ == "__main__":
    main(int(sys.argv[1]))
