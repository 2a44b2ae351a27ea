"""One client's connection: an asyncio protocol that owns every rule of HTTP here.

Every request takes the same way: bytes -> ``RequestReader`` (head, then ``App.admit``: route, load, key, role, rate,
announced length, then the body) -> ``App.respond`` -> response in one write, in the order of the requests.

Reading has its states and deadlines in ``request_reader.py``; writing has these::

    RESPONDING  a handler is running             RESPONSE_DEADLINE_S since the request was complete
    WRITING     the write buffer is full         WRITE_DEADLINE_S since the client took MIN_TAKEN_BYTES of it
    CLOSING     the last response has been sent  CLOSE_DEADLINE_S since then
"""

import asyncio
from collections import deque
from typing import cast

from segue.serving.http.app import Admission, App
from segue.serving.http.exchange import Request, Response
from segue.serving.http.request_reader import RequestReader

RESPONSE_DEADLINE_S = 300.0
WRITE_DEADLINE_S = 10.0
CLOSE_DEADLINE_S = 2.0
MIN_TAKEN_BYTES = 65_536
MAX_TURN = 16
"""Responses of one connection in one round of the event loop: the others have their turn between them."""
_NEVER = float("inf")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connections(dict["Connection", None]):
    """Open connections of one listener, the longest without activity first."""

    def __init__(self) -> None:
        super().__init__()
        self.date = ""
        """Current value of the ``date`` header."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Responses under way: the event loop itself keeps only weak references."""

    def make_room(self, limit: int) -> None:
        """Close the connections that have been without a response under way for longest, down to ``limit``."""
        while len(self) > limit:
            idlest = next((connection for connection in self if not connection.is_responding), next(iter(self)))
            del self[idlest]  # the event loop reports its end later, behind other new connections
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
        self._reader = RequestReader(app, self)
        self._transport = cast(asyncio.Transport, None)
        self._requests: deque[tuple[Admission | Response, Request | None, bool]] = deque()
        """Requests that wait for their turn: (admission or ready response, request, keep-alive)."""
        self.is_responding = False
        self._is_closing = False
        self._is_reading = True
        self._is_write_blocked = False
        self._is_turn_due = False
        """The next turn of the requests that wait is scheduled."""
        self._num_written_bytes = self._num_taken_bytes = 0
        """Bytes of all responses, and of those that the client had taken when the write deadline began."""
        self._response_due_s = self._write_due_s = self._close_due_s = _NEVER

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection; where there are too many, the idlest is closed."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections[self] = None
        self._connections.make_room(self._limit)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a handler that runs is left to end."""
        self._connections.pop(self, None)
        self._requests.clear()
        self._is_closing = self._reader.is_done = True
        self._reader.unparsed = b""

    def data_received(self, data: bytes) -> None:
        """Read requests; behind the last one bytes are dropped."""
        if not self._reader.is_done:
            self._reader.feed(data)
            self._respond_next()

    def eof_received(self) -> bool:
        """Keep the connection for the responses that are still due; without any it closes."""
        self._reader.is_done = True
        if (self.is_responding or self._requests) and not self._is_closing:
            return True
        self._is_closing = True  # the event loop closes it once the written bytes are sent
        self._close_due_s = self._loop.time() + CLOSE_DEADLINE_S
        return False

    def pause_writing(self) -> None:
        """Start the write deadline and stop reading: the client does not take its responses."""
        self._is_write_blocked = True
        self._start_write_deadline(self._loop.time())
        self._update_reading()

    def resume_writing(self) -> None:
        """Stop the write deadline and answer the requests that wait."""
        self._is_write_blocked = False
        self._write_due_s = _NEVER
        self._respond_next()

    # the reader calls these

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a response."""
        return len(self._requests)

    def receive(self, admission: Admission | Response, request: Request | None, *, keep_alive: bool) -> None:
        """Queue a request. See ``RequestReceiver.receive``."""
        self._requests.append((admission, request, keep_alive))

    def send_continue(self) -> None:
        """Send 100 Continue where no response is due before; else the client waits a little and sends its body."""
        if not (self.is_responding or self._requests):
            self._transport.write(_CONTINUE)

    # responses

    def _respond_next(self) -> None:
        """Answer waiting requests until one needs a handler: one at a time, and none while the client does not read."""
        num_responses = 0
        while not (self.is_responding or self._is_write_blocked or self._is_closing):
            if not self._requests:
                if not self._reader.unparsed:
                    break
                self._reader.feed()
                continue
            if num_responses == MAX_TURN:
                self._schedule_turn()
                break
            num_responses += 1
            admission, request, keep_alive = self._requests.popleft()
            if isinstance(admission, Response):
                self._send(admission, request, keep_alive=keep_alive)
            else:
                self._start(admission, keep_alive)
        if self._reader.is_done and not (self.is_responding or self._requests):
            self._close()
        self._update_reading()

    def _schedule_turn(self) -> None:
        if not self._is_turn_due:
            self._is_turn_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_turn_due = False
        self._respond_next()

    def _start(self, admission: Admission, keep_alive: bool) -> None:
        self.is_responding = True
        self._response_due_s = self._loop.time() + RESPONSE_DEADLINE_S
        task = self._loop.create_task(self._respond(admission, keep_alive))
        self._connections.tasks.add(task)
        task.add_done_callback(self._connections.tasks.discard)

    async def _respond(self, admission: Admission, keep_alive: bool) -> None:
        try:
            response = await self._app.respond(admission)
            self.is_responding, self._response_due_s = False, _NEVER
            if not self._is_closing:
                self._send(response, admission.request, keep_alive=keep_alive)
                self._respond_next()
        except BaseException:  # without this response, the next one would be taken for it
            self.abort()
            raise

    def _send(self, response: Response, request: Request | None, *, keep_alive: bool) -> None:
        is_last = not keep_alive or self._app.state.draining or (self._reader.is_done and not self._requests)
        with_body = request is None or request.method != "HEAD"
        date = self._connections.date
        content = response.encode(keep_alive=not is_last, with_body=with_body, date=date)
        self._num_written_bytes += len(content)
        self._transport.write(content)
        if is_last:
            self._close()
        else:
            self._reader.touch()
            self._connections.pop(self, None)
            self._connections[self] = None

    def _update_reading(self) -> None:
        """Read only while the bytes could be parsed and a response be sent."""
        wanted = self._is_closing or not (self._is_write_blocked or self._requests or self._reader.unparsed)
        if wanted != self._is_reading and not self._transport.is_closing():
            self._is_reading = wanted
            if wanted:
                self._reader.resume()
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # ends

    def check(self, now_s: float) -> None:
        """Enforce the deadlines; ``now_s`` is the event loop's time."""
        if self._is_closing and self._transport.get_write_buffer_size():
            self._close_due_s = now_s + CLOSE_DEADLINE_S
            if self._write_due_s == _NEVER:
                self._start_write_deadline(now_s)
        if now_s >= self._write_due_s and self._num_sent_bytes - self._num_taken_bytes >= MIN_TAKEN_BYTES:
            self._start_write_deadline(now_s)
        if now_s >= min(self._write_due_s, self._close_due_s, self._response_due_s):
            self.abort()
        elif now_s >= self._reader.due_s and self._is_reading and not self._is_closing:
            if self._reader.state == "idle" and (self.is_responding or self._requests):
                return
            self._reader.expire()
            self._respond_next()

    @property
    def _num_sent_bytes(self) -> int:
        return self._num_written_bytes - self._transport.get_write_buffer_size()

    def _start_write_deadline(self, now_s: float) -> None:
        self._num_taken_bytes = self._num_sent_bytes
        self._write_due_s = now_s + WRITE_DEADLINE_S

    def close_if_idle(self) -> None:
        """Close a connection on which nothing is due, neither a response nor the body of an admitted request."""
        if not (self.is_responding or self._requests or self._reader.is_receiving):
            self._close()

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        self._is_closing = True
        self._transport.abort()

    def _close(self) -> None:
        """Close after the written bytes are sent.

        Bytes that the client still sends are read and dropped meanwhile: closing over unread bytes would reset the
        connection, and the client could lose the response.
        """
        if self._is_closing:
            return
        self._is_closing = self._reader.is_done = True
        self._close_due_s = self._loop.time() + CLOSE_DEADLINE_S
        self._update_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
