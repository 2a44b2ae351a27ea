"""One client's connection: an asyncio protocol that owns every rule of HTTP here.

Every request takes the same way: bytes -> ``RequestReader`` (head, then ``App.admit``: route, load, key, role, rate,
announced length, then the body) -> ``App.respond`` -> response in one write, in the order of the requests. One request
is answered and one waits; bytes behind them stay unparsed. ``connections.DEADLINES`` lists the states.
"""

import asyncio
from collections import deque
from typing import cast

from segue.serving.http.app import Admission, App
from segue.serving.http.connections import DEADLINES, MAX_REFUSED, Connections, WriteProgress, rank_of
from segue.serving.http.exchange import Request, Response
from segue.serving.http.request_reader import RequestReader

MAX_TURN = 16
"""Responses of one connection in one round of the event loop: the others have their turn between them."""
_NEVER = float("inf")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.BufferedProtocol):
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
        self._reader = RequestReader(app, self, connections)
        self._transport = cast(asyncio.Transport, None)
        self._requests: deque[tuple[Admission | Response, Request | None, bool]] = deque()
        """Requests that wait for their turn: (admission or ready response, request, keep-alive)."""
        self.rank = 0
        """Rank in the connections."""
        self.is_responding = False
        self._is_closing = False
        self._is_reading = True
        self._is_paused = False
        """No byte is read before the next check."""
        self._is_write_blocked = False
        self._is_turn_due = False
        """The next turn of the requests that wait is scheduled."""
        self._is_continue_due = False
        """The client waits for 100 Continue behind a response that is due."""
        self._num_refused = 0
        """Responses since the last one with a list, a receipt or the like for an admitted request of a key."""
        self._writing = WriteProgress()
        self._response_due_s = self._turn_due_s = self._close_due_s = _NEVER

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection; where there are too many, the idlest is closed."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # at most one response waits in memory for its client
        peer = transport.get_extra_info("peername")
        self._reader.client = peer[0] if isinstance(peer, tuple) else ""
        self.rank = rank_of(self._reader.state, has_key=False, is_responding=False)
        self._connections.move(self, None, self.rank)
        self._connections.make_room(self._limit)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a handler that runs is left to end."""
        self._connections.remove(self, self.rank)
        for admission, _, _ in self._requests:
            self._release(admission)
        self._requests.clear()
        self._is_closing = True
        self._reader.end()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the memory for the next bytes."""
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Read requests; behind the last one bytes are dropped."""
        if not self._reader.is_done:
            self._reader.feed(bytes(self._reader.buffer()[:nbytes]))
            self._respond_next()
        if self._connections.is_crowded:
            self.pause_until_check()

    def eof_received(self) -> bool:
        """Keep the connection for the responses that are still due; without any it closes."""
        self._reader.is_done = True
        if (self.is_responding or self._requests) and not self._is_closing:
            return True
        self._is_closing = True  # the event loop closes it once the written bytes are sent
        self._close_due_s = self._loop.time() + DEADLINES["closing"].after_s
        return False

    def pause_writing(self) -> None:
        """Start the write deadline and stop reading: the client does not take its responses."""
        self._is_write_blocked = True
        self._writing.start(self._loop.time(), self._transport.get_write_buffer_size())
        self._update_reading()

    def resume_writing(self) -> None:
        """Stop the write deadline and answer the requests that wait."""
        self._is_write_blocked = False
        self._writing.stop()
        self._respond_next()

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a response."""
        return len(self._requests)

    def receive(self, admission: Admission | Response, request: Request | None, *, keep_alive: bool) -> None:
        """Queue a request. See ``RequestReceiver.receive``."""
        self._requests.append((admission, request, keep_alive))

    def send_continue(self) -> None:
        """Send 100 Continue, behind the responses that are due before."""
        self._is_continue_due = True

    # responses

    def _respond_next(self, *, has_turn: bool = False) -> None:
        """Answer waiting requests until one needs a handler: one at a time, and none while the client does not read.

        A connection that had refusals only answers another request when it has a turn.
        """
        num_responses = 0
        while self._has_request():
            if not (has_turn or self._reader.has_key or self._connections.take_free(self._num_refused)):
                self._wait_for_turn()
                break
            if num_responses == MAX_TURN:
                self._schedule_turn()
                break
            num_responses, has_turn = num_responses + 1, False
            admission, request, keep_alive = self._requests.popleft()
            if isinstance(admission, Response):
                self._num_refused += 1
                self._send(admission, request, keep_alive=keep_alive)
            else:
                self._start(admission, keep_alive)
        if not (self._requests or self._reader.unparsed):
            self._turn_due_s = _NEVER
        if self._is_continue_due and not (self.is_responding or self._requests or self._is_closing):
            self._is_continue_due = False
            if self._reader.is_receiving:
                self._reader.resume()
                self._transport.write(_CONTINUE)
        if self._reader.is_done and not (self.is_responding or self._requests):
            self._close()
        self._update_reading()
        self._update_rank()

    def _has_request(self) -> bool:
        """Return whether a request can be answered now; bytes that wait are parsed for one."""
        while not (self.is_responding or self._is_write_blocked or self._is_closing):
            if self._requests:
                return True
            if not self._reader.unparsed:
                return False
            self._reader.feed()
        return False

    def _update_rank(self) -> None:
        reader = self._reader
        is_responding = self.is_responding or bool(self._requests)
        rank = 0 if self._is_closing else rank_of(reader.state, has_key=reader.has_key, is_responding=is_responding)
        if rank != self.rank:
            self._connections.move(self, self.rank, rank)
            self.rank = rank

    def _schedule_turn(self) -> None:
        if not self._is_turn_due:
            self._is_turn_due = True
            self._loop.call_soon(self.take_turn)

    def _wait_for_turn(self) -> None:
        if not self._is_turn_due:
            self._is_turn_due = True
            self._connections.defer(self, again=self._turn_due_s != _NEVER)
            if self._turn_due_s == _NEVER:
                self._turn_due_s = self._loop.time() + DEADLINES["waiting without key"].after_s

    def take_turn(self) -> None:
        """Answer requests that waited for their turn."""
        self._is_turn_due = False
        self._respond_next(has_turn=True)

    def _start(self, admission: Admission, keep_alive: bool) -> None:
        self.is_responding = True
        state = "responding" if admission.endpoint.role is not None else "responding without key"
        self._response_due_s = self._loop.time() + DEADLINES[state].after_s
        task = self._loop.create_task(self._respond(admission, keep_alive))
        self._connections.tasks.add(task)
        task.add_done_callback(self._connections.tasks.discard)

    async def _respond(self, admission: Admission, keep_alive: bool) -> None:
        try:
            try:
                response = await self._app.respond(admission)
            finally:
                self._release(admission)
            self.is_responding, self._response_due_s = False, _NEVER
            is_served = response.status < 400 and admission.endpoint.role is not None
            self._num_refused = 0 if is_served else self._num_refused + 1
            if not self._is_closing:
                self._send(response, admission.request, keep_alive=keep_alive)
                self._respond_next()
        except BaseException:  # without this response, the next one would be taken for it
            self.abort()
            raise

    def _send(self, response: Response, request: Request | None, *, keep_alive: bool) -> None:
        is_last = not keep_alive or self._app.state.draining or self._num_refused >= MAX_REFUSED
        is_last = is_last or (self._reader.is_done and not self._requests)
        with_body = request is None or request.method != "HEAD"
        parts = response.encode(keep_alive=not is_last, with_body=with_body, date=self._connections.date)
        self._writing.num_written_bytes += sum(map(len, parts))
        self._transport.writelines(parts)
        if is_last:
            self._close()
        else:
            self._reader.touch()

    def _update_reading(self, *, renew: bool = True) -> None:
        """Read only while the bytes could be parsed and a response be sent; ``renew``: with a new deadline."""
        wanted = not (self._is_write_blocked or self._requests or self._reader.unparsed) or self._is_closing
        wanted = wanted and not self._is_paused
        if wanted != self._is_reading and not self._transport.is_closing():
            self._is_reading = wanted
            if wanted:
                if renew:
                    self._reader.resume()
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _release(self, admission: Admission | Response) -> None:
        """Release the memory of a request's body, in the account of all connections."""
        if isinstance(admission, Admission):
            self._connections.num_body_bytes -= len(admission.request.body)

    def check(self, now_s: float) -> None:
        """Enforce the deadlines; ``now_s`` is the event loop's time."""
        if self._is_paused:
            self._is_paused = False
            self._update_reading(renew=False)
        writing = self._writing
        if (self._is_closing or writing.due_s != _NEVER) and (waiting := self._transport.get_write_buffer_size()):
            if self._is_closing:
                self._close_due_s = now_s + DEADLINES["closing"].after_s
            if writing.due_s == _NEVER:
                writing.start(now_s, waiting)
            writing.check(now_s, waiting)
        if now_s >= min(writing.due_s, self._close_due_s, self._response_due_s, self._turn_due_s):
            self.abort()
        elif now_s >= self._reader.due_s and self._is_reading and not (self._is_closing or self._is_continue_due):
            if self._reader.is_idle and (self.is_responding or self._requests):
                return
            self._reader.expire()
            self._respond_next()

    def pause_until_check(self) -> None:
        """Read nothing before the next check, unless a request was admitted with a key."""
        if not self._reader.has_key:
            self._is_paused = True
            self._update_reading(renew=False)

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
        self._close_due_s = self._loop.time() + DEADLINES["closing"].after_s
        self._update_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
