"""Group commit: requests queue, one thread stores them together with one fsync, and only then is anyone answered."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import apsw

from segue.serving.schemas.problems import unavailable
from segue.serving.store.event import Event
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.event_store import AppendResult, EventStore

_MAX_WAITING = 4096
_MAX_GROUP = 4096
_RETRY_S = 1.0
_FORCE_S = 0.5
"""What was acknowledged without waiting for the disk is forced there this much later, or with the next that waits."""
_FINAL = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}

T = TypeVar("T")
Waiting = tuple[Sequence[Event], "Future[AppendResult]", bool]
"""Events, who waits for them, and whether they must be on disk first."""


class GroupCommitWriter:
    """The only one who writes to a store.

    ``on_commit`` is called in the writer's thread with what a commit added, before anyone hears of it: whoever was
    acknowledged finds the event in the state. After a failed write nothing is acknowledged until a write works
    again; after a failed fsync never, because the system may have dropped what it could not write.
    """

    def __init__(self, store: EventStore, on_commit: Callable[[Sequence[StoredEventRow]], None]) -> None:
        self._store = store
        self._on_commit = on_commit
        self._queue: queue.Queue[Waiting | None] = queue.Queue(_MAX_WAITING)
        self._jobs: deque[tuple[Callable[[EventStore], Any], Future[Any]]] = deque()
        self._door = threading.Lock()
        self._closing = False
        self.writable = True
        self._final = False
        self._loose_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="segue-writer", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[Event], *, force: bool = True) -> "Future[AppendResult]":
        """Stores a request's events, all or none; the future holds the receipt once they are on disk, or without
        ``force`` once they are with the operating system, which forces them to disk within a second.

        Raises Problem: 503 when too many wait already or the server stops. The future raises Problem: 409 when an id is
        taken by another body, 503 when the log cannot be written.
        """
        future: Future[AppendResult] = Future()
        with self._door:
            if self._closing:
                raise unavailable("The server is stopping: send the events again in a moment.")
            try:
                self._queue.put_nowait((events, future, force))
            except queue.Full:
                raise unavailable(
                    f"{_MAX_WAITING} requests wait to be stored: send the events again in a moment."
                ) from None
        return future

    def run(self, job: Callable[[EventStore], T]) -> "Future[T]":
        """Does something with the store between two commits, as nobody else may write; the future holds its result.

        Raises Problem (503) as ``submit``.
        """
        done: Future[T] = Future()
        self._jobs.append((job, done))
        try:
            self.submit([])  # an empty request wakes the thread
        except BaseException:
            done.cancel()
            raise
        return done

    def close(self) -> None:
        """Stores what waits, then ends the thread. The store stays open."""
        with self._door:
            if not self._closing:
                self._closing = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=self._patience_s())
            except queue.Empty:
                self._probe()
                continue
            group = self._group(first)
            if group:
                self._commit(group)
            self._do_jobs()
            if self._closing and self._queue.empty():
                return

    def _patience_s(self) -> float | None:
        """How long to wait for a request before the disk must be seen to."""
        if not self.writable:
            return _RETRY_S
        if self._loose_since_s is None:
            return None
        return max(0.0, self._loose_since_s + _FORCE_S - time.monotonic())

    def _force(self, group: list[Waiting]) -> bool:
        """Whether this commit waits for the disk: somebody asks for it, or what did not ask has waited long enough."""
        return any(force for _, _, force in group) or self._patience_s() == 0.0

    def _group(self, first: Waiting | None) -> list[Waiting]:
        """Whatever waits by now, up to a number of events."""
        group: list[Waiting] = []
        size = 0
        following = first
        while following is not None:
            group.append(following)
            size += len(following[0])
            if size >= _MAX_GROUP:
                break
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
        return group

    def _commit(self, group: list[Waiting]) -> None:
        outcomes: Sequence[AppendResult | Exception]
        try:
            if self._final:
                raise unavailable(_BROKEN)
            force = self._force(group)
            outcomes, stored = self._store.append([events for events, _, _ in group], force=force)
            self.writable = True
            if not self._store.unsynced:
                self._loose_since_s = None
            elif self._loose_since_s is None:
                self._loose_since_s = time.monotonic()
            self._on_commit(stored)
        except apsw.Error as error:
            self._failed(error)
            outcomes = [unavailable(_BROKEN if self._final else _REFUSED)] * len(group)
        except Exception as error:  # the thread must outlive anything, and every waiter must hear of it
            outcomes = [error] * len(group)
        for (_, future, _), outcome in zip(group, outcomes, strict=True):
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _do_jobs(self) -> None:
        while self._jobs:
            job, future = self._jobs.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job(self._store))
            except apsw.Error as error:
                self._failed(error)
                future.set_exception(unavailable(_BROKEN if self._final else _REFUSED))
            except Exception as error:  # the thread must outlive anything
                future.set_exception(error)

    def _failed(self, error: apsw.Error) -> None:
        self.writable = False
        self._final = self._final or error.extendedresult in _FINAL  # type: ignore[attr-defined]

    def _probe(self) -> None:
        if self._final:
            return
        try:
            self._store.probe()
            self.writable = True
            self._loose_since_s = None
        except apsw.Error as error:
            self._failed(error)


_REFUSED = "The event log cannot be written, nothing was stored: is the disk full? Send the events again later."
_BROKEN = "The disk failed to keep what was written, nothing more is stored: restart the server on a sound disk."
