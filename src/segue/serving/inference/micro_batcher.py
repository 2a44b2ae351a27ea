"""Micro-batching: waiting requests are scored together.

Slow batches run in a thread beside the event loop, quick ones in the event loop itself, between two rounds of its
connections. Under overload new requests are refused at once, and a request that waits too long raises
``DeadlineExceeded``, upon which the engine returns a fallback list.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from segue.serving.config import BatchingConfig
from segue.serving.schemas.problems import Problem, unavailable

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")

_SMOOTHING = 0.2
"""Weight of the latest batch in the exponentially smoothed durations."""
_QUICK_MS = 5.0
"""Largest time per request that is scored in the event loop, in milliseconds. Below it, the hand-over to a thread and
back, with two threads waiting for one interpreter, takes longer than the scoring delays the loop."""


class DeadlineExceeded(TimeoutError):  # noqa: N818 - about the response, not the program
    """No response within ``timeout_ms``."""


@dataclass(slots=True)
class _WaitingQuery(Generic[Q, A]):
    query: Q
    since_s: float
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[A]"


class MicroBatcher(Generic[Q, A]):
    """Queue of requests that are scored in batches, one batch at a time.

    Batches run in a thread of their own or, while they are quick, in the event loop of the caller. A batch is never
    delayed until it is full: the first request starts at once, and those that arrive meanwhile are the next batch. So
    batches grow with the load.
    """

    def __init__(
        self, work: Callable[[Sequence[Q]], Sequence[A | Exception]], config: BatchingConfig | None = None
    ) -> None:
        """Start the scoring thread.

        Args:
            work: function that returns a result or an exception for each query of a batch. If it raises itself, each
                query of the batch gets the exception, and the thread goes on.
            config: batch size, queue size and deadlines; None: the defaults.
        """
        self.config = config or BatchingConfig()
        self._work = work
        self._queue: deque[_WaitingQuery[Q, A]] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._batch_ms = 0.0
        """Smoothed duration of a batch."""
        self._each_ms = float("inf")
        """Smoothed duration per request; unknown at first."""
        self._scoring = threading.Lock()
        self._batch_due: asyncio.AbstractEventLoop | None = None
        """Event loop with a scheduled batch: one per round, so that refusals are sent in between."""
        self._unfinished: deque[_WaitingQuery[Q, A]] = deque()
        """Unfinished requests, oldest first. One timer sweeps all of them, which costs less than one timer each."""
        self._sweep_due: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="segue-scorer", daemon=True)
        self._thread.start()

    def oldest_age_ms(self) -> float:
        """Return the age of the oldest waiting request, in milliseconds."""
        try:
            return (time.monotonic() - self._queue[0].since_s) * 1e3
        except IndexError:
            return 0.0

    def expected_wait_ms(self) -> float:
        """Return the expected wait of a new request, in milliseconds.

        The age of the oldest request alone shows overload too late: at four times the capacity, the requests admitted
        until the first one has aged wait four times as long.
        """
        return len(self._queue) / self.config.max_batch_size * self._batch_ms

    @property
    def _is_quick(self) -> bool:
        return self._each_ms <= _QUICK_MS

    @property
    def busy(self) -> bool:
        """Return whether a new request is refused."""
        return (
            len(self._queue) >= self.config.queue_size
            or max(self.oldest_age_ms(), self.expected_wait_ms()) > self.config.max_queue_delay_ms
        )

    async def submit(self, query: Q) -> A:
        """Queue a query and return its result.

        Raises:
            Problem: 503 if too many requests wait, or the server stops.
            DeadlineExceeded: no result within ``timeout_ms``.
            Exception: the exception that ``work`` returned for this query.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        waiting = _WaitingQuery(query, time.monotonic(), loop, future)
        with self._ready:
            if self._closing:
                raise unavailable("The server is stopping: try again in a moment.")
            if self.busy:
                raise unavailable(f"{len(self._queue)} requests wait to be scored: try again in a moment.")
            self._queue.append(waiting)
            if self._is_quick:
                self._schedule_batch(loop)  # after the other requests of this round of the loop, so that they are in it
            else:
                self._ready.notify()
        self._unfinished.append(waiting)
        if self._sweep_due is None or self._sweep_due.is_closed():
            self._sweep_due = loop
            loop.call_later(self.config.timeout_ms / 1e3, self._sweep)
        try:
            return await future
        finally:
            # An exception refers to this frame: it would refer to itself, and stay until cycles are collected.
            del future, waiting

    def close(self) -> None:
        """Score the waiting requests, end the thread, and drop the reference to ``work``.

        Without that, a retired model stays in memory until the collector of cycles runs, which is rare in a server.
        """
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()
        self._work = _refuse

    def _run(self) -> None:
        while batch := self._next_batch():
            with self._scoring:
                self._score(batch)
            self._resume_in_loop()

    def run_alone(self, work: Callable[[], R]) -> R:
        """Run a function between two batches, in the calling thread, and return its result. Batches wait for it."""
        try:
            with self._scoring:
                return work()
        finally:
            self._resume_in_loop()

    def _resume_in_loop(self) -> None:
        """Schedule the batch that the event loop skipped while another thread was scoring."""
        with self._ready:
            if self._queue and self._is_quick:
                with contextlib.suppress(RuntimeError):  # the loop has ended, and its requests with it
                    self._queue[0].loop.call_soon_threadsafe(self._run_in_loop)

    def _sweep(self) -> None:
        """Raise ``DeadlineExceeded`` in requests that waited too long, and schedule the next sweep."""
        self._sweep_due = None
        loop, now, timeout_s = asyncio.get_running_loop(), time.monotonic(), self.config.timeout_ms / 1e3
        while self._unfinished:
            oldest = self._unfinished[0]
            if not (oldest.future.done() or oldest.loop.is_closed()):
                if now < oldest.since_s + timeout_s:
                    self._sweep_due = loop
                    loop.call_later(oldest.since_s + timeout_s - now, self._sweep)
                    return
                oldest.future.set_exception(DeadlineExceeded())
            self._unfinished.popleft()

    def _schedule_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._batch_due is None or self._batch_due.is_closed():
            self._batch_due = loop
            loop.call_soon(self._run_in_loop)

    def _run_in_loop(self) -> None:
        """Score a batch in the event loop, unless the thread is scoring one."""
        self._batch_due = None
        if not self._queue or not self._scoring.acquire(blocking=False):
            return
        loop = asyncio.get_running_loop()
        try:
            with self._ready:
                batch = [self._queue.popleft() for _ in range(min(self.config.max_batch_size, len(self._queue)))]
            if open_queries := [waiting for waiting in batch if not waiting.future.done()]:
                self._score(open_queries, loop)
        finally:
            self._scoring.release()
        with self._ready:
            if self._queue and self._is_quick:
                self._schedule_batch(loop)
            elif self._queue:
                self._ready.notify()

    def _score(self, batch: "list[_WaitingQuery[Q, A]]", current: asyncio.AbstractEventLoop | None = None) -> None:
        """Score one batch, in the thread (``current`` is None) or in the event loop ``current``."""
        started_s = time.monotonic()
        try:
            results: Sequence[A | Exception] = self._work([waiting.query for waiting in batch])
        except Exception as error:  # the thread must outlive every error, and each request must get it
            results = [error] * len(batch)
        took_ms = (time.monotonic() - started_s) * 1e3
        each_ms = took_ms / len(batch)
        self._each_ms = each_ms if self._batch_ms == 0 else self._each_ms + (each_ms - self._each_ms) * _SMOOTHING
        self._batch_ms += (took_ms - self._batch_ms) * (1.0 if self._batch_ms == 0 else _SMOOTHING)
        for loop in {waiting.loop for waiting in batch}:
            pairs = [(waiting, result) for waiting, result in zip(batch, results, strict=True) if waiting.loop is loop]
            if loop is current:
                _settle(pairs)
                continue
            try:
                loop.call_soon_threadsafe(_settle, pairs)
            except RuntimeError:  # the loop has ended, and its requests with it
                continue

    def _next_batch(self) -> list[_WaitingQuery[Q, A]]:
        """Return the oldest waiting requests, without abandoned ones; empty after ``close`` with an empty queue."""
        while True:
            with self._ready:
                while (not self._queue or self._is_quick) and not self._closing:
                    self._ready.wait()
                batch = [self._queue.popleft() for _ in range(min(self.config.max_batch_size, len(self._queue)))]
            if not batch:
                return batch
            if open_queries := [waiting for waiting in batch if not waiting.future.done()]:
                return open_queries


def _settle(pairs: Sequence[tuple[_WaitingQuery[Q, A], A | Exception]]) -> None:
    for waiting, result in pairs:
        if waiting.future.done():
            continue
        if isinstance(result, Exception):
            # The traceback of a refusal names the frame that holds all results: without it there is no cycle.
            waiting.future.set_exception(result.with_traceback(None) if isinstance(result, Problem) else result)
        else:
            waiting.future.set_result(result)


def _refuse(queries: Sequence[Any]) -> Sequence[Any]:
    raise unavailable("The server is stopping: try again in a moment.")
