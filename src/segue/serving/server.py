"""One process that serves one model: opens everything in order, answers until told to stop, closes in order."""

import asyncio
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from granian.constants import Interfaces
from granian.errors import FatalError
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.routing import Route

from segue.data.erasures import Erasures
from segue.serving import logs, pages
from segue.serving.api import Door, build
from segue.serving.attribution import Recorder
from segue.serving.auth import Keys, RateLimit
from segue.serving.back_office import BackOffice
from segue.serving.directory import Directory
from segue.serving.engine import Engine, EngineConfig
from segue.serving.erasure import again
from segue.serving.events import Event
from segue.serving.fleet import Audience, Fleet, Member
from segue.serving.model import Model
from segue.serving.sessions import Sessions, SessionsConfig
from segue.serving.store import Receipt, Store
from segue.serving.telemetry import Telemetry
from segue.serving.watch import Source, Watch, first_lineup, source
from segue.serving.writer import Writer

_HEADER_DEADLINE_MS = 10_000
_IMPORT_CHUNK = 5_000
DRAIN_S = 1.0
"""After SIGTERM the server is not ready any more but goes on answering for so long, closing each connection behind its
answer: whoever sends requests here has time to hear of it, and none is cut off."""
_CONNECTIONS = 8192
"""Connections at once; slow ones are closed by their deadlines and must not keep others out until then."""


@dataclass(frozen=True)
class ServingConfig:
    """How a server behaves, besides where it listens."""

    rate: float | None = None
    """Requests a second for each key; nothing: as many as it can."""
    origins: tuple[str, ...] = ()
    """Web sites whose pages may ask from a browser, as https://shop.example."""
    watch_s: float = 1.0
    """How often the server looks whether another version should be at work."""
    json_logs: bool = False
    """Log lines as JSON."""
    log_requests: bool = False
    """A line for each request."""
    measure: bool = True
    """Keep which lists were shown and what came of them."""
    demo: bool = False
    """Show a small shop at /."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """How answers are made and events are kept."""

    def __post_init__(self) -> None:
        if self.watch_s <= 0:
            raise ValueError(f"watch_s must be above 0, got {self.watch_s:g}.")
        for origin in self.origins:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"'{origin}' is no origin: write it like https://shop.example.")


def serve(
    run: Path,
    *,
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    sessions: SessionsConfig | None = None,
    config: ServingConfig | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Serves the model in ``run``, or what a registry there says, until SIGTERM or Ctrl-C; then finishes what it has
    begun and returns. Another version that is saved or promoted there is at work a moment later.

    Events are kept in ``data_dir``. Port 0: any free port. ``say`` hears one line when the server is ready, and one
    for everything odd about the event log. ValueError, before anything is served, when the model cannot be loaded,
    the data directory has another owner, the port is taken, or ``host`` is not a loopback address and no key is set
    in the environment (``segue.serving.auth``).
    """
    chosen = config or ServingConfig()
    keys = Keys.read(os.environ, host)
    limit = RateLimit(chosen.rate)
    models = source(run)
    models.pointer()
    logger = logs.start(as_json=chosen.json_logs, requests=chosen.log_requests)
    if chosen.json_logs:
        say = logger.info
    with ExitStack() as stack:
        directory = Directory(data_dir)
        stack.callback(directory.release)
        port = free_port(host, port)
        office = _office(directory.path, models, sessions, chosen, say, stack)
        door = Door(office.fleet, keys, office, limit, chosen.origins)
        routes = pages.routes(office.fleet, demo=chosen.demo)
        asyncio.run(_answer(door, routes, host, port, say))


def _office(
    folder: Path,
    models: Source,
    sessions: SessionsConfig | None,
    config: ServingConfig,
    say: Callable[[str], None],
    stack: ExitStack,
) -> BackOffice:
    """Opens everything in order; ``stack`` closes it in the other."""
    store = Store(folder / "events.sqlite")
    stack.callback(store.close)
    if store.damaged:
        say(f"{store.damaged} damaged rows of {store.path} were set aside and are not served.")
    erasures = Erasures.open(folder)
    if returned := again(store, erasures):
        say(f"{returned} people who had been erased were in {store.path} again, and were taken out.")
    audience = Audience()
    writer = Writer(store, audience.hear)
    stack.callback(writer.close)

    def member(model: Model) -> Member:
        live = Sessions(store, model.catalog, sessions, circumstances=model.circumstances)
        return Member(Engine(model, live, writer, config.engine), live)

    lineup, turn = first_lineup(models, member, say)
    recorder = Recorder(folder / "measurements.sqlite", erasures.digest) if config.measure else None
    if recorder is not None:
        stack.callback(recorder.close)
    telemetry = Telemetry()
    fleet = Fleet(lineup, audience, telemetry=telemetry, recorder=recorder, erasures=erasures)
    stack.callback(fleet.close)
    telemetry.watch("store_writable", "1 while events can be stored.", lambda: float(writer.writable))
    telemetry.watch("sessions", "People and sessions in memory.", lambda: len(fleet.lineup.live.sessions))
    telemetry.watch("damaged_rows", "Rows set aside.", lambda: store.damaged)
    telemetry.watch("unmeasured", "Lists and events not measured.", lambda: recorder.lost if recorder else 0)
    watch = Watch(models, fleet, member, turn, every_s=config.watch_s)
    stack.callback(watch.close)
    return BackOffice(fleet, store, writer, erasures, watch)


async def _answer(door: Door, routes: Sequence[Route], host: str, port: int, say: Callable[[str], None]) -> None:
    """Listens, and stops on SIGTERM or SIGINT: says so first, and finishes what is under way."""
    _open_files(2 * _CONNECTIONS)
    server = Server(
        build(door, routes),
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
