"""States of connections: each ends by its own deadline, wherever a client stops; eviction and memory of many."""

import asyncio
import contextlib
import gc
import itertools
import select
import socket
import time
import weakref
from pathlib import Path

import pytest
from tests.serving.http.raw_client import Client, post, talk
from tests.support.live_server import live_server, shorten_deadlines

from segue.serving.http import connections as module
from segue.serving.http.app import App
from segue.serving.http.auth import Keys
from segue.serving.http.connections import DEADLINES, Connections, rank_of
from segue.serving.http.exchange import Response
from segue.serving.http.handlers import AppState
from segue.serving.http.protocol import Connection
from segue.serving.http.router import Endpoint

KEY = "k" * 20
AUTHORIZED = f"Authorization: Bearer {KEY}"
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "deployment.md"


async def echo_length(state, request, parameter):
    """Return the length of the body."""
    return Response(str(len(request.body)).encode())


async def endless(state, request, parameter):
    """Return nothing for a minute."""
    await asyncio.sleep(60)


async def large(state, request, parameter):
    """Return more than any socket's buffer holds."""
    return Response(b"x" * 30_000_000)


PAGES = [
    Endpoint("POST", "/length", echo_length, requests=(dict,)),
    Endpoint("GET", "/endless", endless),
    Endpoint("GET", "/endless-page", endless, role=None),
    Endpoint("GET", "/large", large),
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory, run, open_server):
    with open_server(tmp_path_factory.mktemp("connections") / "server", run) as running:
        yield running


@pytest.fixture(scope="module")
def port(opened):
    state = AppState(opened.admin.router, Keys({"SEGUE_API_KEY": KEY}), opened.admin)
    state.loop_lag.limit_ms = 60_000
    with live_server(App(state, PAGES)) as number:
        yield number


def chunked(path, *headers):
    return post(path, b"", "Transfer-Encoding: chunked", *headers).replace(b"Content-Length: 0\r\n", b"")


def get(path, *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", AUTHORIZED, *headers, "", ""]).encode()


REQUESTS = {
    "a body": post("/length", b"0123456789", AUTHORIZED),
    "chunks": chunked("/length", AUTHORIZED) + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
    "a body without a key": post("/length", b"0123456789"),
    "chunks without a key": chunked("/length") + b"3\r\nabc\r\n0\r\n\r\n",
    "a body that is not needed": get("/health/live", "Content-Length: 5") + b"12345",
    "an unknown path": post("/nothing", b"0123456789", AUTHORIZED),
    "an expectation": post("/length", b"0123456789", AUTHORIZED, "Expect: 100-continue"),
    "an upgrade": post("/length", b"0123456789", AUTHORIZED, "Connection: Upgrade", "Upgrade: h2c"),
    "version 1.0": post("/length", b"012", AUTHORIZED).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two requests": post("/length", b"0", AUTHORIZED) + get("/health/live"),
    "line ends before": b"\r\n\r\n" + get("/health/live") + b"\r\n",
    "a whole URL": get("http://127.0.0.1/health/live"),
}
MAX_OPEN = 300


@pytest.mark.parametrize("name", REQUESTS)
def test_a_client_that_stops_at_any_byte_is_closed(port, monkeypatch, name):
    """Each byte of each request, and nothing more: the connection ends, with a response for each complete head."""
    whole = REQUESTS[name]
    first_head = whole.index(b"\r\n\r\n", 4) + 4

    async def stop_at(cut, open_connections):
        async with open_connections:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(whole[:cut])
            received = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return received

    async def stop_at_each(*cuts):
        open_connections = asyncio.Semaphore(MAX_OPEN)
        return await asyncio.gather(*(stop_at(cut, open_connections) for cut in range(*cuts)))

    shorten_deadlines(monkeypatch, 0.2)
    received = asyncio.run(stop_at_each(first_head))
    shorten_deadlines(monkeypatch, 60, "connected")  # a slow machine must not miss it before it reads the head
    received += asyncio.run(stop_at_each(first_head, len(whole) + 1))
    for cut, response in enumerate(received):
        num_responses = response.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").count(b"HTTP/1.1 ")
        assert num_responses <= 1 if cut < len(whole) - 1 else num_responses <= 2
        assert num_responses == (0 if cut < first_head else 1) or name == "two requests", (cut, response)
    assert received[-1].count(b"HTTP/1.1 200") or "without a key" in name or name == "an unknown path"


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /length HTTP/1.1\r\nX: ", *(REQUESTS[name][:-4] for name in REQUESTS if name != "line ends before")],
)
def test_a_client_that_sends_a_byte_within_each_deadline_is_closed(port, monkeypatch, sent):
    """The deadlines are those of whole states: a byte now and then starts none of them again."""
    shorten_deadlines(monkeypatch, 0.4)

    async def conversation(client):
        end = asyncio.create_task(client.reader.read())
        for _ in range(80):
            client.writer.write(b"y")
            if (await asyncio.wait([end], timeout=0.1))[0]:
                break
        return end.done()

    assert talk(port, conversation, sent)


