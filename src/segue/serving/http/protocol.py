"""One client's connection: uvicorn's HTTP protocol, and what a server that faces the open web needs besides. Headers
come in time and are not endless, a server that is busy says so for next to nothing, plain requests are answered without
a detour, answers leave in one piece."""

import asyncio
import re
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from segue.serving.http.app import BODY_DEADLINE_S, IN_FLIGHT, MAX_BODY_BYTES, late
from segue.serving.http.coalescing_transport import CoalescingTransport
from segue.serving.http.endpoint import PostEndpoint
from segue.serving.http.handlers import AppState
from segue.serving.http.load_shedding import BUSY
from segue.serving.http.middleware import JSON, Reply, handle, run_operation
from segue.serving.schemas.problems import Problem

HEADER_DEADLINE_S = 10.0
MOST_HEADER_BYTES = 65_536
CONNECTIONS = 8192
"""At once; slow ones are closed by their deadlines and must not keep others out until then."""
_PLAIN = {one.path.encode(): one for one in IN_FLIGHT}
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding"})
"""Headers that no plain request has."""

_LIST = re.compile(
    rb"POST (/v1/recommend|/v1/similar) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*?"
    rb"content-length: *(\d{1,7})\r\n(?:[^\r\n]+\r\n)*\r\n",
    re.IGNORECASE,
)
"""A whole head, its path and its length."""
_MORE = re.compile(
    rb"\r\n(?:connection|expect|transfer-encoding|upgrade|origin) *:|content-length.*content-length", re.I | re.S
)
"""What a request that is refused unread must not have."""


class _Refused:
    """Stands for a request that is refused: whatever else comes of it is passed over."""

    response_complete = True
    disconnected = True

    class message_event:  # noqa: N801 - as uvicorn calls it
        @staticmethod
        def set() -> None: ...


class _Plain:
    """A plain request to an operation while it is under way, as far as uvicorn's protocol asks what it began with."""

    message_event = _Refused.message_event

    def __init__(self, operation: PostEndpoint, authorization: str, *, keep_alive: bool) -> None:
        self.operation = operation
        self.authorization = authorization
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.response_complete = False
        self.disconnected = False


