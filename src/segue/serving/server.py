"""Server of one model or registry: opens all parts in order, serves until a signal, closes them in reverse order."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from segue.serving.administration.admin_service import AdminService
from segue.serving.administration.catalog_service import CatalogService
from segue.serving.administration.erase_user import open_eraser
from segue.serving.catalog.live_updates import LiveUpdates
from segue.serving.config import ServingConfig
from segue.serving.deployment.candidate_examination import CandidateExaminer
from segue.serving.deployment.deployment import LoadedModel
from segue.serving.deployment.model_source import ModelSource, model_source
from segue.serving.deployment.reloader import Reloader, initial_deployment
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.http import listener, static_pages
from segue.serving.http.app import App
from segue.serving.http.auth import Keys, RateLimit
from segue.serving.http.client_limits import ClientLimits
from segue.serving.http.handlers import AppState
from segue.serving.inference.served_model import ServedModel
from segue.serving.observability import logs
from segue.serving.observability.prometheus import Metrics
from segue.serving.sockets import SocketGroups
from segue.serving.store.background_check import BackgroundCheck
from segue.serving.store.data_directory import DataDirectory
from segue.serving.store.disk_quota import DiskQuota
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter
from segue.serving.termination import Termination
from segue.serving.workers.messages import StartWorker
from segue.serving.workers.supervisor import WorkerSupervisor
from segue.system import heap
from segue.system.folder_use import mark_in_use

_CLOSE_POLL_S = 0.02
_RELOADER_S = 1.0
"""Longest wait for a version that is being loaded when the server stops, in seconds."""
Notify = Callable[[str], None]
"""Function that receives one line of text for the operator."""


def serve(
    run: Path,
    *,
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    config: ServingConfig | None = None,
    notify: Notify = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Serve a model over HTTP until SIGTERM or Ctrl-C; open requests are finished.

    The process ends at ``config.grace_s`` after the signal at the latest, or at once at a second signal
    (``segue.serving.exit_codes``). To be called in the main thread.

    A version that is saved or promoted at ``run`` later is deployed without a restart.

    Args:
        run: a model folder, or a registry of models.
        data_dir: directory of the event log, the attribution file and the erasure list.
        host: address to listen on. Beyond loopback an API key is required in the environment
            (``segue.serving.http.auth``).
        port: port to listen on; 0: any free port.
        config: options; None: the defaults.
        notify: receives one line when the server is ready, and one for each damage in the event log.

    Raises:
        TemporaryError: the data directory has another owner, or the port is taken.
        ValueError: the model cannot be loaded, the address is invalid, or a key is missing.
    """
    config = config or ServingConfig()
    termination = Termination(config.grace_s)
    termination.run(lambda: _serve(run, data_dir, (host, port), config, notify, termination))


def _serve(
    run: Path,
    data_dir: Path,
    address: tuple[str, int],
    config: ServingConfig,
    notify: Notify,
    termination: Termination,
) -> None:
    """Open all parts, serve, and close them. See ``serve``."""
    host, port = address
    keys = Keys.read(os.environ, host)
    rate = config.access.requests_per_s
    limit = RateLimit(None if rate is None else rate / config.workers)
    models = model_source(run, CandidateExaminer(config.examination, approximate=config.approximate))
    models.pointer()
    heap.limit_arenas()
    logger = logs.configure_logging(as_json=config.logs.as_json, requests=config.logs.requests)
    if config.logs.as_json:
        notify = logger.info
    with ExitStack() as stack:
        directory = DataDirectory(data_dir)
        stack.callback(directory.release)
        stack.enter_context(mark_in_use(run))
        sockets = SocketGroups.bind(host, port, config.workers)
        stack.callback(sockets.close)
        admin = open_services(directory.path, models, config, notify, stack)
        clients = ClientLimits.of(config)
        state = AppState(admin.router, keys, admin, limit, config.access.cors_origins, client_limits=clients)
        supervisor = None
        if config.workers > 1:
            examined = list(admin.router.deployment.versions_by_role().values())
            start = StartWorker(0, str(run), str(directory.path), host, sockets.descriptors(), config, examined)
            supervisor = WorkerSupervisor(admin.router, start, config.workers - 1)
            admin.router.commit_listeners.worker_listener = supervisor
            admin.router.metrics.add_gauge(
                "workers_ready", "Worker processes that respond, beside the primary process.", _num_ready(supervisor)
            )
            state.other_workers = supervisor.collect_metrics
            termination.kill_children = supervisor.kill_all
        app = App(state, static_pages.pages(admin.router, demo=config.access.show_demo))
        url = f"http://{f'[{host}]' if ':' in host else host}:{sockets.port}"
        line = f"Serving on {url}; its description is at {url}/openapi.json."
        listener.run(lambda: _listen(app, sockets, supervisor, termination, lambda: notify(line)))


def _num_ready(supervisor: WorkerSupervisor) -> Callable[[], float]:
    return lambda: supervisor.num_ready


