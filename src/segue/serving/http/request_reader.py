"""Requests from a connection's bytes: one parser (httptools) with its limits and deadlines.

A request is admitted or refused when its head is complete. A refused one is answered at once, as is one whose endpoint
takes no body; its body is skipped, or ends the connection where it is chunked. The states and deadlines are those of
``connections.DEADLINES``.
"""

import asyncio
import logging
import traceback
from typing import cast

import httptools

from segue.serving.http.app import Admission, App, RequestReceiver
from segue.serving.http.connections import DEADLINES, MAX_HEAD_BYTES_HELD, MEMORY_FULL, SMALL_BYTES, Connections
from segue.serving.http.exchange import Request, Response
from segue.serving.http.request_head import MAX_HEAD_BYTES, RequestBody, RequestHead, head_too_large
from segue.serving.schemas.problems import Problem

MAX_WAITING = 1
"""Complete requests that may wait for a response; behind them nothing is parsed."""
_HEAD_END = b"\r\n\r\n"
_READ = memoryview(bytearray(65_536))
"""Memory that all connections of the process read into; the bytes are used before another connection reads."""
_READ_HEAD = _READ[:4096]
"""Its part for heads: a client without a key can have no more bytes than these wait."""
_log = logging.getLogger("segue.serving")


class RequestReader:
    """Incremental reader of the requests of one connection.

    Args:
        app: the application, which admits requests.
        receiver: taker of the requests.
        connections: account of the bytes that all connections hold.
    """

    def __init__(self, app: App, receiver: RequestReceiver, connections: Connections) -> None:
        self._app = app
        self._receiver = receiver
        self._connections = connections
        self.client = ""
        """IP address of the client, or of the proxy before it."""
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self.has_key = False
        """A request of this connection was admitted to an endpoint that needs a role."""
        self._enter("connected")
        self.is_done = False
        """No further request is taken: the client wants to close, or broke a rule."""
        self.unparsed = b""
        """Bytes behind the requests that wait."""
        self._is_parsing = False
        self._num_held_bytes = 0
        """Bytes of an incomplete head in the account of all connections."""
        self._begin_message()

    def _begin_message(self) -> None:
        self._is_upgrade = False
        """The request offers another protocol; it is read once more without the offer."""
        self._is_answered = False
        """The request was handed over; the rest of its body is skipped."""
        self._head = RequestHead()
        self._num_head_bytes = 0
        """Bytes of the head until it is complete."""
        self._admission = cast(Admission, None)
        self._request = cast(Request, None)
        self._body = RequestBody(self._connections)

    def buffer(self) -> memoryview:
        """Return the memory for the next bytes: much for a body that is wanted, else little."""
        return _READ if self.is_done or self.is_receiving else _READ_HEAD

    def feed(self, data: bytes = b"") -> None:
        """Parse bytes of the client, until as many requests wait as may; the rest stays in ``unparsed``."""
        self.unparsed = self.unparsed + data if self.unparsed else data
        if self._is_parsing:
            return
        self._is_parsing = True
        while self.unparsed and not self.is_done and self._receiver.num_waiting < MAX_WAITING:
            length = self._next_length()
            piece, self.unparsed = self.unparsed[:length], self.unparsed[length:]
            self._parse(piece)
        if self.is_done:
            self.unparsed = b""
            self._parser = cast(httptools.HttpRequestParser, None)  # it holds the header that is not complete
        self._is_parsing = False
        held = self._num_head_bytes if self.state == "head" and not self.is_done else 0
        if held or self._num_held_bytes:
            self._hold(held)

    def _next_length(self) -> int:
        """Return the number of bytes that are parsed at once: of one request only, where another one follows it."""
        if self.state in ("body", "refused body") and self._body.num_announced_bytes:
            return self._body.num_announced_bytes - self._body.num_bytes
        if self.unparsed[0] in b"\r\n" and (self.is_idle or self.state == "connected"):  # the parser skips them too
            self.unparsed = self.unparsed.lstrip(b"\r\n")
        end = self.unparsed.find(_HEAD_END) + len(_HEAD_END)
        return end if self.unparsed.find(_HEAD_END, end) >= 0 else len(self.unparsed)

    def _hold(self, num_bytes: int) -> None:
        """Account for the bytes of an incomplete head; a large one is refused where all heads have too many."""
        connections = self._connections
        connections.num_head_bytes += num_bytes - self._num_held_bytes
        self._num_held_bytes = num_bytes
        if num_bytes > SMALL_BYTES and connections.num_head_bytes > MAX_HEAD_BYTES_HELD:
            self._refuse(MEMORY_FULL.with_traceback(None), keep_alive=False)
            self._hold(0)

    def end(self) -> None:
        """Forget the client's bytes: the connection is lost."""
        self.is_done = True
        self.unparsed = b""
        self._hold(0)
        self._body.drop()
        # No circle of references keeps the connection in memory until the collector of cycles runs.
        self._parser, self._receiver = cast(httptools.HttpRequestParser, None), cast(RequestReceiver, None)

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            head = self._head.without_upgrade(self._parser.get_method(), self._parser.get_http_version())
            self.unparsed = head + piece[upgrade.args[0] :] + self.unparsed
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserCallbackError as error:  # a fault of this server
            cause = error.__context__
            where = "".join(traceback.format_tb(cause.__traceback__)) if cause is not None else ""
            _log.error("A request could not be read: %s\n%s", type(cause).__name__, where)
            self._refuse(Problem(500, "The server failed to read the request; its log says where."), keep_alive=False)
        except httptools.HttpParserError as error:
            self._refuse(Problem(400, f"This is not HTTP/1.1: {error}."), keep_alive=False)
        if self.is_done or self.is_idle:
            return
        if self.state == "head":
            self._num_head_bytes += len(piece)
            if self._num_head_bytes > MAX_HEAD_BYTES:
                self._refuse(head_too_large(), keep_alive=False)
            return
        try:
            self._body.check_overhead(len(piece))
        except Problem as problem:
            self._refuse(problem, keep_alive=False)

    @property
    def is_receiving(self) -> bool:
        """Return whether a part of an admitted request's body is due."""
        return self.state == "body" and not self.is_done

    @property
    def is_idle(self) -> bool:
        """Return whether no request has begun behind the last one."""
        return self.state in ("idle", "idle with key")

    def touch(self) -> None:
        """Start the deadline of the idle state again: a response has been sent."""
        if self.is_idle:
            self._enter_idle()

    def resume(self) -> None:
        """Start the deadline of the state again: for a time, none of the client's bytes was read."""
        self._enter(self.state)

    def _enter(self, state: str) -> None:
        self.state = state
        """State of reading (``connections.DEADLINES``)."""
        self.due_s = self._loop.time() + DEADLINES[state].after_s
        """End of the state's deadline, in the event loop's time."""

    def _enter_idle(self) -> None:
        self._enter("idle with key" if self.has_key else "idle")

    def expire(self) -> None:
        """End the reading after a missed deadline; a body that is due is answered with 408."""
        if self.is_receiving:
            detail = f"The body did not arrive within {DEADLINES['body'].after_s:g} seconds."
            self._refuse(Problem(408, detail), keep_alive=False)
        self.is_done = True

    # httptools calls these

    def on_message_begin(self) -> None:
        """Start the deadline of a head; that of the first one began with the connection."""
        if self.is_done:
            return
        self._begin_message()
        if self.state == "connected":
            self.state = "head"
        else:
            self._enter("head")

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in parts."""
        if not self.is_done:
            try:
                self._head.add_target(url)
            except Problem as problem:
                self._refuse(problem, keep_alive=False)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; behind the body it is a trailer, which is dropped."""
        if self.state == "head" and not self.is_done:
            try:
                self._head.add_header(name, value)
            except Problem as problem:
                self._refuse(problem, keep_alive=False)

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
        expects = self._head.headers.get(b"expect", b"").lower()
        is_chunked = self._head.is_chunked
        self._body.num_announced_bytes = self._head.num_body_bytes
        try:
            admission = self._app.admit(self._read_head())
        except Problem as problem:
            # Behind a body that is too large, or that the client may or may not send, nothing can be trusted. The parts
            # of a chunked one, perhaps a byte each, would be parsed for nothing.
            is_sound = not expects and not is_chunked and problem.status != 413
            self._enter("refused body")
            self._refuse(problem, keep_alive=self._keeps_alive() and is_sound)
            return
        if isinstance(admission, Response) or not admission.endpoint.requests:
            self._enter("refused body")
            self._admit(admission)
            self._hand_over(admission, keep_alive=self._keeps_alive() and not is_chunked)  # its body is not needed
            return
        self._enter("body")
        self._admit(admission)
        if expects == b"100-continue" and self._parser.get_http_version() == "1.1":
            self._receiver.send_continue()

    def _admit(self, admission: Admission | Response) -> None:
        if isinstance(admission, Admission):
            self._admission = admission
            self.has_key = self.has_key or admission.endpoint.role is not None

    def _read_head(self) -> Request:
        """Return the request. Problem for a head that breaks a rule."""
        self._request = self._head.request(self._parser.get_method(), self.client)
        self._head.check_version(self._parser.get_http_version())
        return self._request

    def _keeps_alive(self) -> bool:
        """Return whether another request may follow; never in HTTP/1.0, whose proxies may not know chunked bodies."""
        return bool(self._parser.should_keep_alive()) and self._parser.get_http_version() == "1.1"

    def on_body(self, body: bytes) -> None:
        """Keep a part of an admitted body up to the limits; of a refused one, nothing."""
        if self.is_done:
            return
        try:
            self._body.add(body, keep=not self._is_answered)
        except Problem as problem:
            self._refuse(problem, keep_alive=False)

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self.is_done or self._is_upgrade:
            return
        self._enter_idle()
        if not self._is_answered:
            self._request.body = self._body.take()
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
        self._head = RequestHead()
        self._body.drop()
        self._request, self._admission = cast(Request, None), cast(Admission, None)
        self._is_answered = True
        self.is_done = not keep_alive
        self._receiver.receive(admission, request, keep_alive=keep_alive)
