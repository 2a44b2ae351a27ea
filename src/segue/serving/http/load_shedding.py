"""Whether the event loop keeps up: once requests wait too long for the loop itself, new ones are refused."""

import asyncio
import time

from segue.serving.schemas.problems import Problem

BUSY = Problem(503, "The server is busy: ask again in a moment.", {"Retry-After": "1"})
_BEAT_S = 0.02


class EventLoopLag:
    """How late the event loop is with what it has to do: requests wait in it before any code of ours sees them."""

    def __init__(self, late_ms: float = 250.0) -> None:
        self.late_ms = late_ms
        """Requests are refused while the loop is later than this."""
        self._due_s = float("inf")

    def lag_ms(self) -> float:
        """How long ago the loop should have come round, and has not."""
        return max(0.0, (time.monotonic() - self._due_s) * 1e3)

    def admit(self) -> None:
        """Problem (503) while the loop is late."""
        if self.lag_ms() > self.late_ms:
            raise BUSY.with_traceback(None)  # one object: without this each raise would add to what it remembers

    async def beat(self) -> None:
        """Runs beside the server, for ever."""
        while True:
            self._due_s = time.monotonic() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
