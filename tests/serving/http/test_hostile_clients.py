"""Clients that exhaust a server: time of the event loop, memory, connections; and responses that they must not get."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import pytest
from tests.serving.http.raw_client import Client, post, talk
from tests.support.live_server import live_server, shorten_deadlines

from segue.serving.http import connections as open_connections
from segue.serving.http import listener
from segue.serving.http.app import App
from segue.serving.http.auth import Keys
from segue.serving.http.exchange import Response
from segue.serving.http.handlers import AppState
from segue.serving.http.protocol import Connections
from segue.serving.http.request_reader import RequestReader
from segue.serving.http.router import Endpoint
from segue.serving.schemas.problems import Problem
from segue.serving.sockets import SocketGroups

LARGE_BYTES = 8_000_000


async def echo_length(state, request, parameter):
    """Return the length of the body."""
    return Response(str(len(request.body)).encode())


async def slow(state, request, parameter):
    """Return the length of the body, half a second later."""
    await asyncio.sleep(0.5)
    return Response(str(len(request.body)).encode())


async def large(state, request, parameter):
    """Return more than the buffers of both sockets hold."""
    return Response(b"x" * LARGE_BYTES)


async def cancelled(state, request, parameter):
    """End like a handler whose future was canceled."""
    raise asyncio.CancelledError


async def unsendable(state, request, parameter):
    """Return a header that no HTTP response can have."""
    return Response(b"", headers={"X-Name": "\u4e2d"})


PAGES = [
    Endpoint("POST", "/length", echo_length, requests=(dict,)),
    Endpoint("POST", "/slow", slow, requests=(dict,)),
    Endpoint("GET", "/large", large),
    Endpoint("GET", "/cancelled", cancelled),
    Endpoint("GET", "/unsendable", unsendable),
]
CHUNKED_404 = post("/nothing", b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")


@pytest.fixture
def state(server):
    return AppState(server.admin.router, admin=server.admin)


@pytest.fixture
def port(state):
    with live_server(App(state, PAGES)) as number:
        yield number


@pytest.fixture
def readers(monkeypatch):
    """Every request reader that the server makes."""
    made, make = [], RequestReader.__init__

    def spy(self, *arguments):
        make(self, *arguments)
        made.append(self)

    monkeypatch.setattr(RequestReader, "__init__", spy)
    return made


async def everything(client):
    """Return everything that the server sends until it closes."""
    return await client.rest()


@pytest.mark.parametrize("trailer", [b"Host: other", b"x: y\r\n" * 200 + b"x: y", b"x: " + b"y" * 70_000])
@pytest.mark.parametrize("head", [CHUNKED_404, CHUNKED_404.replace(b"POST /nothing", b"GET /health/live")])
def test_a_request_that_was_answered_early_gets_no_second_response_for_its_trailers(port, head, trailer):
    """A proxy would take the second one for the response to the next client's request."""
    sent = head + b"1\r\nx\r\n0\r\n" + trailer + b"\r\n\r\n" + post("/length", b"abc", "Connection: close")
    received = talk(port, everything, sent)
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses in ([statuses[0]], [statuses[0], b"200"]) and statuses[0] in (b"404", b"200")


@pytest.mark.parametrize("endless", [b"0\r\nx: ", b"0\r\n", b"1;x="])
def test_endless_trailers_and_chunk_extensions_end_the_connection(port, state, readers, endless):
    """They are no body, so its limit did not count them, and the parser joins a trailer anew with each piece."""
    state.keys = Keys({"SEGUE_API_KEY": "k" * 20})
    sent = CHUNKED_404.replace(b"/nothing", b"/length") + endless

    async def conversation(client):
        status = (await client.response())[0]
        for _ in range(50):
            client.writer.write((b"y: z\r\n" if endless == b"0\r\n" else b"yyyyyy") * 500)
            await asyncio.sleep(0.002)
        return status, readers[-1].is_done

    assert talk(port, conversation, sent) == (401, True)


def test_trailers_are_no_headers(port, monkeypatch):
    seen = []

    async def spy(state, request, parameter):
        seen.append(dict(request.headers))
        return Response(b"")

    app_pages = [Endpoint("POST", "/spy", spy, requests=(dict,), role=None)]
    head = CHUNKED_404.replace(b"/nothing", b"/spy")
    with live_server(App(AppState(None), app_pages)) as number:
        sent = head + b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n" + post("/spy", b"", "Connection: close")
        assert talk(number, everything, sent).count(b"HTTP/1.1 200") == 2
    assert all(b"authorization" not in headers for headers in seen)


