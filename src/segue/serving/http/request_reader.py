"""Requests from a connection's bytes: one parser (httptools) with its limits and deadlines.

The reader is in one state, and each has a deadline::

    HEAD    bytes of a head are due           HEAD_DEADLINE_S since the connection or the head began
    BODY    bytes of a body are due           BODY_DEADLINE_S since the head was complete
    IDLE    no request has begun              IDLE_DEADLINE_S since the last response

A request is admitted or refused when its head is complete. A refused one is answered at once, as is
one whose endpoint takes no body; its body is skipped.
"""

import asyncio
import logging
import traceback
from typing import Any, Literal, Protocol, cast

import httptools

from segue.serving.http.app import MAX_BODY_BYTES, Admission, App, body_too_large
from segue.serving.http.exchange import Request, Response
from segue.serving.schemas.problems import Problem

HEAD_DEADLINE_S = 10.0
BODY_DEADLINE_S = 10.0
IDLE_DEADLINE_S = 75.0
MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
MAX_WAITING = 16
"""Complete requests that may wait for a response; behind them nothing is parsed."""
_PIECE_BYTES = 4096
"""Bytes that are parsed at once: a small number of requests."""
_SINGLE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"transfer-encoding", b"origin"})
"""Headers that a request may have once: of two, this server and a proxy before it could each believe another one."""
_log = logging.getLogger("segue.serving")


