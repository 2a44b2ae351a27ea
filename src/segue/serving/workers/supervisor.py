"""Supervisor of the worker processes that serve one port together with the primary process.

It starts the workers, sends them every commit and heartbeats, stores their events, and replaces workers that end, are
stopped or are stuck. Meanwhile the primary process accepts their connections.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from typing import Any

import msgspec

from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.http.app import App
from segue.serving.http.exchange import Request, Response
from segue.serving.observability.logs import log_event
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.event_store import AppendResult
from segue.serving.workers import messages
from segue.serving.workers.worker_process import WorkerProcess

_log = logging.getLogger("segue.serving")
_RESTART_S, _MAX_RESTART_S = 0.5, 30.0
"""Pause before a worker is replaced, in seconds; doubled each time for one that cannot start."""
STOP_SHARE = 0.8
"""Share of the grace after which workers that have not ended are killed."""
_TOO_LATE = "The request waited too long for the primary process: send it again, events with the same event_id."
_MIN_SERVED_S = 2.0
"""Age of a worker that is replaced without a pause, in seconds."""
_METRICS_DEADLINE_S = 1.0
"""Time to wait for the metrics of the workers, in seconds."""


class WorkerSupervisor:
    """All worker processes. Safe to use from several threads."""

    def __init__(self, router: VariantRouter, start: messages.StartWorker, count: int) -> None:
        """Make a supervisor; ``start`` starts the processes.

        Args:
            router: router of the primary process, which stores the workers' events.
            start: first message of each worker.
            count: number of workers.
        """
        self._router = router
        self._start_message = start
        self._count = count
        self._app: App | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cover: Callable[[Collection[int]], None] = lambda numbers: None
        self._started: dict[int, WorkerProcess] = {}
        """Processes that have not ended, ready or not, by number."""
        self._workers: tuple[WorkerProcess, ...] = ()
        """Workers that serve requests and must receive every commit."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stop_by_s = 0.0
        self._threads: list[threading.Thread] = []

    @property
    def num_ready(self) -> int:
        """Number of workers that serve requests and reply to heartbeats."""
        return sum(not worker.is_overdue for worker in self._workers)

    def start(
        self, app: App, loop: asyncio.AbstractEventLoop, cover: Callable[[Collection[int]], None] = lambda numbers: None
    ) -> None:
        """Start the processes.

        Args:
            app: application of the primary process, which answers forwarded requests.
            loop: its event loop.
            cover: function that accepts the connections of the workers with these numbers; called in the event loop.
        """
        self._app, self._loop, self._cover = app, loop, cover
        cover(range(1, self._count + 1))
        threading.Thread(target=self._watch, name="segue-heartbeat", daemon=True).start()
        for number in range(1, self._count + 1):
            thread = threading.Thread(
                target=self._supervise, args=(number,), name=f"segue-worker-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """Send newly committed events; return when every worker has applied them. A worker that does not is killed."""
        self._broadcast(messages.EventsCommitted(0, list(stored)))

    def on_erase(self, keys: Sequence[HistoryKey]) -> None:
        """Send erased users and sessions; return when every worker has dropped them."""
        self._broadcast(messages.EraseKeys(0, list(keys)))

    def on_reload(self) -> None:
        """Request that each worker checks for another deployment, which it loads in its own time."""
        self._send(messages.ReloadModels())

    def on_catalog(self) -> None:
        """Have the workers apply the changes of the catalog; return when all have, or after ``CATALOG_S``.

        A worker that takes longer applies them later: its heartbeats decide whether it is stuck.
        """
        wait([worker.request(messages.CatalogChanged(0)) for worker in self._workers], timeout=messages.CATALOG_S)

    def collect_metrics(self) -> list[tuple[str, bytes]]:
        """Return the number and metrics text of each worker that replies within a second."""
        replies = [(str(worker.number), worker.request(messages.MetricsRequest(0))) for worker in self._workers]
        wait([reply for _, reply in replies], timeout=_METRICS_DEADLINE_S)
        return [(number, reply.result()) for number, reply in replies if reply.done() and not reply.exception()]

    def drain(self, grace_s: float) -> None:
        """Request that the workers finish their open requests and end; does not wait.

        Args:
            grace_s: time until all processes must have ended, seconds.
        """
        self._stop_by_s = time.monotonic() + STOP_SHARE * grace_s
        self._stopping.set()
        self._send(messages.StopServing(grace_s))
        for worker in list(self._started.values()):
            if not worker.is_ready:
                worker.process.kill()

    def close(self) -> None:
        """Return when all workers have ended; those that take longer than their share of the grace are killed."""
        for thread in self._threads:
            thread.join(max(0.0, self._stop_by_s - time.monotonic()))
        self.kill_all()
        for thread in self._threads:
            thread.join()

    def kill_all(self) -> None:
        """Kill all workers."""
        for worker in list(self._started.values()):
            worker.process.kill()

    def _send(self, message: Any) -> None:
        for worker in self._workers:
            worker.send(message)

    def _broadcast(self, message: Any) -> None:
        """Send a message to every worker and wait for the replies; workers without one are killed."""
        replies = [(worker, worker.request(msgspec.structs.replace(message))) for worker in self._workers]
        wait([reply for _, reply in replies], timeout=messages.MAX_STALL_S)
        for worker, reply in replies:
            if not reply.done() or reply.exception() is not None:
                worker.kill("a commit was not acknowledged")

    def _watch(self) -> None:
        """Send heartbeats, and accept the connections of workers without a reply here, until the event loop ends."""
        assert self._app is not None and self._loop is not None
        while True:
            time.sleep(messages.HEARTBEAT_S)
            for worker in list(self._started.values()):
                worker.beat(self._app.state.loop_lag.lag_ms() / 1e3)
            serving = {worker.number for worker in self._workers if not worker.is_overdue}
            try:
                self._loop.call_soon_threadsafe(self._cover, set(range(1, self._count + 1)) - serving)
            except RuntimeError:  # the event loop has ended
                return

    def _supervise(self, number: int) -> None:
        """Start a worker, wait for its end and replace it, until the server stops."""
        pause_s = _RESTART_S
        while not self._stopping.is_set():
            has_served, started_s = False, time.monotonic()
            try:
                worker = WorkerProcess(msgspec.structs.replace(self._start_message, number=number))
            except OSError as error:
                self._log_end(f"cannot start: {error.strerror}")
            else:
                self._started[number] = worker
                self._listen(worker)
                del self._started[number]
                pause_s = _RESTART_S if worker.is_ready else pause_s
                has_served = worker.is_ready and time.monotonic() - started_s > _MIN_SERVED_S
                self._log_end(worker.failure or f"exit {worker.process.returncode}")
            if has_served:
                continue
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _MAX_RESTART_S)

    def _log_end(self, failure: str) -> None:
        if not self._stopping.is_set():
            log_event(_log, logging.ERROR, "A worker ended and will be replaced.", failure=failure)

    def _listen(self, worker: WorkerProcess) -> None:
        """Handle a worker's messages until it ends; then fail the requests that wait for it."""
        try:
            while (message := worker.channel.receive()) is not None:
                worker.num_missed = 0
                self._handle(worker, message)
        except Exception as error:  # no message of a worker may end the primary process
            log_event(_log, logging.ERROR, "A worker sent an invalid message.", failure=type(error).__name__)
        with self._lock:
            self._workers = tuple(other for other in self._workers if other is not worker)
        worker.pending.fail(ConnectionResetError("The worker ended."))
        if not self._stopping.is_set():
            worker.process.kill()
        worker.process.wait()
        worker.channel.close()

    def _handle(self, worker: WorkerProcess, message: Any) -> None:
        """Handle a message of a worker, in its thread."""
        if isinstance(message, messages.Heartbeat):
            worker.lag_s, worker.is_listening = message.lag_s, message.is_listening
        elif isinstance(message, messages.Ack):
            worker.pending.resolve(message.number, None)
        elif isinstance(message, messages.AppendEvents):
            self._store(worker, message)
        elif isinstance(message, messages.RecordImpression):
            if isinstance(self._router.recorder, AttributionRecorder):
                self._router.recorder.record_list(message.entry)
        elif isinstance(message, messages.ForwardedRequest):
            assert self._loop is not None
            asyncio.run_coroutine_threadsafe(self._respond(worker, message), self._loop)
        elif isinstance(message, messages.MetricsResponse):
            worker.pending.resolve(message.number, message.text)
        elif isinstance(message, messages.WorkerReady):
            with self._lock:
                self._workers = (*self._workers, worker)
            worker.is_ready = True
            worker.send(messages.StopServing(0.0) if self._stopping.is_set() else messages.StartServing())

    def _store(self, worker: WorkerProcess, message: messages.AppendEvents) -> None:
        try:
            if _is_late(message):
                raise unavailable(_TOO_LATE)
            future, _ = self._router.store(message.events, message.durability)
        except Problem as problem:
            self._refuse(worker, message.number, problem)
            return
        future.add_done_callback(lambda done: self._stored(worker, message.number, done))

    def _stored(self, worker: WorkerProcess, number: int, done: "Future[AppendResult]") -> None:
        error = done.exception()
        if error is not None:
            problem = (
                error if isinstance(error, Problem) else unavailable("The event log failed: send the events again.")
            )
            self._refuse(worker, number, problem)
            return
        result = done.result()
        worker.send(messages.EventsAppended(number, result.accepted, result.duplicates, result.erased))

    def _refuse(self, worker: WorkerProcess, number: int, problem: Problem) -> None:
        worker.send(messages.RequestRefused(number, problem.status, problem.detail, problem.headers))

    async def _respond(self, worker: WorkerProcess, forwarded: messages.ForwardedRequest) -> None:
        """Respond to a request that a worker forwarded; the worker has counted it against the rate limit."""
        assert self._app is not None
        request = Request(forwarded.method, forwarded.target, forwarded.headers, forwarded.body)
        if _is_late(forwarded):
            response = Response.problem(unavailable(_TOO_LATE))
        else:
            response = await self._app.handle(request, counted=False)
        headers = dict(response.headers)
        reply = messages.ForwardedResponse(
            forwarded.number, response.body, response.status, response.media_type, headers
        )
        worker.send(reply)


def _is_late(message: messages.AppendEvents | messages.ForwardedRequest) -> bool:
    """Return whether the worker has refused a request meanwhile, or is about to."""
    return time.monotonic() - message.sent_s > messages.SILENCE_S