def open_services(
    folder: Path, models: ModelSource, config: ServingConfig, notify: Notify, stack: ExitStack
) -> AdminService:
    """Open the event store, the models, the attribution file and the reloader.

    Args:
        folder: data directory.
        models: source of the model versions.
        config: options.
        notify: receives a line about each damage or restored event.
        stack: closes all parts in reverse order.
    """
    store = EventStore(folder / "events.sqlite")
    stack.callback(store.close)
    _report_damage(store, notify)
    eraser, recorder = open_eraser(store, notify), None
    erasures, commit_listeners = eraser.steps.erasures, eraser.steps.listeners
    if config.attribution is not None:
        path, erased_until_us = folder / "attribution.sqlite", erasures.digest_erased_until_us
        recorder = AttributionRecorder(path, erasures.digest, config.attribution, erased_until_us)
        stack.callback(recorder.close)
    quota = DiskQuota(store.path, min_free_mb=config.storage.min_free_mb, max_log_mb=config.storage.max_log_mb)
    writer = GroupCommitWriter(store, commit_listeners.on_commit, eraser.steps.without_erased, quota.refusal)
    stack.callback(writer.close)
    eraser.start(writer, recorder)
    stack.callback(eraser.close)
    stack.callback(_check_in_background(store, writer).close)
    updates = LiveUpdates(store)
    stack.callback(updates.close)

    def load(model: ServedModel) -> LoadedModel:
        if config.approximate:
            notify(model.enable_approximate_search())
        loaded = LoadedModel.of(model, store, writer, config, updates)
        for note in loaded.notes:
            notify(note)
        return loaded

    fallbacks: list[str] = []

    def on_fallback(line: str) -> None:
        fallbacks.append(line)
        notify(line)

    deployment, generation = initial_deployment(models, load, on_fallback)
    metrics = Metrics()
    router = VariantRouter(deployment, commit_listeners, metrics=metrics, recorder=recorder)
    stack.callback(router.close)
    _add_gauges(metrics, store, writer, recorder)
    metrics.add_gauge("log_bytes", "Size of the event log.", quota.log_bytes)
    metrics.add_gauge("cached_histories", "Histories in memory.", lambda: len(router.deployment.live.sessions))
    reloader = Reloader(models, router, load, generation, interval_s=config.reload_interval_s)
    reloader.fallback = " ".join(fallbacks)
    metrics.add_gauge(
        "deployment_fell_back",
        "1 while an earlier deployment is served than the one that was found at the start.",
        lambda: float(bool(reloader.fallback)),
    )
    stack.callback(_close_reloader, reloader)
    return AdminService(router, store, writer, eraser, reloader, CatalogService(router, writer, updates, quota.refusal))


def _report_damage(store: EventStore, notify: Notify) -> None:
    for notice in store.notices:
        notify(notice)
    if store.num_damaged:
        notify(f"{store.num_damaged} damaged rows of {store.path} were set aside and are not served.")


def _check_in_background(store: EventStore, writer: GroupCommitWriter) -> BackgroundCheck:
    def repair() -> None:
        writer.run(EventStore.repair).result()

    return BackgroundCheck(store.path, repair, at_once=not store.completely_checked)


def _add_gauges(
    metrics: Metrics, store: EventStore, writer: GroupCommitWriter, recorder: AttributionRecorder | None
) -> None:
    metrics.add_gauge("store_writable", "1 while events can be stored.", lambda: float(writer.writable))
    metrics.add_gauge(
        "damaged_rows", "Rows of the event log that are not served.", lambda: store.num_damaged + store.num_left_out
    )
    metrics.add_gauge(
        "attribution_dropped", "Lists and events not recorded.", lambda: recorder.dropped if recorder else 0
    )
    metrics.add_gauge(
        "attribution_recording",
        "1 while lists are recorded.",
        lambda: float(recorder is not None and recorder.recording),
    )
    metrics.add_gauge(
        "clock_behind_seconds",
        "Seconds of the clock behind the newest server time.",
        lambda: store.clock.behind_us / 1e6,
    )


def _close_reloader(reloader: Reloader) -> None:
    """End the reloader, or leave it behind with the version that it is loading."""
    closing = threading.Thread(target=reloader.close, name="segue-close", daemon=True)
    closing.start()
    closing.join(_RELOADER_S)


async def _listen(
    app: App,
    sockets: SocketGroups,
    supervisor: WorkerSupervisor | None,
    termination: Termination,
    notify: Callable[[], None],
) -> None:
    """Listen until SIGTERM or SIGINT, then stop the workers and finish the open requests."""
    loop = asyncio.get_running_loop()
    serving = listener.Listener(app, sockets)

    def stop(grace_s: float) -> None:
        if supervisor is not None:
            supervisor.drain(grace_s)
        serving.stop(grace_s)

    def on_stop(grace_s: float) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has ended: the parts are being closed
            loop.call_soon_threadsafe(stop, grace_s)

    def started() -> None:
        if supervisor is not None:
            supervisor.start(app, loop, serving.cover)
        termination.on_stop = on_stop
        loop.call_soon(notify)

    await serving.serve(started)
    if supervisor is not None:
        # In a thread of its own: handlers that do not end may fill the pool of ``to_thread``.
        closing = threading.Thread(target=supervisor.close, name="segue-close", daemon=True)
        closing.start()
        while closing.is_alive():  # the workers' last requests are answered meanwhile
            await asyncio.sleep(_CLOSE_POLL_S)
