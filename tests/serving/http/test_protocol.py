"""Connections of hostile or hurried clients: each request is answered in its turn, each state ends by its deadline."""

import asyncio
import json
import time

import pytest
from tests.serving.http.raw_client import Client, post, talk
from tests.support.live_server import live_server, shorten_deadlines

from segue.serving.http import app as app_module
from segue.serving.http import listener, request_reader
from segue.serving.http.app import App
from segue.serving.http.auth import Keys
from segue.serving.http.exchange import Response
from segue.serving.http.handlers import AppState
from segue.serving.http.protocol import Connection, Connections
from segue.serving.http.request_reader import RequestReader
from segue.serving.http.router import Endpoint

SLOW_S = 0.2


async def echo_length(state, request, parameter):
    """Return the length of the body."""
    return Response(str(len(request.body)).encode())


async def slow(state, request, parameter):
    """Return the length of the body, a moment later."""
    await asyncio.sleep(SLOW_S)
    return Response(str(len(request.body)).encode())


async def large(state, request, parameter):
    """Return more than any socket's buffer holds."""
    return Response(b"x" * 30_000_000)


PAGES = [
    Endpoint("POST", "/length", echo_length, requests=(dict,)),
    Endpoint("POST", "/slow", slow, requests=(dict,)),
    Endpoint("GET", "/large", large),
]


@pytest.fixture
def state(server):
    return AppState(server.admin.router, admin=server.admin)


@pytest.fixture
def port(state):
    with live_server(App(state, PAGES)) as number:
        yield number


@pytest.fixture
def short(monkeypatch):
    """Deadlines of a moment."""
    shorten_deadlines(monkeypatch, 0.3)
    monkeypatch.setattr(listener, "CHECK_S", 0.02)


def test_pipelined_requests_are_answered_in_their_order(port):
    async def conversation(client):
        return [(await client.response())[2] for _ in range(3)]

    sent = post("/slow", b"12345") + post(body=b"12") + post(body=b"1")
    assert talk(port, conversation, sent) == [b"5", b"2", b"1"]


@pytest.mark.parametrize("size", [1, 7, 50])
def test_requests_in_small_pieces_are_answered_alike(port, size):
    sent = post(body=b"12345") + b"\r\n" + post(body=b"12")

    async def conversation(client):
        for start in range(0, len(sent), size):
            client.writer.write(sent[start : start + size])
            await asyncio.sleep(0.001)
        return [(await client.response())[::2] for _ in range(2)]

    assert talk(port, conversation) == [(200, b"5"), (200, b"2")]


