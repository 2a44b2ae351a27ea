"""One process that serves one model: opens everything in order, answers until told to stop, closes in order."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from starlette.types import ASGIApp

from segue.data.erasure_list import ErasureList
from segue.serving.administration.admin_service import AdminService
from segue.serving.administration.erase_user import reapply_erasures
from segue.serving.config import ServingConfig, SessionsConfig
from segue.serving.deployment.reloader import ModelSource, Reloader, initial_deployment, model_source
from segue.serving.deployment.variant_router import LoadedModel, VariantRouter
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.http import listener, static_pages
from segue.serving.http.app import build_app
from segue.serving.http.auth import Keys, RateLimit
from segue.serving.http.handlers import AppState
from segue.serving.http.listener import free_port, listen
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.observability import logs
from segue.serving.observability.prometheus import Metrics
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.data_directory import DataDirectory
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter
from segue.serving.workers.messages import StartWorker
from segue.serving.workers.supervisor import WorkerSupervisor

Notify = Callable[[str], None]


def serve(
    run: Path,
    *,
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    sessions: SessionsConfig | None = None,
    config: ServingConfig | None = None,
    notify: Notify = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Serves the model in ``run``, or what a registry there says, until SIGTERM or Ctrl-C; then finishes what it has
    begun and returns. Another version that is saved or promoted there is at work a moment later.

    Events are kept in ``data_dir``. Port 0: any free port. ``say`` hears one line when the server is ready, and one
    for everything odd about the event log. ValueError, before anything is served, when the model cannot be loaded,
    the data directory has another owner, the port is taken, or ``host`` is not a loopback address and no key is set
    in the environment (``segue.serving.http.auth``).
    """
    chosen = config or ServingConfig()
    keys = Keys.read(os.environ, host)
    limit = RateLimit(None if chosen.requests_per_s is None else chosen.requests_per_s / chosen.workers)
    models = model_source(run)
    models.pointer()
    logger = logs.configure_logging(as_json=chosen.json_logs, requests=chosen.log_requests)
    if chosen.json_logs:
        notify = logger.info
    with ExitStack() as stack:
        directory = DataDirectory(data_dir)
        stack.callback(directory.release)
        port = free_port(host, port)
        office = open_services(directory.path, models, sessions, chosen, notify, stack)
        door = AppState(office.router, keys, office, limit, chosen.cors_origins)
        crew = None
        if chosen.workers > 1:
            hello = StartWorker(str(run), str(directory.path), host, port, chosen, sessions or SessionsConfig())
            crew = WorkerSupervisor(office.router, hello, chosen.workers - 1)
            office.router.commit_listeners.worker_listener = crew
            door.other_workers = crew.collect_metrics
        app = build_app(door, static_pages.routes(office.router, demo=chosen.show_demo))
        listener.run(_answer(app, door, crew, (host, port), notify))


def open_services(
    folder: Path,
    models: ModelSource,
    sessions: SessionsConfig | None,
    config: ServingConfig,
    say: Notify,
    stack: ExitStack,
) -> AdminService:
    """Opens everything in order; ``stack`` closes it in the other."""
    store = EventStore(folder / "events.sqlite")
    stack.callback(store.close)
    if store.num_damaged:
        say(f"{store.num_damaged} damaged rows of {store.path} were set aside and are not served.")
    erasures = ErasureList.open(folder)
    if returned := reapply_erasures(store, erasures):
        say(f"{returned} people who had been erased were in {store.path} again, and were taken out.")
    audience = CommitListeners()
    writer = GroupCommitWriter(store, audience.on_commit)
    stack.callback(writer.close)

    def member(model: ServedModel) -> LoadedModel:
        if config.approximate:
            say(model.enable_approximate_search())
        live = SessionCache(store, model.catalog, sessions, context_reader=model.event_contexts)
        return LoadedModel(Engine(model, live, writer, config.engine), live)

    lineup, turn = initial_deployment(models, member, say)
    recorder = (
        AttributionRecorder(folder / "measurements.sqlite", erasures.digest) if config.record_impressions else None
    )
    if recorder is not None:
        stack.callback(recorder.close)
    telemetry = Metrics()
    fleet = VariantRouter(lineup, audience, metrics=telemetry, recorder=recorder, erasures=erasures)
    stack.callback(fleet.close)
    telemetry.add_gauge("store_writable", "1 while events can be stored.", lambda: float(writer.writable))
    telemetry.add_gauge("sessions", "People and sessions in memory.", lambda: len(fleet.deployment.live.sessions))
    telemetry.add_gauge("damaged_rows", "Rows set aside.", lambda: store.num_damaged)
    telemetry.add_gauge("unmeasured", "Lists and events not measured.", lambda: recorder.dropped if recorder else 0)
    watch = Reloader(models, fleet, member, turn, interval_s=config.reload_interval_s)
    stack.callback(watch.close)
    return AdminService(fleet, store, writer, erasures, watch)


async def _answer(
    app: ASGIApp, door: AppState, crew: WorkerSupervisor | None, address: tuple[str, int], say: Notify
) -> None:
    """Listens, and stops on SIGTERM or SIGINT: says so first, and finishes what is under way."""
    loop = asyncio.get_running_loop()
    host, port = address

    def started(stop: Callable[[], None]) -> None:
        def asked() -> None:
            if crew is not None:
                crew.drain()
            stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked)
        if crew is not None:
            crew.start(app, loop)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        loop.call_soon(say, f"Serving on {url}; its description is at {url}/openapi.json.")

    await listen(app, door, host, port, started)
    if crew is not None:
        await asyncio.to_thread(crew.close)
