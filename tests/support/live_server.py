"""A real HTTP server over an application, in a thread of the test's process, and a client of it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from segue.serving.http import listener
from segue.serving.http.app import App
from segue.serving.http.connections import DEADLINES


@contextmanager
def live_server(app: App, **options: int) -> Iterator[int]:
    """Serve an application on a free loopback port until the block ends; the port."""
    port = listener.free_port("127.0.0.1", 0)
    stops: list[Callable[[], None]] = []
    is_listening = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def started(stop: Callable[[], None]) -> None:
            stops.append(lambda: loop.call_soon_threadsafe(stop))
            is_listening.set()

        await listener.listen(app, "127.0.0.1", port, started, **options)

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert is_listening.wait(10)
    yield port
    app.state.draining = True  # the first of two stops only starts the drain
    stops[0]()
    thread.join(10)
    assert not thread.is_alive()
    app.state.draining = False


@contextmanager
def live_client(app: App) -> Iterator[httpx.Client]:
    """Serve an application and return a client of it."""
    with live_server(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


def shorten_deadlines(monkeypatch: pytest.MonkeyPatch, after_s: float, *states: str) -> None:
    """Set the deadlines of states, of all without any, and check them more often."""
    for state in states or tuple(DEADLINES):
        monkeypatch.setitem(DEADLINES, state, replace(DEADLINES[state], after_s=after_s))
    monkeypatch.setattr(listener, "CHECK_S", 0.02)
