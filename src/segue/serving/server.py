"""One process that serves one model: opens everything in order, answers until told to stop, closes in order."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from starlette.types import ASGIApp

from segue.data.erasures import Erasures
from segue.serving import logs, loop, pages
from segue.serving.api import build
from segue.serving.attribution import Recorder
from segue.serving.audience import Audience
from segue.serving.auth import Keys, RateLimit
from segue.serving.back_office import BackOffice
from segue.serving.crew import Crew
from segue.serving.directory import Directory
from segue.serving.door import Door
from segue.serving.engine import Engine
from segue.serving.erasure import again
from segue.serving.events import Event
from segue.serving.fleet import Fleet, Member
from segue.serving.listening import free_port, listen
from segue.serving.model import Model
from segue.serving.sessions import Sessions, SessionsConfig
from segue.serving.settings import ServingConfig
from segue.serving.store import Receipt, Store
from segue.serving.telemetry import Telemetry
from segue.serving.watch import Source, Watch, first_lineup, source
from segue.serving.wire import Hello
from segue.serving.writer import Writer

_IMPORT_CHUNK = 5_000
Say = Callable[[str], None]


def serve(
    run: Path,
    *,
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    sessions: SessionsConfig | None = None,
    config: ServingConfig | None = None,
    say: Say = lambda line: print(line, file=sys.stderr, flush=True),
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
    limit = RateLimit(None if chosen.rate is None else chosen.rate / chosen.workers)
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
        crew = None
        if chosen.workers > 1:
            hello = Hello(str(run), str(directory.path), host, port, chosen, sessions or SessionsConfig())
            crew = Crew(office.fleet, hello, chosen.workers - 1)
            office.fleet.audience.follower = crew
            door.others = crew.counters
        app = build(door, pages.routes(office.fleet, demo=chosen.demo))
        loop.run(_answer(app, door, crew, (host, port), say))


def _office(
    folder: Path,
    models: Source,
    sessions: SessionsConfig | None,
    config: ServingConfig,
    say: Say,
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
        if config.approximate:
            say(model.approximate())
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


async def _answer(app: ASGIApp, door: Door, crew: Crew | None, address: tuple[str, int], say: Say) -> None:
    """Listens, and stops on SIGTERM or SIGINT: says so first, and finishes what is under way."""
    loop = asyncio.get_running_loop()
    host, port = address

    def started(stop: Callable[[], None]) -> None:
        def asked() -> None:
            if crew is not None:
                crew.drain()
            stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked)
        if crew is not None:
            crew.start(app, loop)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        loop.call_soon(say, f"Serving on {url}; its description is at {url}/openapi.json.")

    await listen(app, door, host, port, started)
    if crew is not None:
        await asyncio.to_thread(crew.close)


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
