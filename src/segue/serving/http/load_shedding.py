"""Load shedding: requests are refused while the event loop is too late to answer them in time."""

import asyncio
import time

from segue.serving.schemas.problems import Problem

BUSY = Problem(503, "The server is busy: try again in a moment.", {"Retry-After": "1"})
_BEAT_S = 0.02


class EventLoopLag:
    """Delay of the event loop: requests wait in it before any handler sees them.

    Args:
        limit_ms: delay above which requests are refused, milliseconds.
    """

    def __init__(self, limit_ms: float = 250.0) -> None:
        self.limit_ms = limit_ms
        self._due_s = float("inf")

    def lag_ms(self) -> float:
        """Return the milliseconds by which the next heartbeat is overdue."""
        return max(0.0, (time.monotonic() - self._due_s) * 1e3)

    def admit(self) -> None:
        """Raise Problem 503 while the delay is above the limit."""
        if self.lag_ms() > self.limit_ms:
            raise BUSY.with_traceback(None)  # one object: each raise would lengthen its traceback

    async def beat(self) -> None:
        """Measure the delay for as long as the server runs."""
        while True:
            self._due_s = time.monotonic() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
