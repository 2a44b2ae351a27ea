"""Sheds load at the door: once requests wait too long for the event loop itself, new ones are refused before they cost
anything."""

import asyncio
import time
from collections.abc import Callable

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from segue.serving.problems import Problem

BUSY = Problem(503, "The server is busy: ask again in a moment.", {"Retry-After": "1"})
_BEAT_S = 0.02
_BODY = msgspec.json.encode(BUSY.body())
_HEADERS = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(_BODY)).encode())]
_HEADERS += [(name.lower().encode(), value.encode()) for name, value in BUSY.headers.items()]


class Pulse:
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


class Shed:
    """The application behind a door that is shut while ``busy(path)``: nothing is read, looked up or decoded.

    When four times too much comes, most of all requests are refused, and what a refusal costs is taken from the answers
    of the others.
    """

    def __init__(self, app: ASGIApp, busy: Callable[[str], bool], refused: Callable[[str], None]) -> None:
        """``refused`` hears of each path at which somebody was sent away."""
        self._app = app
        self._busy = busy
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI call."""
        if scope["type"] == "http" and self._busy(scope["path"]):
            self._refused(scope["path"])
            await send({"type": "http.response.start", "status": BUSY.status, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _BODY})
        else:
            await self._app(scope, receive, send)
