"""HTTP server on a port, in this process's event loop: from the first connection to the last response."""

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Callable, Collection, Coroutine
from email.utils import formatdate
from typing import Any

from segue.serving.http.app import App
from segue.serving.http.connections import Connections
from segue.serving.http.protocol import Connection
from segue.serving.sockets import SocketGroups, free_port, raise_file_limit

__all__ = ["DRAIN_S", "MAX_CONNECTIONS", "Listener", "free_port", "listen", "run"]
MAX_CONNECTIONS = 8192
"""Connections at once; above that, the one without activity for longest is closed for a new one."""
DRAIN_S = 1.0
"""Time after SIGTERM in which the server is not ready any more but goes on answering. Each connection is
closed behind its response: clients notice in time, and no request is cut off. At most ``DRAIN_SHARE`` of the grace."""
DRAIN_SHARE = 0.2
RESPONSES_SHARE = 0.7
"""Share of the grace after which the connections of responses under way are aborted; the rest is for closing."""
CHECK_S = 0.25
"""Interval at which the deadlines of all connections are checked: one timer instead of several for each request."""
CHECKED_AT_ONCE, SLICE_S = 16, 0.001
"""Connections that are checked at once, and seconds between two such slices. In a crowd a slice is also the only time
in which its connections without a key are read: thousands that send a byte in the same instant are read a slice at a
time, and the others have their turn between two slices."""
_LAST_REQUESTS_S = 0.1
"""Time for the requests of connections that were accepted just before the server stopped to listen."""
_CANCEL_S = 1.0
"""Time for cancelled tasks to end."""
_log = logging.getLogger("segue.serving")


class Listener:
    """Server of an application on the sockets of this process, and of others that do not accept."""

    def __init__(self, app: App, sockets: SocketGroups, *, limit: int = MAX_CONNECTIONS) -> None:
        """Make a listener; ``serve`` runs it.

        Args:
            app: the application.
            sockets: sockets of all processes.
            limit: maximum number of connections.
        """
        self._app = app
        self._sockets = sockets
        self._limit = limit
        self._connections = Connections()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._covered: set[int] = set()
        self._finish_by_s = float("inf")

    def stop(self, grace_s: float) -> None:
        """Stop the server; call it in its event loop. A second call stops at once.

        Args:
            grace_s: time until this process should have ended, seconds.
        """
        if self._app.state.draining:
            for connection in list(self._connections):
                connection.abort()
            self._ended.set()
            return
        self._app.state.draining = True
        self._finish_by_s = self._loop.time() + RESPONSES_SHARE * grace_s
        self._loop.call_later(min(DRAIN_S, DRAIN_SHARE * grace_s), self._ended.set)

    def cover(self, numbers: Collection[int]) -> None:
        """Accept the connections of other processes that do not accept them; call it in the event loop.

        Args:
            numbers: numbers of those processes; the sockets of all others are left to them.
        """
        wanted = set(numbers) - {self._sockets.own} if not self._ended.is_set() else set()
        for number in self._covered ^ wanted:
            for one in self._sockets.groups[number]:
                if number in wanted:
                    self._loop.add_reader(one, self._accept, one)
                else:
                    self._loop.remove_reader(one)
        self._covered = wanted

    async def serve(self, started: Callable[[], None]) -> None:
        """Serve until stopped, and finish the responses under way.

        Args:
            started: called once when clients can connect.
        """
        own, backlog = self._sockets.groups[self._sockets.own], max(128, self._limit // 4)
        if self._sockets.own == 0:
            self._sockets.listen(backlog)
        servers = [await self._loop.create_server(self._connect, sock=one, backlog=backlog) for one in own]
        background = [
            asyncio.create_task(self._app.state.loop_lag.beat()),
            asyncio.create_task(_check_deadlines(self._connections)),
        ]
        started()
        await self._ended.wait()
        closing = [*own, *(one for number in self._covered for one in self._sockets.groups[number])]
        self.cover(())
        waiting = []
        for one in closing:
            waiting += _accept_waiting(one)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # closing it would leave it open in the other processes
        for server in servers:
            server.close()
        for accepted in waiting:
            await self._loop.connect_accepted_socket(self._connect, accepted)
        await self._finish()
        for task in background:
            task.cancel()

    def _connect(self) -> Connection:
        return Connection(self._app, self._connections, self._limit)

    def _accept(self, listening: socket.socket) -> None:
        for accepted in _accept_waiting(listening):
            task = self._loop.create_task(self._receive(accepted))
            self._connections.tasks.add(task)
            task.add_done_callback(self._connections.tasks.discard)

    async def _receive(self, accepted: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._connect, accepted)

    async def _finish(self) -> None:
        """Close idle connections, wait for the others, and abort those that are left when the time is over."""
        connections = self._connections
        await asyncio.sleep(_LAST_REQUESTS_S)
        while connections and self._loop.time() < self._finish_by_s:
            for connection in list(connections):
                connection.close_if_idle()
            await asyncio.sleep(0.02)
        for connection in list(connections):
            connection.abort()


async def listen(
    app: App, host: str, port: int, started: Callable[[Callable[[], None]], None], *, limit: int = MAX_CONNECTIONS
) -> None:
    """Serve from one process until stopped, and finish the responses under way.

    Args:
        app: the application.
        host: address to listen on.
        port: a free port (see ``free_port``).
        started: called once with a function that stops the server, to be called in this event loop; a second call of it
            stops at once.
        limit: maximum number of connections.
    """
    sockets = SocketGroups.bind(host, port)
    listener = Listener(app, sockets, limit=limit)
    try:
        await listener.serve(lambda: started(lambda: listener.stop(30.0)))
    finally:
        sockets.close()


def _accept_waiting(listening: socket.socket) -> list[socket.socket]:
    """Accept the connections that wait on a socket: closing it would reset them, and their requests be lost."""
    accepted = []
    with contextlib.suppress(OSError):  # none waits, or too many files are open
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            accepted.append(connection)
    return accepted


async def _check_deadlines(connections: Connections) -> None:
    """Enforce the deadlines of all connections, and renew the date header, for as long as the server runs."""
    loop = asyncio.get_running_loop()
    while True:
        connections.date = formatdate(usegmt=True)
        waiting = list(connections)
        for start in range(0, len(waiting), CHECKED_AT_ONCE):
            now_s = loop.time()
            checked = waiting[start : start + CHECKED_AT_ONCE]
            for connection in checked:
                try:
                    connection.check(now_s)
                except Exception as error:  # the other connections keep their deadlines
                    _log.error("A connection is closed after %s.", type(error).__name__)
                    connection.abort()
            await asyncio.sleep(SLICE_S)
            if connections.is_crowded:
                for connection in checked:
                    connection.pause_until_check()
        await asyncio.sleep(CHECK_S)


def _tune_interpreter() -> None:
    """Keep the garbage collector and thread switches out of responses.

    Everything loaded until now stays loaded: the collector of cycles need not search it, which takes tenths of a
    second. A thread that holds the interpreter gives it away after half a millisecond instead of five: the event loop
    has nothing that takes longer, but threads behind it have.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(0.0005)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a server's main coroutine to its end in a new event loop, after this process was prepared for it.

    The loop is uvloop's, or asyncio's where uvloop is not installed. Handlers that still run in threads are left
    behind: waiting for them could take longer than the grace.

    Args:
        main: function that returns the coroutine.
    """
    raise_file_limit(2 * MAX_CONNECTIONS)
    _tune_interpreter()
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCEL_S))
    finally:
        loop.close()
