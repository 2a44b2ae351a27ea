"""New connections under load: they are accepted while the event loop is busy."""

import asyncio
import socket
import threading
import time

from segue.serving.http import listener
from segue.serving.http.app import App
from segue.serving.http.handlers import AppState
from segue.serving.http.listener import free_port, listen


def request(port, times, started):
    """Send a request over a connection of its own, and note when its response was there."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        while connection.recv(1000):
            pass
    times.append(time.monotonic() - started)


def test_new_connections_do_not_wait_for_a_round_of_the_loop_each(server):
    port = free_port("127.0.0.1", 0)
    app = App(AppState(server.state.router))
    times: list[float] = []

    async def main() -> None:
        stops = []
        served = asyncio.create_task(listen(app, "127.0.0.1", port, stops.append))
        await asyncio.sleep(0.3)
        is_busy = True

        async def rounds() -> None:
            while is_busy:
                time.sleep(0.03)  # a batch
                await asyncio.sleep(0)

        work = asyncio.create_task(rounds())
        began = time.monotonic()
        clients = [threading.Thread(target=request, args=(port, times, began)) for _ in range(150)]
        await asyncio.to_thread(lambda: [client.start() for client in clients])
        await asyncio.to_thread(lambda: [client.join() for client in clients])
        is_busy = False
        await work
        stops[0]()
        await served

    import uvloop

    uvloop.run(main())
    assert len(times) == 150
    # One a round would take 150 rounds of 30 ms for the last one, besides the time of its request.
    assert max(times) < 3.0


def test_a_second_stop_ends_at_once(server):
    port = free_port("127.0.0.1", 0)
    app = App(AppState(server.state.router))

    async def main() -> float:
        stops = []
        served = asyncio.create_task(listen(app, "127.0.0.1", port, stops.append))
        await asyncio.sleep(0.1)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        stops[0]()
        stops[0]()
        await served
        writer.close()
        return time.monotonic() - began

    assert asyncio.run(main()) < listener.DRAIN_S