def test_an_idle_connection_keeps_no_request_in_memory(port, readers):
    async def conversation(client):
        await client.response()
        reader = readers[-1]
        return reader.state, len(reader._body._content), len(reader._head.headers), reader._request

    assert talk(port, conversation, post("/length", b"x" * 900_000)) == ("idle with key", 0, 0, None)


def test_pipelined_refusals_end_the_connection(port):
    """One client without a key kept the event loop to itself: other clients waited for seconds."""
    num = open_connections.MAX_REFUSED

    async def conversation(client):
        heads = [(await client.response())[:2] for _ in range(num)]
        assert await client.rest() == b""
        return heads

    heads = talk(port, conversation, b"GET /n HTTP/1.1\r\nHost:\r\n\r\n" * 2000)
    assert {status for status, _ in heads} == {404}
    assert [b"connection: close" in head for _, head in heads] == [False] * (num - 1) + [True]


def test_whole_requests_behind_a_slow_one_are_not_taken_for_late(port, monkeypatch):
    """Their bytes had come, but were not read while others waited; the deadline of the one in between ran on."""
    shorten_deadlines(monkeypatch, 0.2, "connected", "head", "body")
    monkeypatch.setattr(listener, "CHECK_S", 0.02)

    async def conversation(client):
        return [(await client.response())[0] for _ in range(41)]

    assert talk(port, conversation, post("/slow") + post("/length", b"x" * 3000) * 40) == [200] * 41


@pytest.mark.parametrize("option", ["Connection: close", "X: y"])
def test_a_response_is_not_cut_off_while_the_client_takes_it(port, monkeypatch, option):
    """The deadline of a closing connection began when the response was buffered, not when it was sent."""
    shorten_deadlines(monkeypatch, 0.3, "writing", "closing")
    monkeypatch.setattr(listener, "CHECK_S", 0.02)

    async def main():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=20_000)
        writer.write(f"GET /large HTTP/1.1\r\nHost: localhost\r\n{option}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        count, started = 0, time.monotonic()
        while count < LARGE_BYTES and (part := await reader.read(100_000)):
            count += len(part)
            await asyncio.sleep(count / LARGE_BYTES * 1.5 - (time.monotonic() - started))
        writer.close()
        return count

    assert asyncio.run(main()) == LARGE_BYTES


@asynccontextmanager
async def listening(state):
    """Yield a running listener and its port; it has stopped at the end."""
    sockets = SocketGroups.bind("127.0.0.1", 0)
    server, is_listening = listener.Listener(App(state, PAGES), sockets), asyncio.Event()
    task = asyncio.create_task(server.serve(is_listening.set))
    await is_listening.wait()
    yield server, sockets.port
    await asyncio.wait_for(task, 10)
    sockets.close()
    state.draining = False


def test_a_body_under_way_when_the_server_stops_is_answered(state):
    async def main():
        async with listening(state) as (server, port):
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            client.writer.write(post("/length", b"ab", length=5))
            idle = Client(*await asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0.1)
            server.stop(10.0)
            rest = await idle.rest()
            client.writer.write(b"cde")
            status, head, body = await client.response()
            client.writer.close()
            idle.writer.close()
        return status, b"connection: close" in head, body, rest

    assert asyncio.run(main()) == (200, True, b"5", b"")


def test_many_connections_at_once_do_not_pass_the_limit(state):
    """The end of a closed connection is reported later: each new one closed the same old one again."""
    connections = Connections()

    class Ended:
        is_responding = False
        aborted = 0

        def abort(self):
            self.aborted += 1

    opened = [Ended() for _ in range(50)]
    for connection in opened:
        connections.move(connection, None, 1)
        connections.make_room(10)
    assert len(connections) == 10 and [connection.aborted for connection in opened] == [1] * 40 + [0] * 10


@pytest.mark.parametrize("path", ["/cancelled", "/unsendable"])
def test_a_request_without_a_response_ends_its_connection(port, path):
    """Else the next response would be taken for its own, and the connection stayed for minutes."""

    async def conversation(client):
        try:
            return await client.rest()
        except ConnectionError:
            return b""

    sent = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    assert talk(port, conversation, sent + post("/length")) == b""


def test_a_fault_in_the_admission_is_a_500_and_in_the_log(port, monkeypatch, caplog):
    def fail(self, request, **options):
        raise KeyError(f"user-{request.method}")

    monkeypatch.setattr(App, "admit", fail)
    assert talk(port, everything, post("/length")).startswith(b"HTTP/1.1 500")
    assert "KeyError" in caplog.text and "in fail" in caplog.text and "user-POST" not in caplog.text


def test_a_fault_of_one_connection_does_not_end_the_deadlines_of_the_others(caplog):
    class Broken:
        aborted = False

        def check(self, now_s):
            raise RuntimeError

        def abort(self):
            self.aborted = True

    async def main():
        connections = Connections()
        broken = Broken()
        connections.move(broken, None, 0)
        check = asyncio.create_task(listener._check_deadlines(connections))
        await asyncio.sleep(0.05)
        is_running = not check.done()
        check.cancel()
        return is_running, broken.aborted

    assert asyncio.run(main()) == (True, True)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET http:///x HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (post("/length", b"abc").replace(b"Length: 3", b"Length: " + b"0" * 5000 + b"3"), b"200"),
        (b"GET /health/live HTTP/2.0\r\nHost: localhost\r\n\r\n", b"505"),
        (b"GET /health/live\r\n\r\n", b"505"),
    ],
)
def test_odd_heads(port, sent, answer):
    async def conversation(client):
        return await client.response()

    status, _, body = talk(port, conversation, sent)
    assert str(status).encode() == answer and b"callback" not in body