def test_a_chunked_body_is_put_together(port):
    head = post("/length", b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")

    async def conversation(client):
        return (await client.response())[::2]

    assert talk(port, conversation, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") == (200, b"5")


@pytest.mark.parametrize("piece", [10_000, 1_000])
def test_an_upgrade_is_declined_and_its_body_is_a_body(port, piece):
    """A stock Java client offers h2c with every first request; its body was run as a request of its own."""
    inner = post(body=b"not a request of its own")
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA")
    sent = post("/length", inner, *offer) + post(body=b"12")

    async def conversation(client):
        for start in range(0, len(sent), piece):
            client.writer.write(sent[start : start + piece])
            await asyncio.sleep(0.01)
        answers = [(await client.response())[::2] for _ in range(2)]
        client.writer.write(post("/length", b"123", "Connection: close"))
        return answers, (await client.response())[2], await client.rest()

    answers, third, rest = talk(port, conversation)
    assert answers == [(200, str(len(inner)).encode()), (200, b"2")]
    assert (third, rest) == (b"3", b"")


def test_a_busy_server_refuses_keeps_the_connection_and_takes_events(port, state, monkeypatch):
    monkeypatch.setattr(AppState, "busy", lambda self, path: path == "/v1/recommend")

    async def conversation(client):
        for sent in (post("/v1/recommend"), post("/v1/recommend", b"12", length=5)):
            client.writer.write(sent)
            if sent.endswith(b"12"):
                await asyncio.sleep(0.05)
                client.writer.write(b"345")
            status, head, body = await client.response()
            assert status == 503 and b"retry-after: 1" in head and b"application/problem+json" in head
            assert json.loads(body)["status"] == 503
        client.writer.write(post(body=b"1234"))
        return (await client.response())[::2]

    assert talk(port, conversation) == (200, b"4")
    assert b'segue_requests_total{operation="/v1/recommend",status="503"} 2.0' in state.router.metrics.text()


@pytest.mark.parametrize("is_known", [True, False])
def test_a_body_is_asked_for_only_once_its_head_is_admitted(port, state, is_known):
    """Key, role and rate come before the body: 100 Continue for an admitted head, the refusal at once for another."""
    state.keys = Keys({"SEGUE_API_KEY": "k" * 20})
    key = f"Authorization: Bearer {'k' * 20 if is_known else 'wrong'}"

    async def conversation(client):
        client.writer.write(post("/length", b"", key, "Expect: 100-continue", length=3))
        if is_known:
            assert (await client.reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.writer.write(b"abc")
            return (await client.response())[::2]
        status, head, _ = await client.response()
        assert b"connection: close" in head and await client.rest() == b""
        return status

    assert talk(port, conversation) == ((200, b"3") if is_known else 401)


def test_a_refused_body_is_not_kept(port, state, monkeypatch):
    """A client without a key announces a megabyte: it is refused at once, and nothing of the body is in memory."""
    state.keys = Keys({"SEGUE_API_KEY": "k" * 20})
    kept, on_body = [], RequestReader.on_body

    def spy(self, body):
        on_body(self, body)
        kept.append(len(self._body._content))

    monkeypatch.setattr(RequestReader, "on_body", spy)

    async def conversation(client):
        client.writer.write(post("/length", b"", length=900_000))
        status = (await client.response())[0]
        client.writer.write(b"x" * 900_000)
        client.writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return status, (await client.response())[0]

    assert talk(port, conversation) == (401, 200), "the rest of the body is skipped, and the connection goes on"
    assert kept and set(kept) == {0}


def test_a_body_whose_response_came_early_must_come_in_time_too(short, port):
    async def conversation(client):
        status = (await client.response())[0]
        started = time.monotonic()
        while not client.reader.at_eof() and time.monotonic() - started < 4:
            client.writer.write(b"x")
            await asyncio.sleep(0.05)
        return status, time.monotonic() - started < 3

    assert talk(port, conversation, post("/nothing", b"", length=100_000)) == (404, True)
    chunked = post("/nothing", b"1\r\n{\r\n", "Transfer-Encoding: chunked").replace(b"Content-Length: 6\r\n", b"")

    async def broken(client):
        await client.response()
        client.writer.write(b"x")
        return await client.rest()

    assert talk(port, broken, chunked) == b"", "one request has one response, also where its body breaks off"
    unneeded = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
    assert talk(port, conversation, unneeded) == (200, True)


def test_a_body_over_the_limit_is_refused_at_its_head_or_at_the_byte_that_is_too_much(port):
    async def announced(client):
        status, head, _ = await client.response()
        assert b"connection: close" in head
        return status

    assert talk(port, announced, post("/length", b"", length=app_module.MAX_BODY_BYTES + 1)) == 413
    head = post("/length", b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"

    async def unannounced(client):
        for _ in range(11):
            client.writer.write(chunk)
        return (await client.response())[0]

    assert talk(port, unannounced, head) == 413


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost:",
        b"POST /length HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 1000,
    ],
)
def test_a_head_that_does_not_come_ends_the_connection(short, port, sent):
    async def conversation(client):
        return await client.rest()

    assert talk(port, conversation, sent) == b""


def test_a_head_that_trickles_in_ends_the_connection(short, port):
    async def conversation(client):
        started = time.monotonic()
        for byte in post() * 100:
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
            if client.reader.at_eof():
                return time.monotonic() - started
        return None

    assert talk(port, conversation) < 3


def test_every_state_ends_by_its_deadline_wherever_a_request_stops(short, port):
    """A request cut off behind any of its bytes: the connection is closed, with 408 where the head was complete."""
    whole = post(body=b"0123456789")
    body_from = whole.index(b"\r\n\r\n") + 4

    async def stop_at(cut):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole[:cut])
        rest = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return cut, rest

    async def main():
        return await asyncio.gather(*(stop_at(cut) for cut in range(len(whole) + 1)))

    for cut, rest in asyncio.run(main()):
        if cut < body_from:
            assert rest == b"", whole[:cut]
        elif cut < len(whole):
            assert rest.startswith(b"HTTP/1.1 408"), whole[:cut]
        else:
            assert rest.startswith(b"HTTP/1.1 200") and rest.endswith(b"10"), "idle, and then closed"


def test_a_line_end_behind_a_response_does_not_keep_a_connection_open(short, port):
    async def conversation(client):
        await client.response()
        started = time.monotonic()
        while not client.reader.at_eof() and time.monotonic() - started < 4:
            client.writer.write(b"\r\n")
            await asyncio.sleep(0.05)
        return time.monotonic() - started

    assert talk(port, conversation, post()) < 3


def test_a_client_that_does_not_read_is_cut_off(short, state):
    connections = Connections()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(App(state, PAGES), connections, 10), "127.0.0.1", 0)
        check = asyncio.create_task(listener._check_deadlines(connections))
        _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1], limit=1000)
        writer.write(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await asyncio.sleep(0.1)
        assert len(connections) == 1
        for _ in range(100):
            if not connections:
                break
            await asyncio.sleep(0.05)
        check.cancel()
        writer.close()
        server.close()
        return len(connections)

    assert asyncio.run(main()) == 0


def test_a_handler_that_never_ends_does_not_keep_its_connection(short, port, monkeypatch):
    monkeypatch.setitem(globals(), "SLOW_S", 3.0)

    async def conversation(client):
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            await client.rest()
            raise ConnectionResetError  # closed without a reset
        return time.monotonic() - started

    assert talk(port, conversation, post("/slow")) < 2.5


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 102, 431),
        (b"GET /" + b"a" * 70_000, 414),
        (b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000, 431),
    ],
)
def test_an_endless_head_is_refused(port, sent, expected):
    async def conversation(client):
        status, head, _ = await client.response()
        assert b"connection: close" in head
        return status

    assert talk(port, conversation, sent) == expected


