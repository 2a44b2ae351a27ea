"""One client's connection: uvicorn's HTTP protocol, and what a server that faces the open web needs besides. Headers
come in time and are not endless, a server that is busy says so for next to nothing, answers leave in one piece."""

import asyncio
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from segue.serving.admission import BUSY
from segue.serving.api import Door
from segue.serving.problems import Problem

HEADER_DEADLINE_S = 10.0
MOST_HEADER_BYTES = 65_536
CONNECTIONS = 8192
"""At once; slow ones are closed by their deadlines and must not keep others out until then."""


class _Refused:
    """Stands for a request that is refused: whatever else comes of it is passed over."""

    response_complete = True
    disconnected = True

    class message_event:  # noqa: N801 - as uvicorn calls it
        @staticmethod
        def set() -> None: ...


class Connection(HttpToolsProtocol):
    """When four times too much comes, most of all requests are refused, and what a refusal costs is taken from the
    answers of the others: so it happens here, before anything is read, looked up or started."""

    def __init__(
        self,
        door: Door,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._deadline: asyncio.TimerHandle | None = None
        """Set while a request's headers, or a body that nobody will read, are still to come."""
        self._header_bytes = 0
        self._path = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Joined(transport))  # type: ignore[arg-type]
        if len(self.connections) > CONNECTIONS:
            self.transport.close()
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiting = self._deadline is not None
        super().data_received(data)
        if waiting and self._deadline is not None and self.cycle is not _Refused:
            self._header_bytes += len(data)
            if self._header_bytes > MOST_HEADER_BYTES:
                self._close_with(Problem(431, f"The headers are larger than {MOST_HEADER_BYTES} bytes."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        if self._refuses():
            self.cycle = _Refused  # type: ignore[assignment]
            return
        self._arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.cycle is not _Refused:
            super().on_message_complete()
            return
        self._arrived()
        self._door.fleet.telemetry.requested(self._path, BUSY.status, 0.0)
        self.transport.write(_REFUSAL)
        self.on_response_complete()

    def on_response_complete(self) -> None:
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, told as every other problem is."""
        self._close_with(Problem(400, msg))

    def _refuses(self) -> bool:
        """Whether the request whose headers are there is sent away; one that wants more than a plain answer goes the
        long way, which refuses it as well."""
        self._path = self.url.partition(b"?")[0].decode("ascii", "replace")
        return (
            self._door.busy(self._path)
            and not self._door.draining
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_method() == b"POST"
            and bool(self.parser.should_keep_alive())
        )

    def _await_headers(self) -> None:
        self._header_bytes = 0
        self._deadline = self.loop.call_later(HEADER_DEADLINE_S, self.timeout_keep_alive_handler)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_with(self, problem: Problem) -> None:
        self._arrived()
        self.transport.write(_raw(problem, b"connection: close\r\n"))
        self.transport.close()


class Joined:
    """A transport that sends the head of an answer together with the first piece of its body: one system call, one
    packet, one waking of whoever waits for it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Holds a head back, sends all else at once."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Sends a head that has no body."""
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def close(self) -> None:
        """Sends what is held, then closes."""
        self.flush()
        self._transport.close()


def _raw(problem: Problem, more: bytes = b"") -> bytes:
    """A problem as bytes on the line."""
    told = problem.body()
    body = msgspec.json.encode(told)
    headers = b"".join(f"{name.lower()}: {value}\r\n".encode() for name, value in problem.headers.items())
    head = f"HTTP/1.1 {told.status} {told.title}\r\ncontent-type: application/problem+json\r\n"
    return head.encode() + headers + more + f"content-length: {len(body)}\r\n\r\n".encode() + body


_REFUSAL = _raw(BUSY)
