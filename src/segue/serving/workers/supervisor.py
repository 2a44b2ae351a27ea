"""The keeper's side of several processes that answer on one port: starts branches, tells them everything, stores what
they send, and replaces those that end."""

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
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp

from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.observability.logs import log_event
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.event_store import AppendResult
from segue.serving.workers import messages
from segue.serving.workers.channel import MessageChannel, PendingReplies

_log = logging.getLogger("segue.serving")
_AGAIN_S, _LATEST_S = 0.5, 30.0
"""A branch that ended is replaced so much later; one that cannot even start, after twice as long each time."""
_SLOWEST_S = 10.0
"""What is under way must be finished by then."""


class WorkerProcess:
    """One process beside the keeper, as the keeper sees it."""

    def __init__(self, number: int, hello: messages.StartWorker) -> None:
        """OSError where it cannot be started."""
        self.number = number
        self.ready = False
        ours, theirs = socket.socketpair()
        self.channel = MessageChannel(ours)
        with theirs:
            command = [sys.executable, "-m", "segue.serving.workers.worker", str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self.channel.send(hello)
        self.pending = PendingReplies()

    def request(self, frame: Any) -> "Future[Any]":
        """Sends a frame that has a number; the future holds what comes back under it, or OSError."""
        frame.number, answer = self.pending.open(Future[Any]())
        try:
            self.channel.send(frame)
        except OSError as error:
            if self.pending.pop(frame.number) is not None:
                answer.set_exception(error)
        return answer

    def kill(self) -> None:
        """Ends what cannot be trusted any more to hear of everything."""
        self.channel.close()
        self.process.kill()


class WorkerSupervisor:
    """All branches. Its methods may be called from any thread."""

    def __init__(self, fleet: VariantRouter, hello: messages.StartWorker, count: int) -> None:
        self._fleet = fleet
        self._hello = hello
        self._count = count
        self._app: ASGIApp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hearing: tuple[WorkerProcess, ...] = ()
        """Those that answer, and must be told of everything."""
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the processes; ``app`` answers what only the keeper can."""
        self._app, self._loop = app, loop
        for number in range(1, self._count + 1):
            thread = threading.Thread(target=self._keep, args=(number,), name=f"segue-branch-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """Returns when every branch has taken the events up; one that does not is cut off."""
        self._tell(messages.EventsCommitted(0, list(stored)))

    def on_erase(self, keys: Sequence[HistoryKey]) -> None:
        """Returns when no branch remembers these people."""
        self._tell(messages.EraseKeys(0, list(keys)))

    def on_reload(self) -> None:
        """Another version may be at work: each branch looks at once, and loads it in its own time."""
        self._send(messages.ReloadModels())

    def collect_metrics(self) -> list[tuple[str, bytes]]:
        """(the number of each process, what its counters say), for those that answer within a second."""
        asked = [(str(one.number), one.request(messages.MetricsRequest(0))) for one in self._hearing]
        wait([answer for _, answer in asked], timeout=1.0)
        return [(number, answer.result()) for number, answer in asked if answer.done() and not answer.exception()]

    def drain(self) -> None:
        """Branches finish what is under way and end."""
        self._ending.set()
        self._send(messages.StopServing())

    def close(self) -> None:
        """Returns when no branch is left."""
        if not self._ending.is_set():
            self.drain()
        deadline = time.monotonic() + _SLOWEST_S
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        for one in self._hearing:
            one.kill()
        for thread in self._threads:
            thread.join()

    def _send(self, frame: Any) -> None:
        for one in self._hearing:
            try:
                one.channel.send(frame)
            except OSError:
                one.kill()

    def _tell(self, frame: Any) -> None:
        hearing = self._hearing
        if not hearing:
            return
        answers = [(one, one.request(msgspec.structs.replace(frame))) for one in hearing]
        wait([answer for _, answer in answers], timeout=messages.MAX_STALL_S)
        for one, answer in answers:
            if not answer.done() or answer.exception() is not None:
                one.kill()

    def _keep(self, number: int) -> None:
        """One branch after the other, until the keeper ends."""
        pause_s = _AGAIN_S
        while not self._ending.is_set():
            try:
                branch = WorkerProcess(number, self._hello)
            except OSError as error:
                self._missing(f"cannot start: {error.strerror}")
            else:
                self._listen(branch)
                pause_s = _AGAIN_S if branch.ready else pause_s
                self._missing(f"exit {branch.process.returncode}")
            self._ending.wait(pause_s)
            pause_s = min(2 * pause_s, _LATEST_S)

    def _missing(self, failure: str) -> None:
        if not self._ending.is_set():
            log_event(_log, logging.ERROR, "A branch ended and will be replaced.", failure=failure)

    def _listen(self, branch: WorkerProcess) -> None:
        """Takes what a branch says until it ends; then nobody waits for it any more."""
        try:
            while (frame := branch.channel.receive()) is not None:
                self._take(branch, frame)
        except Exception as error:  # whatever a branch says must not end the keeper
            log_event(_log, logging.ERROR, "A branch said what cannot be.", failure=type(error).__name__)
        with self._lock:
            self._hearing = tuple(one for one in self._hearing if one is not branch)
        for waiting in branch.pending.pop_all():
            waiting.set_exception(ConnectionResetError("The branch ended."))
        if not self._ending.is_set():
            branch.process.kill()
        branch.process.wait()
        branch.channel.close()

    def _take(self, branch: WorkerProcess, frame: Any) -> None:
        """What a branch says, in its thread."""
        if isinstance(frame, messages.Ack):
            branch.pending.resolve(frame.number, None)
        elif isinstance(frame, messages.AppendEvents):
            self._store(branch, frame)
        elif isinstance(frame, messages.RecordImpression):
            if self._fleet.recorder is not None:
                self._fleet.recorder.record_impression(frame.response, frame.placement, frame.key, frame.experiment)
        elif isinstance(frame, messages.ForwardedRequest):
            assert self._loop is not None
            asyncio.run_coroutine_threadsafe(self._page(branch, frame), self._loop)
        elif isinstance(frame, messages.MetricsResponse):
            branch.pending.resolve(frame.number, frame.text)
        elif isinstance(frame, messages.WorkerReady):
            branch.ready = True
            with self._lock:
                self._hearing = (*self._hearing, branch)
            branch.channel.send(messages.StopServing() if self._ending.is_set() else messages.StartServing())

    def _store(self, branch: WorkerProcess, frame: messages.AppendEvents) -> None:
        try:
            future, _ = self._fleet.store(frame.events, frame.durability)
        except Problem as problem:
            self._refuse(branch, frame.number, problem)
            return
        future.add_done_callback(lambda done: self._stored(branch, frame.number, done))

    def _stored(self, branch: WorkerProcess, number: int, done: "Future[AppendResult]") -> None:
        error = done.exception()
        if error is not None:
            problem = (
                error if isinstance(error, Problem) else unavailable("The event log failed: send the events again.")
            )
            self._refuse(branch, number, problem)
            return
        receipt = done.result()
        self._reply(branch, messages.EventsAppended(number, receipt.accepted, receipt.duplicates))

    def _refuse(self, branch: WorkerProcess, number: int, problem: Problem) -> None:
        self._reply(branch, messages.RequestRefused(number, problem.status, problem.detail, problem.headers))

    def _reply(self, branch: WorkerProcess, frame: Any) -> None:
        try:
            branch.channel.send(frame)
        except OSError:
            branch.kill()

    async def _page(self, branch: WorkerProcess, asked: messages.ForwardedRequest) -> None:
        """The keeper's own answer to a request that came to a branch."""
        assert self._app is not None
        raw, _, query = asked.target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": asked.method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": asked.headers,
            "client": None,
            "server": None,
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": asked.body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        body = b"".join(one.get("body", b"") for one in sent[1:])
        headers = [(bytes(name), bytes(value)) for name, value in sent[0]["headers"]]
        self._reply(branch, messages.ForwardedResponse(asked.number, sent[0]["status"], headers, body))