def test_an_encoded_slash_is_no_slash(port):
    """A proxy that guards /v1/admin must see the path that this server sees."""

    async def conversation(client):
        return (await client.response())[0]

    for target, status in (
        ("/v1%2Fitems", 404),
        ("/%761/items", 404),
        ("/v1/items/a%2Fb", 404),
        ("/v1/items/%61", 200),
    ):
        assert talk(port, conversation, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()) == status, target


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"POST /length HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\n\r\n", 400),
        (post("/length", b"abc", "Content-Length: 3"), 400),
        (post("/length", b"abc", "Content-Length: 4"), 400),
        (post("/length", b"abc", "Transfer-Encoding: chunked"), 400),
        (b"GET /v1/items/%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        (b"GET http://127.0.0.1/nothing?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        (b"GET //evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        (b"GET /v1/items/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 422),
    ],
)
def test_odd_requests_are_refused_as_problems(port, sent, status):
    async def conversation(client):
        return await client.response()

    found, head, body = talk(port, conversation, sent)
    assert (found, json.loads(body)["status"]) == (status, status)
    assert b"application/problem+json" in head and b"location" not in head


def test_http_1_0_and_connection_close_end_the_connection(port):
    async def conversation(client):
        status, head, _ = await client.response()
        return status, b"connection: close" in head, await client.rest()

    assert talk(port, conversation, b"GET /health/live HTTP/1.0\r\n\r\n") == (200, True, b"")
    assert talk(port, conversation, post("/length", b"abc", "Connection: close")) == (200, True, b"")


def test_head_has_the_length_and_no_body(port):
    async def conversation(client):
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)
        client.writer.write(post(body=b"12"))
        return head.lower(), (await client.response())[2]

    head, second = talk(port, conversation, b"HEAD /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b"content-length: 30" in head and b"date: " in head
    assert second == b"2"


def test_a_half_closed_connection_gets_its_response(port):
    async def conversation(client):
        client.writer.write_eof()
        return await client.rest()

    assert talk(port, conversation, post("/slow", b"abc")).endswith(b"3")


def test_an_early_refusal_reaches_a_client_that_is_still_sending(port):
    """Closing over unread bytes resets a connection, and the client loses the response."""

    async def conversation(client):
        for _ in range(20):
            client.writer.write(b"x" * 100_000)
            await asyncio.sleep(0.005)
        return (await client.response())[0]

    assert talk(port, conversation, post("/length", b"", length=5_000_000)) == 413


def test_hundreds_of_pipelined_requests_are_answered_and_few_wait(port, monkeypatch):
    waiting, receive = [], Connection.receive

    def spy(self, *arguments, **options):
        receive(self, *arguments, **options)
        waiting.append(self.num_waiting)

    monkeypatch.setattr(Connection, "receive", spy)

    async def conversation(client):
        return [int((await client.response())[2]) for _ in range(500)]

    sent = b"".join(post(body=b"x" * (n % 7)) for n in range(500))
    assert talk(port, conversation, sent) == [n % 7 for n in range(500)]
    assert max(waiting) <= request_reader.MAX_WAITING + 1


def test_a_full_server_closes_the_idlest_connection_for_a_new_one(state):
    async def main(port):
        async def opened():
            return Client(*await asyncio.open_connection("127.0.0.1", port))

        idle = await opened()
        at_work = await opened()
        at_work.writer.write(post("/slow"))
        await asyncio.sleep(0.05)
        new = await opened()
        new.writer.write(post(body=b"12"))
        assert (await new.response())[2] == b"2"
        assert (await at_work.response())[2] == b"3"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await idle.reader.readexactly(1)
        for client in (idle, at_work, new):
            client.writer.close()

    with live_server(App(state, PAGES), limit=2) as port:
        asyncio.run(main(port))


def test_a_draining_server_answers_and_closes(port, state):
    state.draining = True

    async def conversation(client):
        status, head, _ = await client.response()
        return status, b"connection: close" in head

    assert talk(port, conversation, post()) == (200, True)