def is_closed(connection, more, timeout_s):
    """Wait until the server has closed both directions; bytes are sent meanwhile, and none are read."""
    poll, until = select.poll(), time.monotonic() + timeout_s
    poll.register(connection, select.POLLHUP | select.POLLERR)
    while time.monotonic() < until:
        if poll.poll(50):
            return True
        with contextlib.suppress(BlockingIOError):
            try:
                connection.send(more)
            except ConnectionError:
                return True
    return False


SCENARIOS = {
    "connected": (b"", 0),
    "head": (get("/health/live") + b"GET / HTTP/1.1\r\n", 1),
    "body": (post("/length", b"12", AUTHORIZED, length=100_000), 0),
    "refused body": (post("/nothing", b"12", length=100_000), 1),
    "responding": (get("/endless"), 0),
    "responding without key": (get("/endless-page"), 0),
    "waiting without key": (post("/length") * 5, 2),
    "writing": (get("/large"), 0),
    "closing": (post("/length", b"", AUTHORIZED, length=9_000_000), 1),
    "idle": (get("/health/live"), 1),
    "idle with key": (post("/length", b"12", AUTHORIZED), 1),
}
"""State -> (bytes that lead to it, number of responses on the way)."""


@pytest.mark.parametrize("state", DEADLINES)
def test_each_state_has_its_own_deadline(port, monkeypatch, state):
    """With a short deadline for one state only, a client in it is closed; with long ones for all it is not."""
    sent, num_responses = SCENARIOS[state]
    shorten_deadlines(monkeypatch, 60)
    if state == "waiting without key":
        monkeypatch.setattr(module.Connections, "defer", lambda *connection, **again: None)
    if state != "closing":
        shorten_deadlines(monkeypatch, 0.3, "closing")
    for after_s, expected in ((60, False), (0.3, True)):
        shorten_deadlines(monkeypatch, after_s, state)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(sent)
            received = b""
            while received.count(b"\r\n\r\n") < num_responses:
                received += connection.recv(65_536)
            connection.setblocking(False)
            more = b"y" if state == "head" else b"\r\n"
            assert is_closed(connection, more, 8.0 if expected else 0.6) == expected


def test_the_guide_lists_every_deadline():
    page = GUIDE.read_text(encoding="utf-8")
    for state, deadline in DEADLINES.items():
        assert f"| {state} | {deadline.after_s:g} | {deadline.since} | {deadline.outcome} |" in page
    assert page.count("since | then |") == 1


def test_an_expectation_behind_another_request_gets_its_interim_response(port):
    """The client waited for it until the body's deadline."""

    async def conversation(client):
        first = await client.response()
        interim = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)
        client.writer.write(b"abc")
        return first[2], interim, (await client.response())[2]

    sent = post("/length", b"12", AUTHORIZED) + post("/length", b"", AUTHORIZED, "Expect: 100-continue", length=3)
    assert talk(port, conversation, sent) == (b"2", b"HTTP/1.1 100 Continue\r\n\r\n", b"3")


def test_a_lost_connection_leaves_the_memory_at_once(port):
    """The collector of cycles runs rarely in a server: ten thousand closed connections would wait for it."""
    made, make = [], Connection.__init__

    def spy(self, *arguments):
        made.append(weakref.ref(self))
        make(self, *arguments)

    async def conversation(client):
        status = (await client.response())[0]
        client.writer.write(b"GET / HTTP/1.1\r\nX: y")
        await asyncio.sleep(0.05)
        return status

    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "__init__", spy)
            assert talk(port, conversation, post("/length", b"12", AUTHORIZED)) == 200
        for _ in range(100):
            if all(reference() is None for reference in made):
                break
            time.sleep(0.02)
        assert len(made) == 1 and made[0]() is None
    finally:
        gc.enable()


class Stuck:
    """Connection that counts how often it is closed."""

    def __init__(self):
        self.num_aborts = 0

    def abort(self):
        self.num_aborts += 1


def test_the_idlest_connection_is_closed_first():
    opened = Connections()
    kinds = [
        ("body", True, False), ("idle with key", True, True), ("idle with key", True, False), ("head", True, False),
        ("refused body", False, False), ("head", False, False), ("head", False, False), ("connected", False, False),
        ("idle", False, False),
    ]  # fmt: skip
    stuck = [Stuck() for _ in kinds]
    for connection, (state, has_key, is_responding) in zip(stuck, kinds, strict=True):
        opened.move(connection, None, rank_of(state, has_key=has_key, is_responding=is_responding))
    order = []
    for limit in range(len(stuck) - 1, -1, -1):
        opened.make_room(limit)
        order += [n for n, connection in enumerate(stuck) if connection.num_aborts and n not in order]
    assert order == [4, 8, 5, 6, 2, 3, 0, 1, 7], "clients without a key first; the newest of them only at the end"
    assert [connection.num_aborts for connection in stuck] == [1] * len(stuck)


