"""Supervisor of the worker processes that serve one port together with the primary process.

It starts the workers, sends them every commit, stores their events, and replaces workers that end.
"""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any

import msgspec

from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http.app import App
from segue.serving.http.exchange import Request
from segue.serving.observability.logs import log_event
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.event_store import AppendResult
from segue.serving.workers import messages
from segue.serving.workers.channel import MessageChannel, PendingReplies

_log = logging.getLogger("segue.serving")
_RESTART_S, _MAX_RESTART_S = 0.5, 30.0
"""Pause before a worker is replaced, in seconds; doubled each time for one that cannot start."""
_STOP_DEADLINE_S = 10.0
"""Time for workers to finish their open requests, in seconds."""
_METRICS_DEADLINE_S = 1.0
"""Time to wait for the metrics of the workers, in seconds."""


class WorkerProcess:
    """Worker process, as the primary process sees it."""

    def __init__(self, number: int, start: messages.StartWorker) -> None:
        """Start a worker.

        Args:
            number: its number, from 1.
            start: its first message.

        Raises:
            OSError: the process cannot be started.
        """
        self.number = number
        self.ready = False
        ours, theirs = socket.socketpair()
        self.channel = MessageChannel(ours)
        with theirs:
            command = [sys.executable, "-m", "segue.serving.workers.worker", str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self.channel.send(start)
        self.pending = PendingReplies()

    def request(self, message: Any) -> "Future[Any]":
        """Send a numbered message; the future holds the reply with its number, or OSError."""
        message.number, answer = self.pending.open(Future[Any]())
        try:
            self.channel.send(message)
        except OSError as error:
            if self.pending.pop(message.number) is not None:
                answer.set_exception(error)
        return answer

    def kill(self) -> None:
        """Kill a worker that may have missed a message."""
        self.channel.close()
        self.process.kill()


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
        self._workers: tuple[WorkerProcess, ...] = ()
        """Workers that serve requests and must receive every commit."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        """Start the processes.

        Args:
            app: application of the primary process, which answers forwarded requests.
            loop: its event loop.
        """
        self._app, self._loop = app, loop
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

    def collect_metrics(self) -> list[tuple[str, bytes]]:
        """Return the number and metrics text of each worker that replies within a second."""
        replies = [(str(worker.number), worker.request(messages.MetricsRequest(0))) for worker in self._workers]
        wait([reply for _, reply in replies], timeout=_METRICS_DEADLINE_S)
        return [(number, reply.result()) for number, reply in replies if reply.done() and not reply.exception()]

    def drain(self) -> None:
        """Request that the workers finish their open requests and end."""
        self._stopping.set()
        self._send(messages.StopServing())

    def close(self) -> None:
        """Stop the workers and return when all have ended; after 10 s they are killed."""
        if not self._stopping.is_set():
            self.drain()
        deadline = time.monotonic() + _STOP_DEADLINE_S
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            thread.join()

    def _send(self, message: Any) -> None:
        for worker in self._workers:
            try:
                worker.channel.send(message)
            except OSError:
                worker.kill()

    def _broadcast(self, message: Any) -> None:
        """Send a message to every worker and wait for the replies; workers without one are killed."""
        replies = [(worker, worker.request(msgspec.structs.replace(message))) for worker in self._workers]
        wait([reply for _, reply in replies], timeout=messages.MAX_STALL_S)
        for worker, reply in replies:
            if not reply.done() or reply.exception() is not None:
                worker.kill()

    def _supervise(self, number: int) -> None:
        """Start a worker, wait for its end and replace it, until the server stops."""
        pause_s = _RESTART_S
        while not self._stopping.is_set():
            try:
                worker = WorkerProcess(number, self._start_message)
            except OSError as error:
                self._log_end(f"cannot start: {error.strerror}")
            else:
                self._listen(worker)
                pause_s = _RESTART_S if worker.ready else pause_s
                self._log_end(f"exit {worker.process.returncode}")
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _MAX_RESTART_S)

    def _log_end(self, failure: str) -> None:
        if not self._stopping.is_set():
            log_event(_log, logging.ERROR, "A worker ended and will be replaced.", failure=failure)

    def _listen(self, worker: WorkerProcess) -> None:
        """Handle a worker's messages until it ends; then fail the requests that wait for it."""
        try:
            while (message := worker.channel.receive()) is not None:
                self._handle(worker, message)
        except Exception as error:  # no message of a worker may end the primary process
            log_event(_log, logging.ERROR, "A worker sent an invalid message.", failure=type(error).__name__)
        with self._lock:
            self._workers = tuple(other for other in self._workers if other is not worker)
        for future in worker.pending.pop_all():
            future.set_exception(ConnectionResetError("The worker ended."))
        if not self._stopping.is_set():
            worker.process.kill()
        worker.process.wait()
        worker.channel.close()

    def _handle(self, worker: WorkerProcess, message: Any) -> None:
        """Handle a message of a worker, in its thread."""
        if isinstance(message, messages.Ack):
            worker.pending.resolve(message.number, None)
        elif isinstance(message, messages.AppendEvents):
            self._store(worker, message)
        elif isinstance(message, messages.RecordImpression):
            if self._router.recorder is not None:
                self._router.recorder.record_impression(
                    message.response, message.placement, message.key, message.experiment
                )
        elif isinstance(message, messages.ForwardedRequest):
            assert self._loop is not None
            asyncio.run_coroutine_threadsafe(self._respond(worker, message), self._loop)
        elif isinstance(message, messages.MetricsResponse):
            worker.pending.resolve(message.number, message.text)
        elif isinstance(message, messages.WorkerReady):
            worker.ready = True
            with self._lock:
                self._workers = (*self._workers, worker)
            worker.channel.send(messages.StopServing() if self._stopping.is_set() else messages.StartServing())

    def _store(self, worker: WorkerProcess, message: messages.AppendEvents) -> None:
        try:
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
        self._reply(worker, messages.EventsAppended(number, result.accepted, result.duplicates))

    def _refuse(self, worker: WorkerProcess, number: int, problem: Problem) -> None:
        self._reply(worker, messages.RequestRefused(number, problem.status, problem.detail, problem.headers))

    def _reply(self, worker: WorkerProcess, message: Any) -> None:
        try:
            worker.channel.send(message)
        except OSError:
            worker.kill()

    async def _respond(self, worker: WorkerProcess, forwarded: messages.ForwardedRequest) -> None:
        """Respond to a request that a worker forwarded; the worker has counted it against the rate limit."""
        assert self._app is not None
        request = Request(forwarded.method, forwarded.target, forwarded.headers, forwarded.body)
        response = await self._app.handle(request, counted=False)
        headers = dict(response.headers)
        self._reply(
            worker,
            messages.ForwardedResponse(forwarded.number, response.body, response.status, response.media_type, headers),
        )
