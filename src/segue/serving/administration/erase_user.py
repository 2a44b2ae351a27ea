"""Erasure of users on request: requests that wait together share one pass through the steps, and one compaction."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from segue.data.erasure_list import ErasureList
from segue.serving.administration.erasure_steps import ErasureSteps
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.store.event_erasure import ErasureRecord
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter, is_fsync_error

_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
"""Pause before a compaction is tried again, in seconds; doubled each time."""


def open_eraser(store: EventStore, notify: Callable[[str], None]) -> "UserEraser":
    """Open the erasure list beside an event log, and complete the erasures that were interrupted.

    Args:
        store: event store.
        notify: receives a sentence about each irregularity.

    Raises:
        ValueError: the list or its key is damaged or missing, or the disk refuses.
    """
    steps = ErasureSteps(store, ErasureList.open(store.path.parent, has_erased=store.erasure.has_records))
    for message in (steps.erasures.warning(), *steps.resume()):
        if message is not None:
            notify(message)
    return UserEraser(steps)


class UserEraser:
    """Erasure of users in the writer's thread. ``submit`` may be called from any thread."""

    def __init__(self, steps: ErasureSteps) -> None:
        """Make an eraser; ``start`` must be called before ``submit``.

        Args:
            steps: steps of an erasure.
        """
        self.steps = steps
        steps.on_compaction_due = self._retry_later
        self._writer: GroupCommitWriter | None = None
        self._waiting: list[tuple[str, Future[ErasureRecord]]] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._retry_s = _RETRY_S

    def start(self, writer: GroupCommitWriter, recorder: AttributionRecorder | None) -> None:
        """Accept erasures.

        Args:
            writer: writer of the event store, in whose thread users are erased.
            recorder: recorder whose rows are erased too; None: lists are not recorded.
        """
        self._writer, self.steps.recorder = writer, recorder
        if self.steps.store.erasure.compaction_due:
            self._retry_later()

    def close(self) -> None:
        """Cancel the waiting retry; the next start completes the compaction."""
        with self._lock:
            self._writer = None
            if self._timer is not None:
                self._timer.cancel()

    def submit(self, user_id: str) -> "Future[ErasureRecord]":
        """Erase a user, also one without stored events, because an older log may still hold some.

        Deployed models stay trained on the user's events until they are trained again with the list. A cancelled
        future does not stop the erasure.

        Args:
            user_id: the user.

        Returns:
            A future with the record of the complete erasure. It raises Problem 503 if a disk refuses. What was done
            until then stays, and a repeated request completes it.

        Raises:
            Problem: 503 if too many requests wait or the server stops.
        """
        writer, future = self._writer, Future[ErasureRecord]()
        if writer is None:
            raise unavailable("The server is stopping: send the request again in a moment.")
        with self._lock:
            self._waiting.append((user_id, future))
        try:
            job = writer.run(lambda store: self._erase_waiting())
        except Problem as problem:
            self._fail([future], problem)
            raise
        job.add_done_callback(lambda done: self._fail([future], done.exception()))
        return future

    def _erase_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            records = self.steps.erase(list(dict.fromkeys(user for user, _ in waiting)))
        except Exception as error:
            for _, future in waiting:
                _settle(future, error=error)
            self._retry_later()
            if is_fsync_error(error):
                raise
            return
        for user, future in waiting:
            _settle(future, records[user])

    def _retry_later(self) -> None:
        """Compact the log after a pause, in the writer's thread."""
        with self._lock:
            if self._writer is None or (self._timer is not None and self._timer.is_alive()):
                return
            self._timer = threading.Timer(self._retry_s, self._retry)
            self._timer.daemon = True
            self._timer.start()
            self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S)

    def _retry(self) -> None:
        writer = self._writer
        try:
            if writer is not None and writer.run(_compact_if_due).result():
                self._retry_s = _RETRY_S
                return
        except Exception:  # of any type: the disk still refuses, or the server stops
            pass
        with self._lock:
            self._timer = None
        self._retry_later()

    def _fail(self, futures: Sequence["Future[Any]"], error: BaseException | None) -> None:
        """Fail erasures that still wait although their job has ended."""
        if error is None:
            return
        with self._lock:
            lost = [future for _, future in self._waiting if future in futures]
            self._waiting = [entry for entry in self._waiting if entry[1] not in futures]
        for future in lost:
            _settle(future, error=error)


def _compact_if_due(store: EventStore) -> bool:
    """Return whether no deleted byte is left. A disk without room for a copy of the log must not stop events."""
    try:
        return not store.erasure.compaction_due or store.erasure.compact()
    except Exception as error:
        if is_fsync_error(error):
            raise
        return False


def _settle(
    future: "Future[ErasureRecord]", record: ErasureRecord | None = None, error: BaseException | None = None
) -> None:
    """Set the result of an erasure, unless its client is gone."""
    if not future.set_running_or_notify_cancel():
        return
    if record is not None:
        future.set_result(record)
    elif isinstance(error, Problem):
        future.set_exception(error)
    else:
        future.set_exception(
            unavailable(f"The erasure is not complete ({_cause(error)}): send the request again later.")
        )


def _cause(error: BaseException | None) -> str:
    """Return the cause of a failure without a path or an id."""
    if isinstance(error, OSError):
        return f"the erasure list: {error.strerror}"
    return str(error).rstrip(".") if isinstance(error, ValueError) else f"the event log: {type(error).__name__}"
