"""One client's connection: an asyncio protocol over httptools that owns every rule of HTTP here.

Every request takes the same way: head -> ``App.admit`` (route, load, key, role, rate, announced length) -> body ->
``App.respond`` -> response in one write. Requests of one connection are answered in their order.

Input and output each are in one state, and every state has a deadline, which ``check`` enforces::

    input    HEAD       bytes of a head are due          HEAD_DEADLINE_S since the connection or the head began
             BODY       bytes of a body are due          BODY_DEADLINE_S since the head was complete
             IDLE       no request is under way          IDLE_DEADLINE_S since the last response
    output   RESPONDING a handler is running             RESPONSE_DEADLINE_S since the request was complete
             WRITING    the client does not read         WRITE_DEADLINE_S since the write buffer was full
             CLOSING    the last response has been sent  CLOSE_DEADLINE_S since then
"""

import asyncio
from collections import deque
from typing import Any, Literal, cast

import httptools

from segue.serving.http.app import MAX_BODY_BYTES, Admission, App, body_too_large
from segue.serving.http.exchange import Request, Response
from segue.serving.schemas.problems import Problem

HEAD_DEADLINE_S = 10.0
BODY_DEADLINE_S = 10.0
IDLE_DEADLINE_S = 75.0
RESPONSE_DEADLINE_S = 300.0
WRITE_DEADLINE_S = 10.0
CLOSE_DEADLINE_S = 2.0
MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
MAX_PIPELINED = 32
"""Requests of one connection that may wait for the one before them; the connection is closed behind them."""
_NEVER = float("inf")
_SINGLE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"transfer-encoding", b"origin"})
"""Headers that a request may have once: of two, this server and a proxy before it could each believe another one."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connections(dict["Connection", None]):
    """Open connections of one listener, the longest without activity first, and the current ``date`` header."""

    def __init__(self) -> None:
        super().__init__()
        self.date = ""
        self.tasks: set[asyncio.Task[None]] = set()
        """Responses under way: the event loop itself keeps only weak references."""

    def make_room(self, limit: int) -> None:
        """Close the connection that has been without a response under way for longest, where ``limit`` is exceeded."""
        if len(self) > limit:
            idlest = next((connection for connection in self if not connection.is_responding), next(iter(self)))
            idlest.abort()


class Connection(asyncio.Protocol):
    """HTTP/1.1 connection of one client.

    Args:
        app: the application.
        connections: the listener's open connections; this one adds and removes itself.
        limit: number of connections above which the idlest is closed.
    """

    def __init__(self, app: App, connections: Connections, limit: int) -> None:
        self._app = app
        self._connections = connections
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[tuple[Admission | Response, Request, bool]] = deque()
        """Complete requests that wait for their turn: (admission or ready response, request, keep-alive)."""
        self.is_responding = False
        self._is_closing = False
        self._is_reading = True
        self._is_write_blocked = False
        self._is_done = False
        """No further request is taken: the client asked for the end, or broke a rule."""
        self._input_due = self._response_due = self._write_due = self._close_due = _NEVER
        self._input: Literal["idle", "head", "body"] = "head"
        self._begin_message()

    def _begin_message(self) -> None:
        self._is_upgrade = False
        """The request offers another protocol; it is read once more without the offer."""
        self._url = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._num_headers = 0
        self._head_bytes = 0
        """Bytes of the head that the parser has reported; it reports a header when it is complete."""
        self._unparsed_bytes = 0
        """Bytes that came while the head was incomplete."""
        self._problem: Problem | None = None
        """Refusal of the request that is being read; its body is not kept."""
        self._admission: Admission | Response | None = None
        self._request = cast(Request, None)
        self._body = bytearray()
        self._body_bytes = 0

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection; where there are too many, the idlest is closed."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections[self] = None
        self._input_due = self._loop.time() + HEAD_DEADLINE_S
        self._connections.make_room(self._limit)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a handler that runs is left to end."""
        self._connections.pop(self, None)
        self._requests.clear()
        self._is_closing = True

    def pause_writing(self) -> None:
        """Start the write deadline and stop reading: the client does not take its responses."""
        self._is_write_blocked = True
        self._write_due = self._loop.time() + WRITE_DEADLINE_S
        self._update_reading()

    def resume_writing(self) -> None:
        """Stop the write deadline and answer what waits."""
        self._is_write_blocked = False
        self._write_due = _NEVER
        self._update_reading()
        self._respond_next()

    def eof_received(self) -> bool:
        """Keep the connection for the responses that are still due; without any it closes."""
        self._is_done = True
        return bool(self.is_responding or self._requests) and not self._is_closing

    def data_received(self, data: bytes) -> None:
        """Parse bytes of the client; after the last request they are dropped."""
        while data and not self._is_done:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError as error:
                self._reject(Problem(400, f"This is not HTTP/1.1: {error}."))
        if self._input == "head" and not self._is_done:
            self._unparsed_bytes += len(data)
            self._check_head_bytes(self._unparsed_bytes)

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just read, as if no other protocol had been offered.

        A server may ignore an offer and answer in HTTP/1.1 (RFC 9110, section 7.8). The parser cannot: it stops behind
        such a head, and a body behind it would be read as the next request.
        """
        options = [option.strip() for option in self._headers.get(b"connection", b"").lower().split(b",")]
        headers = {name: value for name, value in self._headers.items() if name not in (b"upgrade", b"connection")}
        if b"close" in options:
            headers[b"connection"] = b"close"
        lines = [self._parser.get_method() + b" " + bytes(self._url) + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in headers.items()]
        return b"\r\n".join([*lines, b"", b""])

    # httptools calls these

    def on_message_begin(self) -> None:
        """Start the deadline of a head."""
        if not self._is_done:
            self._begin_message()
            self._input = "head"
            self._input_due = self._loop.time() + HEAD_DEADLINE_S

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in parts."""
        self._head_bytes += len(url)
        self._check_head_bytes(self._head_bytes)
        if not self._is_done:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header."""
        self._head_bytes += len(name) + len(value)
        self._check_head_bytes(self._head_bytes)
        name = name.lower()
        if self._is_done:
            return
        self._num_headers += 1
        if self._num_headers > MAX_HEADERS:
            self._reject(Problem(431, f"A request has at most {MAX_HEADERS} headers."))
            return
        if name in self._headers:
            if name in _SINGLE:
                self._reject(Problem(400, f"The header {name.decode('latin-1')} must not come twice."))
                return
            value = self._headers[name] + b", " + value
        self._headers[name] = value

    def _check_head_bytes(self, count: int) -> None:
        if count > MAX_HEAD_BYTES and not self._is_done:
            self._reject(Problem(431, f"The headers are larger than {MAX_HEAD_BYTES} bytes."))

    def on_headers_complete(self) -> None:
        """Admit or refuse the request, before any byte of its body is kept."""
        if self._is_done:
            return
        self._is_upgrade = bool(self._parser.should_upgrade())
        if self._is_upgrade and self._parser.get_method() == b"CONNECT":
            self._reject(Problem(405, "This server is no proxy: CONNECT is not possible.", {"Allow": "GET, POST"}))
        if self._is_upgrade:
            return
        self._input = "body"
        self._input_due = self._loop.time() + BODY_DEADLINE_S
        keep_alive = self._parser.should_keep_alive()
        try:
            self._admission = self._app.admit(self._read_head())
        except Problem as problem:
            self._problem = problem
            if problem.status == 413:
                keep_alive = False  # the rest of such a body is not worth waiting for
        expects = self._headers.get(b"expect", b"").lower()
        if expects:
            if self._problem is not None or expects != b"100-continue":
                keep_alive = False  # the client may or may not send the body now: nothing behind it can be trusted
            elif not self.is_responding:
                self._transport.write(_CONTINUE)
        if self._problem is not None and not keep_alive:
            self._finish_message(keep_alive=False)

    def _read_head(self) -> Request:
        """Return the request. Problem for a head that breaks a rule."""
        target = self._url.decode("latin-1")
        if not target.startswith("/") and target != "*":
            parsed = httptools.parse_url(bytes(self._url)) if b"://" in self._url else None
            target = "/" if parsed is None else _origin_form(parsed)
        request = self._request = Request(self._parser.get_method().decode("latin-1"), target, self._headers)
        if b"host" not in self._headers and self._parser.get_http_version() == "1.1":
            raise Problem(400, "A request needs a Host header.")
        return request

    def on_body(self, body: bytes) -> None:
        """Keep a part of an admitted body up to the limit; of a refused one, nothing."""
        if self._is_done:
            return
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._problem = self._problem or body_too_large()
            self._finish_message(keep_alive=False)
        elif self._problem is None:
            self._body += body

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for the one before it."""
        if not self._is_done and not self._is_upgrade:
            self._finish_message(keep_alive=bool(self._parser.should_keep_alive()))

    def _finish_message(self, *, keep_alive: bool) -> None:
        self._input = "idle"
        self._input_due = _NEVER
        if self._problem is not None:
            response = self._app.refuse(self._problem, self._request, self._admission)
            self._requests.append((response, self._request, keep_alive))
        else:
            assert self._admission is not None
            self._request.body = bytes(self._body)
            self._requests.append((self._admission, self._request, keep_alive))
        if not keep_alive or len(self._requests) > MAX_PIPELINED:
            self._is_done = True
        self._update_reading()
        self._respond_next()

    # responses

    def _respond_next(self) -> None:
        """Answer waiting requests until one needs a handler: one at a time, and none while the client does not read."""
        while self._requests and not (self.is_responding or self._is_write_blocked or self._is_closing):
            admission, request, keep_alive = self._requests.popleft()
            if isinstance(admission, Response):
                self._send(admission, request, keep_alive=keep_alive)
            else:
                self.is_responding = True
                self._response_due = self._loop.time() + RESPONSE_DEADLINE_S
                task = self._loop.create_task(self._respond(admission, keep_alive))
                self._connections.tasks.add(task)
                task.add_done_callback(self._connections.tasks.discard)
        self._update_reading()

    async def _respond(self, admission: Admission, keep_alive: bool) -> None:
        response = await self._app.respond(admission)
        self.is_responding, self._response_due = False, _NEVER
        if not self._is_closing:
            self._send(response, admission.request, keep_alive=keep_alive)
            self._respond_next()

    def _send(self, response: Response, request: Request | None, *, keep_alive: bool) -> None:
        keep_alive = keep_alive and not self._app.state.draining and not (self._is_done and not self._requests)
        with_body = request is None or request.method != "HEAD"
        self._transport.write(response.encode(keep_alive=keep_alive, with_body=with_body, date=self._connections.date))
        if not keep_alive:
            self._close()
        elif self._input == "idle" and not self._requests:
            self._input_due = self._loop.time() + IDLE_DEADLINE_S
            self._connections.pop(self, None)
            self._connections[self] = None

    def _reject(self, problem: Problem) -> None:
        """Answer bytes that break a rule, behind the responses that are still due, and close."""
        self._is_done = True
        self._requests.append((self._app.refuse(problem), cast(Request, None), False))
        self._respond_next()

    def _update_reading(self) -> None:
        """Read only while the next request could be answered or its body kept."""
        wanted = not self._is_write_blocked and not (self._requests and self.is_responding)
        if wanted != self._is_reading and not self._is_closing:
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # ends

    def check(self, now_s: float) -> None:
        """Enforce the deadlines; ``now_s`` is the event loop's time."""
        if now_s >= min(self._write_due, self._close_due, self._response_due):
            self.abort()
        elif now_s >= self._input_due:
            self._input_due = _NEVER
            if self._input == "body" and not self._is_done:
                self._problem = self._problem or Problem(
                    408, f"The body did not arrive within {BODY_DEADLINE_S:g} seconds."
                )
                self._finish_message(keep_alive=False)
            else:
                self._close()

    def close_if_idle(self) -> None:
        """Close a connection on which nothing is due."""
        if not (self.is_responding or self._requests):
            self._close()

    def abort(self) -> None:
        """Close at once; what is not sent is lost."""
        self._is_closing = True
        self._transport.abort()

    def _close(self) -> None:
        """Close after what was written is sent. What the client still sends is read and dropped meanwhile: closing over
        unread bytes would reset the connection, and the client could lose the response."""
        if self._is_closing:
            return
        self._is_closing = self._is_done = True
        self._input_due = _NEVER
        self._close_due = self._loop.time() + CLOSE_DEADLINE_S
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()


def _origin_form(url: Any) -> str:
    """Return path and query of an absolute target (RFC 9112, section 3.2.2)."""
    path: bytes = (url.path or b"/") + (b"?" + url.query if url.query else b"")
    return path.decode("latin-1")
