"""Questions that wait are answered together: slow ones by a thread beside the event loop, quick ones by the loop itself
between two looks at its connections. When too much waits, new ones are refused at once, and whoever has waited too long
gets a quick answer instead."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from segue.serving.config import BatchingConfig
from segue.serving.schemas.problems import unavailable

Q = TypeVar("Q")
A = TypeVar("A")


_LATEST = 0.2
"""Weight of the latest batch in the pace."""


_QUICK_MS = 5.0
"""A question that takes at most so long is answered by the event loop: handing it to a thread and back, and two threads
that wait for one interpreter, take longer than the answer delays whatever else the loop has to do."""


class DeadlineExceeded(TimeoutError):  # noqa: N818 - said of the answer, not of the program
    """No answer within ``slow_ms``."""


@dataclass(slots=True)
class _Waiting(Generic[Q, A]):
    question: Q
    since_s: float
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[A]"


class MicroBatcher(Generic[Q, A]):
    """Asks ``work`` for the answers to all questions that wait, one batch after the other, never two at once: in a
    thread of its own, or, while its answers are quick, in the event loop of whoever asks.

    Nobody waits for a batch to fill: the first question is taken up at once, and those that come meanwhile are the next
    batch, so that batches grow with the load. ``work`` gives an answer or an exception for each question; where it
    raises itself, everybody in the batch hears of it, and the thread goes on.
    """

    def __init__(
        self, work: Callable[[Sequence[Q]], Sequence[A | Exception]], config: BatchingConfig | None = None
    ) -> None:
        self.config = config or BatchingConfig()
        self._work = work
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._batch_ms = 0.0
        """What a batch takes, the latest ones counting most."""
        self._each_ms = float("inf")
        """The same for one question; nobody knows at first."""
        self._working = threading.Lock()
        self._due: asyncio.AbstractEventLoop | None = None
        """The loop whose turn it is: one batch in each of its rounds, so that whoever is to be refused hears of it."""
        self._unanswered: deque[_Waiting[Q, A]] = deque()
        """Everybody who asked, the oldest first, until the sweep: one alarm for all costs less than one for each."""
        self._sweep_due: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="segue-scorer", daemon=True)
        self._thread.start()

    def oldest_age_ms(self) -> float:
        """How long the oldest question has waited."""
        try:
            return (time.monotonic() - self._queue[0].since_s) * 1e3
        except IndexError:
            return 0.0

    def expected_wait_ms(self) -> float:
        """How long a question that comes now will wait for those before it. The oldest one's age says so too late: when
        four times too much comes, whoever is let in until the first one has waited long waits four times as long."""
        return len(self._queue) / self.config.max_batch_size * self._batch_ms

    @property
    def _quick(self) -> bool:
        return self._each_ms <= _QUICK_MS

    @property
    def busy(self) -> bool:
        """Whether whoever comes now is refused."""
        return (
            len(self._queue) >= self.config.queue_size
            or max(self.oldest_age_ms(), self.expected_wait_ms()) > self.config.max_queue_delay_ms
        )

    async def submit(self, question: Q) -> A:
        """The answer. Problem (503) where too much waits already; TooSlow where it takes too long; and whatever
        ``work`` said."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        waiting = _Waiting(question, time.monotonic(), loop, future)
        with self._ready:
            if self._closing:
                raise unavailable("The server is stopping: ask again in a moment.")
            if self.busy:
                raise unavailable(f"{len(self._queue)} questions wait to be answered: ask again in a moment.")
            self._queue.append(waiting)
            if self._quick:
                self._turn_soon(loop)  # behind those who ask in this round of the loop: they are answered too
            else:
                self._ready.notify()
        self._unanswered.append(waiting)
        if self._sweep_due is None or self._sweep_due.is_closed():
            self._sweep_due = loop
            loop.call_later(self.config.timeout_ms / 1e3, self._sweep)
        return await future

    def close(self) -> None:
        """Answers what waits, then ends the thread, and lets go of whoever works: a version that left would otherwise
        stay in memory with its batcher until somebody looks for cycles, which a server does hardly ever."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()
        self._work = _nobody

    def _run(self) -> None:
        while batch := self._next():
            with self._working:
                self._answer(batch)
            with self._ready:
                if self._queue and self._quick:  # it was the loop's turn meanwhile
                    with contextlib.suppress(RuntimeError):  # its loop ended, and with it whoever asked
                        self._queue[0].loop.call_soon_threadsafe(self._turn)

    def _sweep(self) -> None:
        """Gives up whoever has waited too long, and comes again when the next one will have."""
        self._sweep_due = None
        loop, now, slow_s = asyncio.get_running_loop(), time.monotonic(), self.config.timeout_ms / 1e3
        while self._unanswered:
            oldest = self._unanswered[0]
            if not (oldest.future.done() or oldest.loop.is_closed()):
                if now < oldest.since_s + slow_s:
                    self._sweep_due = loop
                    loop.call_later(oldest.since_s + slow_s - now, self._sweep)
                    return
                oldest.future.set_exception(DeadlineExceeded())
            self._unanswered.popleft()

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._due is None or self._due.is_closed():
            self._due = loop
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        """A batch in the event loop, unless the thread is at work just now."""
        self._due = None
        if not self._queue or not self._working.acquire(blocking=False):
            return
        loop = asyncio.get_running_loop()
        try:
            with self._ready:
                batch = [self._queue.popleft() for _ in range(min(self.config.max_batch_size, len(self._queue)))]
            if alive := [one for one in batch if not one.future.done()]:
                self._answer(alive, loop)
        finally:
            self._working.release()
        with self._ready:
            if self._queue and self._quick:
                self._turn_soon(loop)
            elif self._queue:
                self._ready.notify()

    def _answer(self, batch: "list[_Waiting[Q, A]]", here: asyncio.AbstractEventLoop | None = None) -> None:
        """One batch, in a thread or ``here``, in a loop."""
        began = time.monotonic()
        try:
            answers: Sequence[A | Exception] = self._work([one.question for one in batch])
        except Exception as error:  # whoever works must outlive anything, and everybody must hear of it
            answers = [error] * len(batch)
        took_ms = (time.monotonic() - began) * 1e3
        each_ms = took_ms / len(batch)
        self._each_ms = each_ms if self._batch_ms == 0 else self._each_ms + (each_ms - self._each_ms) * _LATEST
        self._batch_ms += (took_ms - self._batch_ms) * (1.0 if self._batch_ms == 0 else _LATEST)
        for loop in {one.loop for one in batch}:
            pairs = [(one, a) for one, a in zip(batch, answers, strict=True) if one.loop is loop]
            if loop is here:
                _settle(pairs)
                continue
            try:
                loop.call_soon_threadsafe(_settle, pairs)
            except RuntimeError:  # the loop ended meanwhile, and with it whoever asked
                continue

    def _next(self) -> list[_Waiting[Q, A]]:
        """What waits, the oldest first; nothing once the batcher is closed and nobody waits. Questions whose asker has
        given up are passed over."""
        while True:
            with self._ready:
                while (not self._queue or self._quick) and not self._closing:
                    self._ready.wait()
                batch = [self._queue.popleft() for _ in range(min(self.config.max_batch_size, len(self._queue)))]
            if not batch:
                return batch
            if alive := [one for one in batch if not one.future.done()]:
                return alive


def _settle(pairs: Sequence[tuple[_Waiting[Q, A], A | Exception]]) -> None:
    for waiting, answer in pairs:
        if waiting.future.done():
            continue
        if isinstance(answer, Exception):
            waiting.future.set_exception(answer)
        else:
            waiting.future.set_result(answer)


def _nobody(questions: Sequence[Any]) -> Sequence[Any]:
    raise unavailable("The server is stopping: ask again in a moment.")
