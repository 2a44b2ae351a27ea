"""HTTP server on a port, in this process's event loop: from the first connection to the last response."""

import asyncio
import contextlib
import gc
import logging
import resource
import socket
import sys
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any

from segue.serving.http.app import App
from segue.serving.http.protocol import Connection, Connections

MAX_CONNECTIONS = 8192
"""Connections at once; above that, the one without activity for longest is closed for a new one."""
DRAIN_S = 1.0
"""Time after SIGTERM in which the server is not ready any more but goes on answering. Each connection is
closed behind its response: clients notice in time, and no request is cut off."""
GRACE_S = 30.0
"""Time after that for responses under way; then their connections are aborted."""
CHECK_S = 0.25
"""Interval at which the deadlines of all connections are checked: one timer instead of several for each request."""
_SOCKETS = 64
"""Listening sockets on the one port: uvloop takes one new connection from each in a round of the loop, and under load,
when a round takes as long as a batch, clients would wait for a round each to be let in at all."""
_LAST_REQUESTS_S = 0.1
"""Time for the requests of connections that were accepted just before the server stopped to listen."""
_log = logging.getLogger("segue.serving")


async def listen(
    app: App, host: str, port: int, started: Callable[[Callable[[], None]], None], *, limit: int = MAX_CONNECTIONS
) -> None:
    """Serve until stopped, and finish the responses under way.

    Args:
        app: the application.
        host: address to listen on.
        port: a free port (see ``free_port``).
        started: called once with a function that stops the server, to be called in this event loop; a second call of it
            stops at once.
        limit: maximum number of connections.
    """
    loop = asyncio.get_running_loop()
    connections = Connections()
    ended = asyncio.Event()
    state = app.state

    def stop() -> None:
        if state.draining:
            for connection in list(connections):
                connection.abort()
            ended.set()
        state.draining = True
        loop.call_later(DRAIN_S, ended.set)

    sockets = [_shared_socket(host, port) for _ in range(_SOCKETS)]
    backlog = max(128, limit // 4)
    servers = [
        await loop.create_server(lambda: Connection(app, connections, limit), sock=one, backlog=backlog)
        for one in sockets
    ]
    background = [asyncio.create_task(state.loop_lag.beat()), asyncio.create_task(_check_deadlines(connections))]
    started(stop)
    await ended.wait()
    waiting = []
    for server, one in zip(servers, sockets, strict=True):
        waiting += _accept_waiting(one)
        server.close()
    for accepted in waiting:
        await loop.connect_accepted_socket(lambda: Connection(app, connections, limit), accepted)
    await _finish(connections)
    for task in background:
        task.cancel()


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
        now_s = loop.time()
        for connection in list(connections):
            try:
                connection.check(now_s)
            except Exception as error:  # the other connections keep their deadlines
                _log.error("A connection is closed after %s.", type(error).__name__)
                connection.abort()
        await asyncio.sleep(CHECK_S)


async def _finish(connections: Connections) -> None:
    """Close idle connections, wait for the others, and abort those that are left after ``GRACE_S``."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + GRACE_S
    await asyncio.sleep(_LAST_REQUESTS_S)
    while connections and loop.time() < until_s:
        for connection in list(connections):
            connection.close_if_idle()
        await asyncio.sleep(0.02)
    for connection in list(connections):
        connection.abort()


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


def _shared_socket(host: str, port: int) -> socket.socket:
    """Return a socket on a port that several sockets and processes share; each gets a share of the connections."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    shared = socket.socket(family, kind, protocol)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind(address)
    shared.setblocking(False)
    return shared


def _raise_file_limit(count: int) -> None:
    """Raise the number of files and connections that this process may have open, as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def free_port(host: str, port: int) -> int:
    """Return the port, or any free one for 0.

    It is checked here because the port is shared by all processes of a server: two servers on it would answer each
    other's requests.

    Args:
        host: address to listen on.
        port: port number, 0 for any.

    Raises:
        ValueError: the port is taken, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ValueError(f"Cannot serve on {host} port {port}: {error.strerror}. Choose another with --port.") from None


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a server's main coroutine to its end in a new event loop, after this process was prepared for it.

    The loop is uvloop's, or asyncio's where uvloop is not installed.
    """
    _raise_file_limit(2 * MAX_CONNECTIONS)
    _tune_interpreter()
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        asyncio.run(main)
    else:
        uvloop.run(main)
