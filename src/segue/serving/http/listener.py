"""The port: one HTTP server in this process's event loop, and its end."""

import asyncio
import gc
import resource
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from segue.serving.http.handlers import AppState
from segue.serving.http.protocol import CONNECTIONS, Connection

DRAIN_S = 1.0
"""After SIGTERM the server is not ready any more but goes on answering for so long, closing each connection behind its
answer: whoever sends requests here has time to hear of it, and none is cut off."""
_SOCKETS = 64
"""On the one port: uvloop takes one new connection from each in a round of the loop, and under load, when a round takes
as long as a batch, clients would wait for a round each to be let in at all."""
_IDLE_S = 75
"""A connection that is kept alive and asks nothing is closed after so long."""


class _Server(uvicorn.Server):
    """In an event loop that has other work, and signals of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: this process has its own."""
        yield


async def listen(
    app: ASGIApp, door: AppState, host: str, port: int, started: Callable[[Callable[[], None]], None]
) -> None:
    """Answers until it is told to stop, and finishes what is under way. ``started`` is called at once with what stops
    it, to be called in this event loop; a second call stops it at once."""
    _open_files(2 * CONNECTIONS)
    _steady()
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(Connection, door)),
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        log_config=None,
        log_level="critical",  # what goes wrong inside is told by the door; a message here could name a person
        timeout_keep_alive=_IDLE_S,
        backlog=CONNECTIONS // 4,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    def stop() -> None:
        if door.draining:  # asked twice: at once
            server.force_exit = server.should_exit = True
        door.draining = True
        loop.call_later(DRAIN_S, end)

    started(stop)
    beat = asyncio.create_task(door.loop_lag.beat())
    await server.serve(sockets=[_shared(host, port) for _ in range(_SOCKETS)])
    beat.cancel()
    if not door.draining:
        raise RuntimeError("The HTTP server ended by itself.")


def _steady() -> None:
    """What was loaded until now stays: the collector of cycles need not look through it, which takes it tenths of a
    second in the middle of everybody's answers. And a thread that has the interpreter gives it away after half a
    millisecond, not after five: the loop has nothing that takes longer, whoever writes behind it has."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(0.0005)


def _shared(host: str, port: int) -> socket.socket:
    """The port, for as many processes as ask for it: each gets its share of the connections."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    own = socket.socket(family, kind, protocol)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(address)
    own.setblocking(False)
    return own


def _open_files(count: int) -> None:
    """Raises the number of files and connections that this process may have open, as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0. ValueError when it is taken or the host is not this machine's.

    Asked here because the port is shared by all processes of a server, and two servers would then answer each other's
    requests.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ValueError(f"Cannot serve on {host} port {port}: {error.strerror}. Choose another with --port.") from None


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs until it is done."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        asyncio.run(work)
    else:
        uvloop.run(work)
