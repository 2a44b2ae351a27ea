"""Whoever comes while the loop is at work is let in all the same."""

import asyncio
import socket
import threading
import time
from types import SimpleNamespace

from segue.serving.http import listener
from segue.serving.http.listener import free_port, listen
from segue.serving.http.load_shedding import EventLoopLag


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def ask(port, times, started):
    """A connection of its own, and how long its answer took."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while line.recv(1000):
            pass
    times.append(time.monotonic() - started)


def test_new_connections_do_not_wait_for_a_round_of_the_loop_each():
    port = free_port("127.0.0.1", 0)
    door = SimpleNamespace(busy=lambda path: False, draining=False, pulse=EventLoopLag(), origins=())
    times: list[float] = []

    async def main() -> None:
        stops = []
        served = asyncio.create_task(listen(app, door, "127.0.0.1", port, stops.append))
        await asyncio.sleep(0.3)
        at_work = True

        async def rounds() -> None:
            while at_work:
                time.sleep(0.03)  # a batch
                await asyncio.sleep(0)

        work = asyncio.create_task(rounds())
        began = time.monotonic()
        crowd = [threading.Thread(target=ask, args=(port, times, began)) for _ in range(150)]
        await asyncio.to_thread(lambda: [one.start() for one in crowd])
        await asyncio.to_thread(lambda: [one.join() for one in crowd])
        at_work = False
        await work
        stops[0]()
        await served

    listener.run(main())
    assert len(times) == 150
    # One a round would take 150 rounds of 30 ms for the last one, besides what its request takes.
    assert max(times) < 3.0