def test_many_clients_without_a_key_close_none_with_a_key():
    opened, honest = Connections(), [Stuck() for _ in range(20)]
    for connection in honest:
        opened.move(connection, None, rank_of("idle with key", has_key=True, is_responding=False))
    for _ in range(1000):
        opened.move(Stuck(), None, rank_of("connected", has_key=False, is_responding=False))
        opened.make_room(100)
    assert len(opened) == 100 and not any(connection.num_aborts for connection in honest)


def test_bodies_in_memory_are_bounded_over_all_connections(port, monkeypatch):
    """A client with a key could hold a megabyte with each of 8,192 connections."""
    monkeypatch.setattr("segue.serving.http.request_head.MAX_BODY_BYTES_HELD", 250_000)

    async def main():
        clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(6)]
        for client in clients[:4]:
            client.writer.write(post("/length", b"x" * 80_000, AUTHORIZED, length=90_000))
        refused = asyncio.as_completed([asyncio.create_task(client.response()) for client in clients[:4]])
        status, head, _ = await next(refused)
        assert status == 503 and b"retry-after: 1" in head and b"connection: close" in head
        clients[4].writer.write(post("/length", b"x" * 1000, AUTHORIZED))
        small = await clients[4].response()
        for client in clients[:4]:
            client.writer.close()
        for _ in range(100):
            clients[5].writer.write(post("/length", b"x" * 200_000, AUTHORIZED))
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if (await clients[5].response())[0] == 200:
                    break
            clients[5] = Client(*await asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("the memory of closed connections is not free again")
        for client in clients[4:]:
            client.writer.close()
        return small[2]

    assert asyncio.run(main()) == b"1000", "a small request passes all the same"


def test_heads_in_memory_are_bounded_over_all_connections(port, monkeypatch):
    monkeypatch.setattr("segue.serving.http.request_reader.MAX_HEAD_BYTES_HELD", 100_000)

    async def main():
        clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(4)]
        for client in clients:
            client.writer.write(b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000)
        status, _, _ = await next(asyncio.as_completed([asyncio.create_task(c.response()) for c in clients]))
        honest = Client(*await asyncio.open_connection("127.0.0.1", port))
        honest.writer.write(post("/length", b"12", AUTHORIZED))
        answer = await honest.response()
        for client in [*clients, honest]:
            client.writer.close()
        return status, answer[2]

    assert asyncio.run(main()) == (503, b"2")


def test_tiny_chunks_are_refused(port):
    """A megabyte of them is 160,000 calls of the parser."""

    async def conversation(client):
        return (await client.response())[::2]

    status, body = talk(port, conversation, chunked("/length", AUTHORIZED) + b"1\r\nx\r\n" * 20_000)
    assert status == 400 and b"chunk heads and trailers" in body
    large = b"".join(b"%x\r\n%s\r\n" % (1000, b"x" * 1000) for _ in range(900))
    assert talk(port, conversation, chunked("/length", AUTHORIZED) + large + b"0\r\n\r\n") == (200, b"900000")


def test_refusals_take_turns_over_all_connections(port, monkeypatch):
    """Ten thousand clients with a hundred requests each in one packet took the event loop for half a minute."""
    turns, take_turn = [], module.Connections._take_turns

    def count(self):
        turns.append(len(self._deferred))
        take_turn(self)

    monkeypatch.setattr(module.Connections, "_take_turns", count)

    async def main():
        clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(4)]
        for client in clients:
            client.writer.write(post("/length") * 10)
        statuses = [[(await client.response())[0] for _ in range(10)] for client in clients]
        for client in clients:
            client.writer.close()
        return statuses

    assert asyncio.run(main()) == [[401] * 10] * 4
    assert len(turns) >= 4 * (10 - module.FREE_REFUSED)


def test_a_connection_without_a_success_is_closed_after_some_responses(port, monkeypatch):
    monkeypatch.setattr("segue.serving.http.protocol.MAX_REFUSED", 5)

    async def conversation(client):
        statuses = [(await client.response())[0] for _ in range(9)]
        return statuses, await client.rest()

    served, refused = post("/length", b"12", AUTHORIZED), post("/length", b"12")
    sent = refused * 3 + served + get("/health/live") + refused * 4 + served
    assert talk(port, conversation, sent) == ([401] * 3 + [200, 200] + [401] * 4, b"")
    assert module.MAX_REFUSED == 100


