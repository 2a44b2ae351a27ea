"""Group commit: requests wait in a queue, and one thread stores them together with one fsync before any response."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import apsw

from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.store.event import Event
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.event_store import AppendResult, EventStore
from segue.serving.store.server_clock import ServerClock

_MAX_WAITING = 4096
_MAX_GROUP = 4096
_RETRY_S = 1.0
_SYNC_DELAY_S = 0.5
"""Time until events acknowledged with durability "memory" are forced to disk, in seconds, unless a commit with "fsync"
comes first."""
_FSYNC_ERRORS = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}

T = TypeVar("T")


def is_fsync_error(error: BaseException) -> bool:
    """Return whether a disk failed to keep written pages, so that no later write can be trusted."""
    return getattr(error, "extendedresult", None) in _FSYNC_ERRORS


class _WaitingRequest(NamedTuple):
    """A request in the queue: its events, the future of its result, and whether it must be on disk first."""

    events: Sequence[Event]
    future: "Future[AppendResult]"
    force: bool


class _WaitingJob(NamedTuple):
    """A job in the queue, and the future of its result."""

    job: Callable[[EventStore], Any]
    future: "Future[Any]"


class GroupCommitWriter:
    """Only writer of an event store.

    After a failed write no event is acknowledged until a write succeeds again. After a failed fsync none is
    acknowledged any more, because the operating system may have dropped the pages that it could not write.
    """

    def __init__(
        self,
        store: EventStore,
        on_commit: Callable[[Sequence[StoredEventRow]], None],
        without_erased: Callable[[Sequence[Sequence[Event]]], Sequence[Sequence[Event]]] = lambda batches: batches,
        refusal: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Start the writer's thread.

        Args:
            store: the event store.
            on_commit: called in the writer's thread with the new events of a commit, before their requests are
                acknowledged. A client therefore finds an acknowledged event in the next response.
            without_erased: removes the events of erased users from the batches of a commit. Called in the writer's
                thread, which also erases: no event is stored behind the erasure that it was sent before.
            refusal: returns the sentence that refuses events while there is no space for them (507), else None.
        """
        self._store = store
        self._on_commit = on_commit
        self._without_erased = without_erased
        self._refusal = refusal
        self._queue: queue.Queue[_WaitingRequest | _WaitingJob | None] = queue.Queue(_MAX_WAITING)
        self._submitting = threading.Lock()
        self._closing = False
        self.writable = True
        self._fsync_failed = False
        self._unsynced_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="segue-writer", daemon=True)
        self._thread.start()

    @property
    def clock(self) -> ServerClock:
        """Clock that stamps the events without a timestamp."""
        return self._store.clock

    def submit(self, events: Sequence[Event], *, force: bool = True) -> "Future[AppendResult]":
        """Store the events of a request, all or none.

        Args:
            events: validated events.
            force: resolve the future after the events are forced to disk. Otherwise it is resolved after they are
                handed to the operating system, and they are forced to disk within a second.

        Returns:
            A future with the numbers of new and duplicate events. It raises Problem: 409 for an id that is taken by
            another body, 503 if the log cannot be written, 507 if there is no space for it.

        Raises:
            Problem: 503 if too many requests wait or the server stops.
        """
        future: Future[AppendResult] = Future()
        self._put(_WaitingRequest(events, future, force))
        return future

    def run(self, job: Callable[[EventStore], T]) -> "Future[T]":
        """Run a job on the store in the writer's thread, after the requests that wait and before later ones.

        Args:
            job: function of the store.

        Returns:
            A future with its result. It raises Problem 503 if the log cannot be written, or the job's own exception.

        Raises:
            Problem: 503 as for ``submit``.
        """
        future: Future[T] = Future()
        self._put(_WaitingJob(job, future))
        return future

    def _put(self, entry: _WaitingRequest | _WaitingJob) -> None:
        with self._submitting:
            if self._closing:
                raise unavailable("The server is stopping: send the request again in a moment.")
            try:
                self._queue.put_nowait(entry)
            except queue.Full:
                raise unavailable(
                    f"{_MAX_WAITING} requests wait to be stored: send the request again in a moment."
                ) from None

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
            group, job = self._group(first)
            if group:
                self._commit(group)
            if job is not None:
                self._run_job(job)
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

    def _group(self, first: _WaitingRequest | _WaitingJob | None) -> tuple[list[_WaitingRequest], _WaitingJob | None]:
        """Take the waiting requests from the queue, up to ``_MAX_GROUP`` events or the next job, and that job."""
        group: list[_WaitingRequest] = []
        size = 0
        entry = first
        while entry is not None:
            if isinstance(entry, _WaitingJob):
                return group, entry
            group.append(entry)
            size += len(entry.events)
            if size >= _MAX_GROUP:
                break
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                break
        return group, None

    def _commit(self, group: list[_WaitingRequest]) -> None:
        outcomes: Sequence[AppendResult | Exception]
        try:
            if self._fsync_failed:
                raise unavailable(_BROKEN)
            if (refusal := self._refusal()) is not None:
                self.writable = False
                raise Problem(507, refusal, {"Retry-After": "60"})
            force = self._must_sync(group)
            batches = self._without_erased([request.events for request in group])
            appended, stored = self._store.append(batches, force=force)
            self.writable = True
            if not self._store.unsynced:
                self._unsynced_since_s = None
            elif self._unsynced_since_s is None:
                self._unsynced_since_s = time.monotonic()
            self._on_commit(stored)
            outcomes = [
                replace(outcome, erased=len(request.events) - len(batch))
                if isinstance(outcome, AppendResult) and len(batch) < len(request.events)
                else outcome
                for request, batch, outcome in zip(group, batches, appended, strict=True)
            ]
        except apsw.Error as error:
            self._failed(error)
            outcomes = [unavailable(_BROKEN if self._fsync_failed else _REFUSED)] * len(group)
        except OSError:  # of the erasure list
            outcomes = [unavailable(_REFUSED)] * len(group)
        except Exception as error:  # the thread must outlive every error, and each waiting request must get it
            outcomes = [error] * len(group)
        _resolve(group, outcomes)

    def _run_job(self, waiting: _WaitingJob) -> None:
        job, future = waiting
        if not future.set_running_or_notify_cancel():
            return
        try:
            if self._fsync_failed:
                raise unavailable(_BROKEN)
            future.set_result(job(self._store))
        except apsw.Error as error:
            self._failed(error)
            future.set_exception(unavailable(_BROKEN if self._fsync_failed else _REFUSED))
        except Exception as error:  # the thread must outlive every error
            future.set_exception(error)

    def _failed(self, error: apsw.Error) -> None:
        self.writable = False
        self._fsync_failed = self._fsync_failed or is_fsync_error(error)

    def _probe(self) -> None:
        if self._fsync_failed:
            return
        try:
            self._store.probe()
            self.writable = self._refusal() is None
            self._unsynced_since_s = None
        except apsw.Error as error:
            self._failed(error)


def _resolve(group: list[_WaitingRequest], outcomes: Sequence[AppendResult | Exception]) -> None:
    for request, outcome in zip(group, outcomes, strict=True):
        if not request.future.set_running_or_notify_cancel():
            continue
        if isinstance(outcome, Exception):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)


_REFUSED = "The event log cannot be written, nothing was stored: is the disk full? Send the events again later."
_BROKEN = "The disk failed to keep written events, and no further event is stored: restart the server on a sound disk."
