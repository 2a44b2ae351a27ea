"""The port: one HTTP server in this process's event loop, and its end."""

import asyncio
import resource
import socket
from collections.abc import Callable

from granian.constants import Interfaces
from granian.errors import FatalError
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.types import ASGIApp

from segue.serving.api import Door

_HEADER_DEADLINE_MS = 10_000
DRAIN_S = 1.0
"""After SIGTERM the server is not ready any more but goes on answering for so long, closing each connection behind its
answer: whoever sends requests here has time to hear of it, and none is cut off."""
_CONNECTIONS = 8192
"""Connections at once; slow ones are closed by their deadlines and must not keep others out until then."""


async def listen(app: ASGIApp, door: Door, host: str, port: int, started: Callable[[Callable[[], None]], None]) -> None:
    """Answers until it is told to stop, and finishes what is under way. ``started`` is called at once with what stops
    it, to be called in this event loop; a second call stops it at once."""
    _open_files(2 * _CONNECTIONS)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=_CONNECTIONS // 4,
        backpressure=_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_DEADLINE_MS),
        log_level=LogLevels.error,
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if door.draining:  # asked twice: at once
            server.stop()
        door.draining = True
        loop.call_later(DRAIN_S, server.stop)

    started(stop)
    beat = asyncio.create_task(door.pulse.beat())
    await server.serve()
    beat.cancel()
    if not door.draining:
        raise FatalError("The HTTP server ended by itself.")


def _open_files(count: int) -> None:
    """Raises the number of files and connections that this process may have open, as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0. ValueError when it is taken or the host is not this machine's.

    Asked here because the HTTP server shares its port with whoever asks for it, and two servers would then answer
    each other's requests.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ValueError(f"Cannot serve on {host} port {port}: {error.strerror}. Choose another with --port.") from None