def test_free_responses_are_limited_over_all_connections(monkeypatch):
    monkeypatch.setattr(module, "FREE_S", 0.05)

    async def main():
        connections = module.Connections()
        assert not connections.take_free(module.FREE_REFUSED)
        assert [connections.take_free(0) for _ in range(module.MAX_FREE + 1)] == [True] * module.MAX_FREE + [False]
        await asyncio.sleep(0.06)
        return connections.take_free(1)

    assert asyncio.run(main())


def test_in_a_crowd_no_response_without_a_key_is_free(monkeypatch):
    monkeypatch.setattr(module, "CROWD", 2)

    async def main():
        connections = module.Connections()
        for _ in range(2):
            connections.move(object(), None, 0)
        assert connections.take_free(0)
        connections.move(object(), None, 0)
        assert not connections.take_free(0)

    asyncio.run(main())


def test_a_turn_that_takes_long_is_followed_by_a_longer_rest():
    """A large response to a client that does not read takes 1.7 ms: a thousand a second took all of the event loop."""

    class Slow:
        def take_turn(self):
            started_s.append(time.perf_counter())
            asyncio.get_running_loop().create_task(self.respond())

        async def respond(self):
            time.sleep(0.01)

    async def main():
        for _ in range(4):
            connections.defer(Slow(), again=False)
        while len(started_s) < 4:
            await asyncio.sleep(0.001)

    started_s, connections = [], module.Connections()
    asyncio.run(main())
    assert min(later - earlier for earlier, later in itertools.pairwise(started_s)) >= 0.01 / module.TURN_SHARE


def test_a_turn_that_fails_does_not_end_the_turns_of_the_others():
    class Waiting:
        def __init__(self, fails):
            self.fails = fails

        def take_turn(self):
            turns.append(self)
            if self.fails:
                raise RuntimeError

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        for fails in (False, True):
            connections.defer(Waiting(fails), again=False)
        while len(turns) < 2:
            await asyncio.sleep(0.001)

    turns, connections = [], module.Connections()
    asyncio.run(asyncio.wait_for(main(), 5))
    assert [turn.fails for turn in turns] == [True, False]


def test_in_a_crowd_the_newest_has_a_turn_first_and_one_that_had_a_turn_goes_last():
    class Waiting:
        def __init__(self, number):
            self.number = number

        def take_turn(self):
            served.append(self.number)
            connections.defer(self, again=True)

    async def main():
        for number in range(4):
            connections.defer(Waiting(number), again=False)
        while len(served) < 8:
            await asyncio.sleep(0.001)

    served, connections = [], module.Connections()
    asyncio.run(main())
    assert served[:8] == [3, 2, 1, 0, 3, 2, 1, 0]


def test_a_connection_with_a_key_outlives_a_crowd_that_waits_for_responses():
    class Idle:
        def __init__(self, name):
            self.name = name

        def abort(self):
            closed.append(self.name)

    closed, connections = [], module.Connections()
    for _ in range(3):
        connections.move(Idle("keyed"), None, rank_of("idle with key", has_key=True, is_responding=False))
    for _ in range(40):
        connections.move(Idle("crowd"), None, rank_of("idle", has_key=False, is_responding=True))
    connections.make_room(32)
    assert closed == ["crowd"] * 11


def test_in_a_crowd_bytes_are_read_once_in_a_round_of_checks_and_deadlines_hold(port, monkeypatch):
    monkeypatch.setattr(module, "CROWD", 0)

    async def conversation(client):
        return (await client.response())[::2]

    assert talk(port, conversation, post("/length", b"12", AUTHORIZED)) == (200, b"2")
    shorten_deadlines(monkeypatch, 0.5, "head")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        started_s = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started_s < 4:
                connection.sendall(b"G")
                time.sleep(0.02)
        assert time.monotonic() - started_s < 3


def test_in_a_crowd_only_connections_with_a_key_are_read_between_two_checks(port, monkeypatch):
    def count(connection, nbytes):
        reads.append(connection)
        update(connection, nbytes)

    reads, update = [], Connection.buffer_updated
    monkeypatch.setattr(module, "CROWD", 0)
    monkeypatch.setattr(Connection, "buffer_updated", count)
    address = ("127.0.0.1", port)
    with socket.create_connection(address) as keyless, socket.create_connection(address) as keyed:
        keyed.sendall(get("/nowhere") + post("/length", b"1", AUTHORIZED))
        time.sleep(1.5)  # a round of checks has passed
        reads.clear()
        started_s = time.monotonic()
        for _ in range(50):
            keyless.sendall(b"G" if not reads else b"x")
            keyed.sendall(get("/nowhere"))
            time.sleep(0.02)
        num_rounds = (time.monotonic() - started_s) / 0.25 + 2
        counts = sorted(reads.count(connection) for connection in set(reads))
    assert len(counts) == 2
    assert counts[0] <= num_rounds < 40 <= counts[1]
