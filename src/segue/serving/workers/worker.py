"""Worker process: serves requests beside the primary process with its own models and session caches.

It stores nothing. Events, recommended lists and requests for administration are sent to the primary process, and every
commit arrives from there.
"""

import asyncio
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from segue.serving.catalog.live_updates import LiveUpdates
from segue.serving.deployment.candidate_examination import CandidateExaminer, trust
from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.model_source import model_source
from segue.serving.deployment.reloader import Reloader, initial_deployment
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http import listener, static_pages
from segue.serving.http.app import App
from segue.serving.http.auth import Keys, RateLimit
from segue.serving.http.client_limits import ClientLimits
from segue.serving.http.handlers import AppState
from segue.serving.http.load_shedding import EventLoopLag
from segue.serving.inference.served_model import ServedModel
from segue.serving.observability import logs
from segue.serving.observability.prometheus import Metrics
from segue.serving.schemas.requests import Durability, EventIn
from segue.serving.sockets import SocketGroups
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_reader import EventReader
from segue.serving.store.event_store import AppendResult
from segue.serving.workers import messages
from segue.serving.workers.channel import MessageChannel
from segue.serving.workers.primary_connection import PrimaryConnection
from segue.system import heap

_REFUSE_ALL_MS = -1.0
"""Limit of the event loop's delay with which every request is refused with 503."""


class Registration:
    """Registration with the primary process, after which every commit arrives.

    A worker that waits for it while the primary process is silent listens all the same. It refuses every request with
    503: without the commits its lists would be out of date.
    """

    def __init__(self, loop_lag: EventLoopLag) -> None:
        """Make a registration; ``loop_lag`` decides which requests are refused."""
        self._loop_lag = loop_lag
        self._limit_ms = loop_lag.limit_ms
        self._is_complete = threading.Event()

    def complete(self, _: messages.StartServing) -> None:
        """Serve all requests from now on."""
        self._is_complete.set()
        self._loop_lag.limit_ms = self._limit_ms

    def wait(self, primary: PrimaryConnection) -> None:
        """Return when the worker should listen."""
        while not self._is_complete.wait(messages.HEARTBEAT_S):
            primary.tick()
            if primary.is_silent:
                self._loop_lag.limit_ms = _REFUSE_ALL_MS
                if self._is_complete.is_set():
                    self._loop_lag.limit_ms = self._limit_ms
                return


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
    channel = MessageChannel(socket.socket(fileno=descriptor))
    start = channel.receive()
    if not isinstance(start, messages.StartWorker):  # the primary process has ended
        os._exit(1)
    config = start.config
    heap.limit_arenas()
    logs.configure_logging(as_json=config.logs.as_json, requests=config.logs.requests)
    store = EventReader(Path(start.data_dir) / "events.sqlite")
    primary, commit_listeners, updates = PrimaryConnection(channel), CommitListeners(), LiveUpdates(store)
    trust(start.examined, approximate=config.approximate)
    models = model_source(Path(start.model_path), CandidateExaminer(config.examination, approximate=config.approximate))

    def load(model: ServedModel) -> LoadedModel:
        if config.approximate:
            model.enable_approximate_search()
        return LoadedModel.of(model, store, None, config, updates)

    deployment, generation = initial_deployment(models, load, lambda message: None)
    router = WorkerRouter(deployment, commit_listeners, primary, record_impressions=config.attribution is not None)
    router.metrics.add_gauge("attribution_dropped", "Lists and events not recorded.", lambda: primary.num_dropped)
    reloader = Reloader(models, router, load, generation, interval_s=config.reload_interval_s)
    rate = config.access.requests_per_s
    limit = RateLimit(None if rate is None else rate / config.workers)
    keys, clients = Keys.read(os.environ, start.host), ClientLimits.of(config)
    state = AppState(router, keys, None, limit, config.access.cors_origins, client_limits=clients)
    primary.lag_ms = state.loop_lag.lag_ms
    app = App(state, static_pages.pages(router, demo=config.access.show_demo), primary.forward)
    stop_functions: list[Callable[[float], None]] = []
    registration = Registration(state.loop_lag)

    def stop(message: messages.StopServing) -> None:
        if not stop_functions:  # it does not listen yet
            os._exit(0)
        stop_functions[0](message.grace_s)

    callbacks: dict[type, Callable[[Any], None]] = {
        messages.StartServing: lambda message: _after(updates, lambda: registration.complete(message)),
        messages.CatalogChanged: lambda message: _after(updates, lambda: primary.acknowledge(message.number)),
        messages.ReloadModels: lambda _: reloader.schedule(),
        messages.StopServing: stop,
    }

    def receive() -> None:
        try:
            primary.receive_messages(commit_listeners, router, callbacks)
        finally:
            os._exit(1)  # without the primary process it would miss later events

    threading.Thread(target=receive, name="segue-primary", daemon=True).start()
    channel.send(messages.WorkerReady())
    registration.wait(primary)
    sockets = SocketGroups.inherited(start.sockets, start.number)
    listener.run(lambda: _listen(app, sockets, primary, stop_functions))
    os._exit(0)  # threads that still wait for the primary process must not hold this one


def _after(updates: LiveUpdates, work: Callable[[], None]) -> None:
    """Run a function once the present changes of the catalog are applied."""
    updates.refresh().add_done_callback(lambda _: work())


async def _listen(
    app: App, sockets: SocketGroups, primary: PrimaryConnection, stop_functions: list[Callable[[float], None]]
) -> None:
    loop = asyncio.get_running_loop()
    serving = listener.Listener(app, sockets)

    async def watch() -> None:
        """Accept the connections of the other processes while the primary process does not supervise them."""
        while True:
            await asyncio.sleep(messages.HEARTBEAT_S)
            primary.tick()
            serving.cover(range(len(sockets.groups)) if primary.is_late else ())

    def started() -> None:
        def stop(grace_s: float) -> None:
            loop.call_soon_threadsafe(serving.stop, grace_s)

        primary.is_listening = True
        stop_functions.append(stop)

    watching = loop.create_task(watch())
    await serving.serve(started)
    watching.cancel()