class Connection(HttpToolsProtocol):
    """When four times too much comes, most of all requests are refused, and what a refusal costs is taken from the
    answers of the others: so it happens here, before anything is read, looked up or started."""

    def __init__(
        self,
        door: AppState,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._expecting: Literal["headers", "body", ""] = "headers"
        """What must come in time: a request's headers, or a body for which nobody else waits."""
        self._deadline: asyncio.TimerHandle | None = None
        """Set where that did not come in one piece: a timer for each request costs as much as reading it."""
        self._idle_since: float | None = None
        self._idle_check: asyncio.TimerHandle | None = None
        """Comes round now and then, for the same reason."""
        self._receiving: _Plain | None = None
        """The plain request whose body is still to come."""
        self._header_bytes = 0
        self._path = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(CoalescingTransport(transport))  # type: ignore[arg-type]
        if len(self.connections) > CONNECTIONS:
            self.transport.close()
        else:
            self._await()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        if self._idle_check is not None:
            self._idle_check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        if self._refused_unread(data):
            return
        super().data_received(data)
        if self._expecting == "headers":
            self._header_bytes += len(data)
            if self._header_bytes > MOST_HEADER_BYTES:
                self._close_with(Problem(431, f"The headers are larger than {MOST_HEADER_BYTES} bytes."))
        if self._expecting and self._deadline is None and not self.transport.is_closing():
            self._await()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expecting, self._header_bytes = "headers", 0

    def on_headers_complete(self) -> None:
        self._arrived()
        if self._refuses():
            self.cycle, self._expecting = _Refused, "body"  # type: ignore[assignment]
            return
        self._receiving = self._plain()
        if self._receiving is None:
            super().on_headers_complete()
        else:
            self.cycle, self._expecting = self._receiving, "body"  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        if self._receiving is None:
            super().on_body(body)
        else:
            self._receiving.body += body  # not longer than its Content-Length, which was looked at

    def on_message_complete(self) -> None:
        self._arrived()
        if self._receiving is not None:
            task = self.loop.create_task(self._answer(self._receiving))
            self._receiving = None
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif self.cycle is not _Refused:
            super().on_message_complete()
        else:
            self._door.router.telemetry.requested(self._path, BUSY.status, 0.0)
            self.transport.write(_REFUSAL)
            self.on_response_complete()

    def on_response_complete(self) -> None:
        self.transport.flush()  # type: ignore[attr-defined]
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_check is None:
            self._idle_check = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._idle_check = None
        if self._idle_since is None:  # at work: its answer asks again
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            self.timeout_keep_alive_handler()
        else:
            self._idle_check = self.loop.call_later(left_s, self._close_if_idle)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, told as every other problem is."""
        self._close_with(Problem(400, msg))

    def _refused_unread(self, data: bytes) -> bool:
        """Refuses a whole plain request for a list that came in one piece, without even parsing it: of all that comes
        when far too much comes, this is nearly all."""
        found = _LIST.match(data)
        if found is None or self._expecting or not self._free or self._door.draining:
            return False
        path = found[1].decode()
        if not self._door.busy(path) or len(data) != found.end() + int(found[2]) or _MORE.search(found[0]):
            return False
        self._door.router.telemetry.requested(path, BUSY.status, 0.0)
        self.transport.write(_REFUSAL)
        self.on_response_complete()
        return True

    def _refuses(self) -> bool:
        """Whether the request whose headers are there is sent away; one that wants more than a plain answer goes the
        long way, which refuses it as well."""
        self._path = self.url.partition(b"?")[0].decode("ascii", "replace")
        return (
            self._door.busy(self._path)
            and not self._door.draining
            and not self.expect_100_continue
            and self._free
            and self.parser.get_method() == b"POST"
            and bool(self.parser.should_keep_alive())
        )

    @property
    def _free(self) -> bool:
        """Whether nothing is under way here; what comes behind something waits for it."""
        return self.cycle is None or self.cycle.response_complete

    def _plain(self) -> _Plain | None:
        """The request whose headers are there, if nothing about it is out of the ordinary. Everything else goes the
        long way, through uvicorn and Starlette, to the same reply."""
        operation = _PLAIN.get(self.url)
        if operation is None or not self._free or self.parser.get_method() != b"POST":
            return None
        headers = dict(self.headers)
        if (
            len(headers) < len(self.headers)
            or headers.get(b"content-type", b"").lower() != JSON.encode()
            or not 0 < int(headers.get(b"content-length", 0)) <= MAX_BODY_BYTES
            or not _UNUSUAL.isdisjoint(headers)
            or (self._door.origins and b"origin" in headers)
            or self.parser.get_http_version() != "1.1"
        ):
            return None
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        return _Plain(operation, authorization, keep_alive=self.parser.should_keep_alive())

    async def _answer(self, plain: _Plain) -> None:
        door, one = self._door, plain.operation
        inner = partial(run_operation, door, one, bytes(plain.body))
        reply = await handle(door, one.path, one.role, plain.authorization, inner)
        keep = plain.keep_alive and not door.draining
        if not self.transport.is_closing():
            self.transport.write(_head(reply, self.server_state.default_headers, keep=keep) + reply.body)
            await self.flow.drain()
        plain.response_complete = True
        if not keep:
            self.transport.close()
        self.on_response_complete()

    def _await(self) -> None:
        deadline_s = HEADER_DEADLINE_S if self._receiving is None else BODY_DEADLINE_S
        self._deadline = self.loop.call_later(deadline_s, self._give_up)

    def _arrived(self) -> None:
        self._expecting = ""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """What is expected does not come."""
        if self._receiving is None:
            self.timeout_keep_alive_handler()
            return
        problem = late()
        self._door.router.telemetry.requested(self._receiving.operation.path, problem.status, BODY_DEADLINE_S)
        self._receiving = None
        self._close_with(problem)

    def _close_with(self, problem: Problem) -> None:
        self._arrived()
        self.transport.write(_raw(problem, keep=False))
        self.transport.close()


def _head(reply: Reply, always: Iterable[tuple[bytes, bytes]], *, keep: bool) -> bytes:
    """The status line and headers of an answer; ``always``: those that every answer has."""
    lines = [STATUS_LINE[reply.status]]
    for name, value in always:
        lines.append(name + b": " + value + b"\r\n")
    for told, text in reply.headers.items():
        lines.append(f"{told.lower()}: {text}\r\n".encode("latin-1"))
    if not keep:
        lines.append(b"connection: close\r\n")
    lines.append(f"content-length: {len(reply.body)}\r\ncontent-type: {reply.kind}\r\n\r\n".encode("latin-1"))
    return b"".join(lines)


def _raw(problem: Problem, *, keep: bool = True) -> bytes:
    """A problem as bytes on the line."""
    reply = Reply.refusal(problem)
    return _head(reply, (), keep=keep) + reply.body


_REFUSAL = _raw(BUSY)