def test_http_1_0_has_no_second_request_and_no_interim_response(port):
    """Its clients wait for the end of the connection, and take 100 Continue for the response."""
    body = post("/length", b"abc", "Expect: 100-continue", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    for sent in (body, body.replace(b"keep-alive", b"Upgrade\r\nUpgrade: h2c").replace(b"Host: 127.0.0.1\r\n", b"")):
        received = talk(port, everything, sent)
        assert received.startswith(b"HTTP/1.1 200") and b"connection: close" in received and received.endswith(b"3")


def test_the_request_of_a_connection_from_just_before_the_stop_is_answered(state):
    async def main():
        async with listening(state) as (server, port):
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            server.stop(10.0)
            await asyncio.sleep(0.03)
            client.writer.write(post("/length"))
            status, _, _ = await client.response()
            client.writer.close()
        return status

    assert asyncio.run(main()) == 200


def test_a_worker_refuses_with_cors_headers_when_its_primary_process_is_gone(state):
    async def gone(request):
        return Response.problem(Problem(503, "The server is restarting: try again in a moment."))

    state.origins = ("https://shop.example",)
    request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nOrigin: https://shop.example\r\n"
    request += b"Connection: close\r\n\r\n"
    with live_server(App(state, PAGES, gone)) as number:
        received = talk(number, everything, request)
    assert received.startswith(b"HTTP/1.1 503") and b"access-control-allow-origin: https://shop.example" in received


def test_a_response_without_content_has_no_length(state):
    """RFC 9110, section 8.6."""
    state.origins = ("https://shop.example",)
    request = b"OPTIONS /v1/events HTTP/1.1\r\nHost: localhost\r\nOrigin: https://shop.example\r\n"
    request += b"Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
    with live_server(App(state, PAGES)) as number:
        received = talk(number, everything, request)
    assert received.startswith(b"HTTP/1.1 204") and b"content-" not in received


def test_connections_that_wait_to_be_accepted_at_a_stop_are_answered(state):
    """Under load some always wait: the system reset them when the server stopped to listen."""
    port, clients = listener.free_port("127.0.0.1", 0), []

    async def main():
        def started(stop):
            def fill_and_stop():
                for _ in range(5):
                    clients.append(socket.create_connection(("127.0.0.1", port), 5))
                    clients[-1].sendall(post("/length"))
                state.draining = True  # the first of two stops only starts the drain
                stop()

            asyncio.get_running_loop().call_later(0.05, fill_and_stop)

        await listener.listen(App(state, PAGES), "127.0.0.1", port, started)

    asyncio.run(main())
    for client in clients:
        with client:
            client.settimeout(5)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
