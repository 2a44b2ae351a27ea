"""Worker process: serves requests beside the primary process with its own models and session caches.

It stores nothing. Events, recommended lists and requests for administration are sent to the primary process, and every
commit arrives from there.
"""

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

from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.reloader import Reloader, initial_deployment, model_source
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http import listener, static_pages
from segue.serving.http.app import App
from segue.serving.http.auth import Keys, RateLimit
from segue.serving.http.exchange import Request, Response
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

_RESTARTING = "The server is restarting: try again in a moment."


class PrimaryConnection:
    """Connection of a worker to the primary process. Also its recommendation log (``RecommendationLog``)."""

    def __init__(self, channel: MessageChannel) -> None:
        """Use a channel; ``receive_messages`` must run in one thread."""
        self._channel = channel
        self._pending = PendingReplies()

    def submit(self, events: Sequence[EventIn], durability: Durability | None) -> "Future[AppendResult]":
        """Send events to be stored.

        Args:
            events: events with ids.
            durability: guarantee before the future is resolved.

        Returns:
            A future as that of ``GroupCommitWriter.submit``; it also raises the Problem of an invalid event.

        Raises:
            Problem: 503 if the primary process has ended.
        """
        number, future = self._pending.open(Future[AppendResult]())
        self._send(messages.AppendEvents(number, list(events), durability))
        return future

    async def forward(self, request: Request) -> Response:
        """Return the primary process's response to a whole request; 503 if the primary process has ended."""
        number, future = self._pending.open(Future[messages.ForwardedResponse]())
        headers = dict(request.headers)
        try:
            self._send(messages.ForwardedRequest(number, request.method, request.target, headers, request.body))
            reply = await asyncio.wrap_future(future)
        except (Problem, asyncio.CancelledError):
            return Response.problem(unavailable(_RESTARTING))
        return Response(reply.body, reply.status, reply.media_type, reply.headers)

    def record_impression(
        self, response: RecommendResponse, placement: str | None, key: HistoryKey | None, experiment: str | None
    ) -> None:
        """Send a recommended list to be recorded. See ``RecommendationLog.record_impression``."""
        self._send(messages.RecordImpression(response, placement, key, experiment))

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """Do nothing: the primary process records events itself."""

    def receive_messages(
        self,
        commit_listeners: CommitListeners,
        router: VariantRouter,
        callbacks: Mapping[type, Callable[[], None]],
    ) -> None:
        """Handle messages until the primary process ends.

        Args:
            commit_listeners: receive new events.
            router: its memory drops erased users, and its metrics are sent.
            callbacks: function for each message type without content.
        """
        while (message := self._channel.receive()) is not None:
            if isinstance(message, messages.EventsCommitted):
                commit_listeners.on_commit(message.stored)
                self._send(messages.Ack(message.number))
            elif isinstance(message, messages.EraseKeys):
                router.forget(message.keys)
                self._send(messages.Ack(message.number))
            elif isinstance(message, messages.EventsAppended):
                self._pending.resolve(message.number, AppendResult(message.accepted, message.duplicates))
            elif isinstance(message, messages.RequestRefused):
                refused: Future[Any] | None = self._pending.pop(message.number)
                if refused is not None and refused.set_running_or_notify_cancel():
                    refused.set_exception(Problem(message.status, message.detail, message.headers))
            elif isinstance(message, messages.ForwardedResponse):
                self._pending.resolve(message.number, message)
            elif isinstance(message, messages.MetricsRequest):
                self._send(messages.MetricsResponse(message.number, router.metrics.text()))
            elif type(message) in callbacks:
                callbacks[type(message)]()

    def _send(self, message: Any) -> None:
        try:
            self._channel.send(message)
        except OSError:
            raise unavailable(_RESTARTING) from None


class WorkerRouter(VariantRouter):
    """Router whose events are stored by the primary process."""

    def __init__(
        self,
        deployment: Deployment,
        commit_listeners: CommitListeners,
        primary: PrimaryConnection,
        *,
        record_impressions: bool,
    ) -> None:
        """Make a router.

        Args:
            deployment: first deployment.
            commit_listeners: receive the commits of the primary process.
            primary: connection to the primary process.
            record_impressions: send recommended lists to be recorded.
        """
        self._primary = primary
        recorder = primary if record_impressions else None
        super().__init__(deployment, commit_listeners, metrics=Metrics(), recorder=recorder)

    def store(
        self, events: Sequence[EventIn], durability: Durability | None = None
    ) -> tuple["Future[AppendResult]", list[str]]:
        """Send events to the primary process; the future raises the Problem of an invalid event.

        See ``VariantRouter.store``.
        """
        for event in events:
            if event.event_id is None:
                event.event_id = uuid.uuid4().hex
        future = self._primary.submit(events, durability or self.durability)
        return future, [str(event.event_id) for event in events]


def main(descriptor: int) -> None:
    """Serve requests until the primary process at the other end of a socket stops this process or ends.

    Args:
        descriptor: file descriptor of the inherited socket.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the primary process gets the signal too, and sends StopServing
    channel = MessageChannel(socket.socket(fileno=descriptor))
    start = channel.receive()
    assert isinstance(start, messages.StartWorker)
    config = start.config
    logs.configure_logging(as_json=config.json_logs, requests=config.log_requests)
    store = EventReader(Path(start.data_dir) / "events.sqlite")
    primary, commit_listeners = PrimaryConnection(channel), CommitListeners()
    models = model_source(Path(start.model_path))

    def load(model: ServedModel) -> LoadedModel:
        if config.approximate:
            model.enable_approximate_search()
        sessions = SessionCache(store, model.catalog, config.engine.sessions, context_reader=model.event_contexts)
        return LoadedModel(Engine(model, sessions, None, config.engine), sessions)

    deployment, generation = initial_deployment(models, load, lambda message: None)
    router = WorkerRouter(deployment, commit_listeners, primary, record_impressions=config.attribution is not None)
    reloader = Reloader(models, router, load, generation, interval_s=config.reload_interval_s)
    rate = config.requests_per_s
    limit = RateLimit(None if rate is None else rate / config.workers)
    state = AppState(router, Keys.read(os.environ, start.host), None, limit, config.cors_origins)
    app = App(state, static_pages.pages(router, demo=config.show_demo), primary.forward)
    stop_functions: list[Callable[[], None]] = []
    may_serve = threading.Event()

    def stop() -> None:
        if not stop_functions:  # it does not listen yet
            os._exit(0)
        stop_functions[0]()

    callbacks: dict[type, Callable[[], None]] = {
        messages.StartServing: may_serve.set,
        messages.ReloadModels: reloader.schedule,
        messages.StopServing: stop,
    }

    def receive() -> None:
        try:
            primary.receive_messages(commit_listeners, router, callbacks)
        finally:
            if not state.draining:  # without the primary process it would miss later events
                os._exit(1)

    threading.Thread(target=receive, name="segue-primary", daemon=True).start()
    channel.send(messages.WorkerReady())
    may_serve.wait()
    listener.run(_listen(app, start.host, start.port, stop_functions))
    os._exit(0)  # threads that still wait for the primary process must not hold this one


async def _listen(app: App, host: str, port: int, stop_functions: list[Callable[[], None]]) -> None:
    loop = asyncio.get_running_loop()

    def started(stop: Callable[[], None]) -> None:
        def stop_soon() -> None:
            loop.call_soon_threadsafe(stop)

        stop_functions.append(stop_soon)

    await listen(app, host, port, started)


if __name__ == "__main__":
    main(int(sys.argv[1]))
