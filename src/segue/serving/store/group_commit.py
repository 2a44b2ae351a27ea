"""Group commit: requests wait in a queue, and one thread stores them together with one fsync before any response."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

import apsw

from segue.serving.schemas.problems import unavailable
from segue.serving.store.event import Event
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.event_store import AppendResult, EventStore

_MAX_WAITING = 4096
_MAX_GROUP = 4096
_RETRY_S = 1.0
_SYNC_DELAY_S = 0.5
"""Time until events acknowledged with durability "memory" are forced to disk, in seconds, unless a commit with "fsync"
comes first."""
_FSYNC_ERRORS = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}

T = TypeVar("T")


class _WaitingRequest(NamedTuple):
    """A request in the queue: its events, the future of its result, and whether it must be on disk first."""

    events: Sequence[Event]
    future: "Future[AppendResult]"
    force: bool


class GroupCommitWriter:
    """Only writer of an event store.

    After a failed write no event is acknowledged until a write succeeds again. After a failed fsync none is
    acknowledged any more, because the operating system may have dropped the pages that it could not write.
    """

    def __init__(self, store: EventStore, on_commit: Callable[[Sequence[StoredEventRow]], None]) -> None:
        """Start the writer's thread.

        Args:
            store: the event store.
            on_commit: called in the writer's thread with the new events of a commit, before their requests are
                acknowledged. A client therefore finds an acknowledged event in the next response.
        """
        self._store = store
        self._on_commit = on_commit
        self._queue: queue.Queue[_WaitingRequest | None] = queue.Queue(_MAX_WAITING)
        self._jobs: deque[tuple[Callable[[EventStore], Any], Future[Any]]] = deque()
        self._submitting = threading.Lock()
        self._closing = False
        self.writable = True
        self._fsync_failed = False
        self._unsynced_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="segue-writer", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[Event], *, force: bool = True) -> "Future[AppendResult]":
        """Store the events of a request, all or none.

        Args:
            events: validated events.
            force: resolve the future after the events are forced to disk. Otherwise it is resolved after they are
                handed to the operating system, and they are forced to disk within a second.

        Returns:
            A future with the numbers of new and duplicate events. It raises Problem: 409 for an id that is taken by
            another body, 503 if the log cannot be written.

        Raises:
            Problem: 503 if too many requests wait or the server stops.
        """
        future: Future[AppendResult] = Future()
        with self._submitting:
            if self._closing:
                raise unavailable("The server is stopping: send the events again in a moment.")
            try:
                self._queue.put_nowait(_WaitingRequest(events, future, force))
            except queue.Full:
                raise unavailable(
                    f"{_MAX_WAITING} requests wait to be stored: send the events again in a moment."
                ) from None
        return future

    def run(self, job: Callable[[EventStore], T]) -> "Future[T]":
        """Run a job on the store between two commits, in the writer's thread; the future holds its result.

        Raises:
            Problem: 503 as for ``submit``.
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
        """Store the waiting requests, then end the thread. The store stays open."""
        with self._submitting:
            if not self._closing:
                self._closing = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=self._timeout_s())
            except queue.Empty:
                self._probe()
                continue
            group = self._group(first)
            if group:
                self._commit(group)
            self._run_jobs()
            if self._closing and self._queue.empty():
                return

    def _timeout_s(self) -> float | None:
        """Return the seconds to wait for a request before the disk must be probed or synced; None: no limit."""
        if not self.writable:
            return _RETRY_S
        if self._unsynced_since_s is None:
            return None
        return max(0.0, self._unsynced_since_s + _SYNC_DELAY_S - time.monotonic())

    def _must_sync(self, group: list[_WaitingRequest]) -> bool:
        """Return whether this commit waits for the disk: a request demands it, or unsynced events are old enough."""
        return any(request.force for request in group) or self._timeout_s() == 0.0

    def _group(self, first: _WaitingRequest | None) -> list[_WaitingRequest]:
        """Take the waiting requests from the queue, up to ``_MAX_GROUP`` events."""
        group: list[_WaitingRequest] = []
        size = 0
        request = first
        while request is not None:
            group.append(request)
            size += len(request.events)
            if size >= _MAX_GROUP:
                break
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                break
        return group

    def _commit(self, group: list[_WaitingRequest]) -> None:
        outcomes: Sequence[AppendResult | Exception]
        try:
            if self._fsync_failed:
                raise unavailable(_BROKEN)
            force = self._must_sync(group)
            outcomes, stored = self._store.append([request.events for request in group], force=force)
            self.writable = True
            if not self._store.unsynced:
                self._unsynced_since_s = None
            elif self._unsynced_since_s is None:
                self._unsynced_since_s = time.monotonic()
            self._on_commit(stored)
        except apsw.Error as error:
            self._failed(error)
            outcomes = [unavailable(_BROKEN if self._fsync_failed else _REFUSED)] * len(group)
        except Exception as error:  # the thread must outlive every error, and each waiting request must get it
            outcomes = [error] * len(group)
        for request, outcome in zip(group, outcomes, strict=True):
            if not request.future.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, Exception):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)

    def _run_jobs(self) -> None:
        while self._jobs:
            job, future = self._jobs.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job(self._store))
            except apsw.Error as error:
                self._failed(error)
                future.set_exception(unavailable(_BROKEN if self._fsync_failed else _REFUSED))
            except Exception as error:  # the thread must outlive every error
                future.set_exception(error)

    def _failed(self, error: apsw.Error) -> None:
        self.writable = False
        self._fsync_failed = self._fsync_failed or error.extendedresult in _FSYNC_ERRORS  # type: ignore[attr-defined]

    def _probe(self) -> None:
        if self._fsync_failed:
            return
        try:
            self._store.probe()
            self.writable = True
            self._unsynced_since_s = None
        except apsw.Error as error:
            self._failed(error)


_REFUSED = "The event log cannot be written, nothing was stored: is the disk full? Send the events again later."
_BROKEN = "The disk failed to keep written events, and no further event is stored: restart the server on a sound disk."
