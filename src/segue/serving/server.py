"""One process that serves one model: opens everything in order, answers until told to stop, closes in order."""

import asyncio
import ipaddress
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from granian.constants import Interfaces
from granian.errors import FatalError
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from segue.serving.api import Door, build
from segue.serving.directory import Directory
from segue.serving.engine import Engine, EngineConfig, Model
from segue.serving.events import Event
from segue.serving.sessions import Sessions, SessionsConfig
from segue.serving.store import Receipt, Store
from segue.serving.writer import Writer

KEY = "SEGUE_API_KEY"
_HEADER_DEADLINE_MS = 10_000
_IMPORT_CHUNK = 5_000
DRAIN_S = 1.0
"""After SIGTERM the server is not ready any more but goes on answering for so long, closing each connection behind its
answer: whoever sends requests here has time to hear of it, and none is cut off."""
_CONNECTIONS = 8192
"""Connections at once; slow ones are closed by their deadlines and must not keep others out until then."""


def serve(
    run: Path,
    *,
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    sessions: SessionsConfig | None = None,
    config: EngineConfig | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Serves the model in ``run`` until SIGTERM or Ctrl-C, then finishes what it has begun and returns.

    Events are kept in ``data_dir``. Port 0: any free port. ``say`` hears one line when the server is ready, and one
    for everything odd about the event log. ValueError, before anything is served, when the model cannot be loaded,
    the data directory has another owner, the port is taken, or ``host`` is not a loopback address and no key is set
    in the environment variable SEGUE_API_KEY.
    """
    key = checked_key(host, os.environ.get(KEY))
    model = Model.open(run)
    directory = Directory(data_dir)
    try:
        port = free_port(host, port)
        store = Store(directory.path / "events.sqlite")
        if store.damaged:
            say(f"{store.damaged} damaged rows of {store.path} were set aside and are not served.")
        live = Sessions(store, model.catalog, sessions)
        writer = Writer(store, live.add)
        engine = Engine(model, live, writer, config)
        try:
            asyncio.run(_answer(Door(engine, key), host, port, say))
        finally:
            engine.close()
            writer.close()
            store.close()
    finally:
        directory.release()


async def _answer(door: Door, host: str, port: int, say: Callable[[str], None]) -> None:
    """Listens, and stops on SIGTERM or SIGINT: says so first, and finishes what is under way."""
    _open_files(2 * _CONNECTIONS)
    server = Server(
        build(door),
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

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    loop.call_soon(say, f"Serving on {url}; its description is at {url}/openapi.json.")
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


def checked_key(host: str, key: str | None) -> str | None:
    """The key to ask for. ValueError for a key that is too weak, and for an open door without one."""
    if key is not None and (len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key):
        raise ValueError(f"{KEY} must be at least 16 printable ASCII characters without spaces.")
    if key is None and not _is_loopback(host):
        raise ValueError(f"Host {host} can be reached from other machines: set {KEY} first, or serve on 127.0.0.1.")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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


def import_events(store: Store, events: Iterable[Event]) -> Receipt:
    """Stores a log's events, chunk by chunk, while no server runs on the store; safe to repeat.

    Problem when an id is taken by another body; the chunks before it stay.
    """
    accepted = duplicates = 0
    iterator = iter(events)
    while chunk := list(islice(iterator, _IMPORT_CHUNK)):
        (outcome,), _ = store.append([chunk])
        if isinstance(outcome, Exception):
            raise outcome
        accepted += outcome.accepted
        duplicates += outcome.duplicates
    return Receipt(accepted, duplicates)