class RequestReceiver(Protocol):
    """Taker of requests, in their order."""

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a response."""

    def receive(self, admission: Admission | Response, request: Request | None, *, keep_alive: bool) -> None:
        """Take a request.

        Args:
            admission: admission of a request whose body is complete, or the response of a refused one.
            request: the request; None where its head could not be read.
            keep_alive: whether another request may follow.
        """

    def send_continue(self) -> None:
        """Tell the client to send its body (100 Continue), where no response is due before."""


class RequestReader:
    """Incremental reader of the requests of one connection.

    Args:
        app: the application, which admits requests.
        receiver: taker of the requests.
    """

    def __init__(self, app: App, receiver: RequestReceiver) -> None:
        self._app = app
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self.state: Literal["head", "body", "idle"] = "head"
        self.due_s = self._loop.time() + HEAD_DEADLINE_S
        """End of the state's deadline, in the event loop's time."""
        self.is_done = False
        """No further request is taken: the client wants to close, or broke a rule."""
        self.unparsed = b""
        """Bytes behind the requests that wait."""
        self._is_parsing = False
        self._begin_message()

    def _begin_message(self) -> None:
        self._is_upgrade = False
        """The request offers another protocol; it is read once more without the offer."""
        self._is_answered = False
        """The request was handed over; the rest of its body is skipped."""
        self._url = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._num_headers = 0
        self._head_bytes = 0
        """Bytes of the head that the parser has reported; it reports a header when it is complete."""
        self._num_overhead_bytes = 0
        """Bytes since the last part of a body: a head, chunk extensions, trailers."""
        self._admission = cast(Admission, None)
        self._request = cast(Request, None)
        self._body = bytearray()
        self._body_bytes = 0

    def feed(self, data: bytes = b"") -> None:
        """Parse bytes of the client, until as many requests wait as may; the rest stays in ``unparsed``."""
        self.unparsed = self.unparsed + data if self.unparsed else data
        if self._is_parsing:
            return
        self._is_parsing = True
        while self.unparsed and not self.is_done and self._receiver.num_waiting < MAX_WAITING:
            piece, self.unparsed = self.unparsed[:_PIECE_BYTES], self.unparsed[_PIECE_BYTES:]
            self._parse(piece)
        if self.is_done:
            self.unparsed = b""
        self._is_parsing = False

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self.unparsed = self._head_without_upgrade() + piece[upgrade.args[0] :] + self.unparsed
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserCallbackError as error:  # a fault of this server
            cause = error.__context__
            where = "".join(traceback.format_tb(cause.__traceback__)) if cause is not None else ""
            _log.error("A request could not be read: %s\n%s", type(cause).__name__, where)
            self._refuse(Problem(500, "The server failed to read the request; its log says where."), keep_alive=False)
        except httptools.HttpParserError as error:
            self._refuse(Problem(400, f"This is not HTTP/1.1: {error}."), keep_alive=False)
        if self.state != "idle":
            self._num_overhead_bytes += len(piece)
            self._check_head_bytes(self._num_overhead_bytes)

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just read, as if no other protocol had been offered.

        A server may ignore an offer and answer in HTTP/1.1 (RFC 9110, section 7.8). The parser cannot: it stops behind
        such a head, and a body behind it would be read as the next request.
        """
        options = [option.strip() for option in self._headers.get(b"connection", b"").lower().split(b",")]
        headers = {name: value for name, value in self._headers.items() if name not in (b"upgrade", b"connection")}
        if b"close" in options:
            headers[b"connection"] = b"close"
        version = self._parser.get_http_version().encode()
        lines = [self._parser.get_method() + b" " + bytes(self._url) + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in headers.items()]
        return b"\r\n".join([*lines, b"", b""])

    @property
    def is_receiving(self) -> bool:
        """Return whether a part of an admitted request's body is due."""
        return self.state == "body" and not (self._is_answered or self.is_done)

    def touch(self) -> None:
        """Start the deadline of the idle state again: a response has been sent."""
        if self.state == "idle":
            self._enter("idle")

    def resume(self) -> None:
        """Start the deadline of the state again: for a time, none of the client's bytes was read."""
        self._enter(self.state)

    def _enter(self, state: Literal["head", "body", "idle"]) -> None:
        self.state = state
        deadline_s = {"head": HEAD_DEADLINE_S, "body": BODY_DEADLINE_S, "idle": IDLE_DEADLINE_S}[state]
        self.due_s = self._loop.time() + deadline_s

    def expire(self) -> None:
        """End the reading after a missed deadline; a body that is due is answered with 408."""
        if self.is_receiving:
            detail = f"The body did not arrive within {BODY_DEADLINE_S:g} seconds."
            self._refuse(Problem(408, detail), keep_alive=False)
        self.is_done = True

    # httptools calls these

    def on_message_begin(self) -> None:
        """Start the deadline of a head."""
        if not self.is_done:
            self._begin_message()
            self._enter("head")

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in parts."""
        self._head_bytes += len(url)
        self._check_head_bytes(self._head_bytes)
        if not self.is_done:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; behind the body it is a trailer, which is dropped."""
        if self.state == "body":
            return
        self._num_headers += 1
        self._head_bytes += len(name) + len(value)
        self._check_head_bytes(self._head_bytes)
        if self.is_done:
            return
        name = name.lower()
        if self._num_headers > MAX_HEADERS:
            self._refuse(Problem(431, f"A request has at most {MAX_HEADERS} headers."), keep_alive=False)
        elif name in self._headers and name in _SINGLE:
            self._refuse(Problem(400, f"The header {name.decode('latin-1')} must not come twice."), keep_alive=False)
        elif name in self._headers:
            self._headers[name] += b", " + value
        else:
            self._headers[name] = value

    def _check_head_bytes(self, count: int) -> None:
        if count > MAX_HEAD_BYTES and not self.is_done:
            self._refuse(Problem(431, f"The headers are larger than {MAX_HEAD_BYTES} bytes."), keep_alive=False)

    def on_headers_complete(self) -> None:
        """Admit or refuse the request, before any byte of its body is kept."""
        if self.is_done:
            return
        self._is_upgrade = bool(self._parser.should_upgrade())
        if self._is_upgrade:
            if self._parser.get_method() == b"CONNECT":
                problem = Problem(405, "This server is no proxy: CONNECT is not possible.", {"Allow": "GET, POST"})
                self._refuse(problem, keep_alive=False)
            return
        self._enter("body")
        self._num_overhead_bytes = 0
        expects = self._headers.get(b"expect", b"").lower()
        try:
            admission = self._app.admit(self._read_head())
        except Problem as problem:
            # Behind a body that is too large, or that the client may or may not send, nothing can be trusted.
            self._refuse(problem, keep_alive=self._keeps_alive() and not expects and problem.status != 413)
            return
        if isinstance(admission, Response) or not admission.endpoint.requests:
            self._hand_over(admission, keep_alive=self._keeps_alive())  # its body is not needed
            return
        self._admission = admission
        if expects == b"100-continue" and self._parser.get_http_version() == "1.1":
            self._receiver.send_continue()

    def _read_head(self) -> Request:
        """Return the request. Problem for a head that breaks a rule."""
        target = self._url.decode("latin-1")
        if not target.startswith("/") and target != "*":
            target = _origin_form(bytes(self._url))
        self._request = Request(self._parser.get_method().decode("latin-1"), target, self._headers)
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Problem(505, f"This server speaks HTTP/1.1, not HTTP/{version}.")
        if b"host" not in self._headers and version == "1.1":
            raise Problem(400, "A request needs a Host header.")
        return self._request

    def _keeps_alive(self) -> bool:
        """Return whether another request may follow; never in HTTP/1.0, whose proxies may not know chunked bodies."""
        return bool(self._parser.should_keep_alive()) and self._parser.get_http_version() == "1.1"

    def on_body(self, body: bytes) -> None:
        """Keep a part of an admitted body up to the limit; of a refused one, nothing."""
        if self.is_done:
            return
        self._num_overhead_bytes = 0
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse(body_too_large(), keep_alive=False)
        elif not self._is_answered:
            self._body += body

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self.is_done or self._is_upgrade:
            return
        self._enter("idle")
        if not self._is_answered:
            self._request.body = bytes(self._body)
            self._hand_over(self._admission, keep_alive=self._keeps_alive())

    def _refuse(self, problem: Problem, *, keep_alive: bool) -> None:
        """Refuse the request; where its response is already due or sent, take no further one instead."""
        if self._is_answered or self.is_done:
            self.is_done = True
        else:
            self._hand_over(self._app.refuse(problem, self._request, self._admission), keep_alive=keep_alive)

    def _hand_over(self, admission: Admission | Response, *, keep_alive: bool) -> None:
        request = self._request
        # An idle connection must not keep a request in memory.
        self._headers, self._url, self._body = {}, bytearray(), bytearray()
        self._request, self._admission = cast(Request, None), cast(Admission, None)
        self._is_answered = True
        self.is_done = not keep_alive
        self._receiver.receive(admission, request, keep_alive=keep_alive)


def _origin_form(target: bytes) -> str:
    """Return path and query of an absolute target (RFC 9112, section 3.2.2). Problem 400 where it is none."""
    try:
        url: Any = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise Problem(400, "The request target must be a path that begins with '/', or a whole URL.") from None
    path: bytes = (url.path or b"/") + (b"?" + url.query if url.query else b"")
    return path.decode("latin-1")
