"""Connections as hostile or hurried clients make them: each is answered in one piece, or closed in time."""

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.server import ServerState

from segue.serving.http import protocol
from segue.serving.http.coalescing_transport import CoalescingTransport
from segue.serving.http.protocol import Connection


async def app(scope, receive, send):
    """Says how long the body is that it was sent; never looks at one where the path says so."""
    length = 0
    while scope["path"] != "/unread" and (message := await receive())["type"] == "http.request":
        length += len(message["body"])
        if not message["more_body"]:
            break
    body = str(length).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(*, busy=False):
    """(port, the door, the server's state)."""
    refused = []
    telemetry = SimpleNamespace(requested=lambda *told: refused.append(told))
    door = SimpleNamespace(
        busy=lambda path: busy and path == "/v1/recommend", draining=False, refused=refused, origins=()
    )
    door.fleet = SimpleNamespace(telemetry=telemetry)
    config = uvicorn.Config(app, http=partial(Connection, door), ws="none", lifespan="off", log_level="critical")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    made = partial(Connection, door, config=config, server_state=state, app_state={})
    server = await loop.create_server(made, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], door, state
    finally:
        server.close()


def request(path="/v1/recommend", body=b"abc", *more, length=None):
    head = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body) if length is None else length}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


async def answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return int(head.split()[1]), head.lower(), await asyncio.wait_for(reader.readexactly(int(length)), 5)


def test_answers_come_one_behind_the_other_on_one_connection():
    async def main():
        async with served() as (port, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(body=b"12345") + request("/other", body=b"12"))
            assert [(await answer(reader))[2], (await answer(reader))[2]] == [b"5", b"2"]
            writer.close()

    asyncio.run(main())


def test_a_busy_server_refuses_without_reading_and_keeps_the_connection():
    async def main():
        async with served(busy=True) as (port, door, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for sent in (request(), request(), request(body=b"12", length=5)):
                writer.write(sent)
                if sent.endswith(b"12"):
                    await asyncio.sleep(0.05)
                    writer.write(b"345")
                status, head, body = await answer(reader)
                assert status == 503 and b"retry-after: 1" in head and b"application/problem+json" in head
                assert json.loads(body)["status"] == 503
            assert door.refused == [("/v1/recommend", 503, 0.0)] * 3
            writer.write(request("/v1/events", body=b"1234"))
            assert (await answer(reader))[::2] == (200, b"4")
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("more", ["Connection: close", "Expect: 100-continue"])
def test_whoever_wants_more_than_a_plain_refusal_is_refused_further_in(more):
    """There the application says no; here only that it is asked, and that the client's wish is kept."""

    async def main():
        async with served(busy=True) as (port, door, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("/v1/recommend", b"abc", more))
            if "Expect" in more:
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            assert (await answer(reader))[0] == 200
            assert door.refused == []
            if "close" in more:
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"POST /v1/recommend HTTP/1.1\r\nHost:"])
def test_headers_that_do_not_come_end_the_connection(sent, monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_DEADLINE_S", 0.2)

    async def main():
        async with served() as (port, _, state):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            await asyncio.sleep(0.05)
            assert not state.connections

    asyncio.run(main())


def test_a_body_that_a_busy_server_does_not_want_must_come_in_time_too(monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_DEADLINE_S", 0.2)

    async def main():
        async with served(busy=True) as (port, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(body=b"1", length=100))
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    asyncio.run(main())


def test_endless_headers_are_refused():
    async def main():
        async with served() as (port, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\n")
            line = b"x: " + b"a" * 1019 + b"\r\n"
            writer.write(63 * line)
            await asyncio.sleep(0.1)
            writer.write(line)
            status, head, body = await answer(reader)
            assert status == 431 and b"connection: close" in head
            assert json.loads(body)["detail"] == "The headers are larger than 65536 bytes."
            writer.close()

    asyncio.run(main())


def test_what_is_no_http_is_a_problem_like_any_other():
    async def main():
        async with served() as (port, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\r\n\r\n")
            status, head, body = await answer(reader)
            assert status == 400 and b"application/problem+json" in head and json.loads(body)["status"] == 400
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    asyncio.run(main())


def test_too_many_connections_are_not_kept(monkeypatch):
    monkeypatch.setattr(protocol, "CONNECTIONS", 2)

    async def main():
        async with served() as (port, _, _):
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            assert await asyncio.wait_for(opened[2][0].read(), 5) == b""
            opened[0][1].write(request())
            assert (await answer(opened[0][0]))[0] == 200
            for _, writer in opened:
                writer.close()

    asyncio.run(main())


class Wire:
    def __init__(self):
        self.sent, self.closed = [], False

    def write(self, data):
        assert not self.closed
        self.sent.append(data)

    def close(self):
        self.closed = True


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


def test_a_head_leaves_with_its_body_and_never_stays_behind():
    wire = Wire()
    joined = CoalescingTransport(wire)
    joined.write(HEAD)
    joined.write(b"ok")
    joined.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    joined.write(HEAD)
    joined.flush()
    joined.flush()
    joined.write(HEAD)
    joined.close()
    assert wire.sent == [HEAD + b"ok", b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, HEAD] and wire.closed


def test_a_plain_body_that_does_not_come_is_refused_and_counted(monkeypatch):
    monkeypatch.setattr(protocol, "BODY_DEADLINE_S", 0.2)

    async def main():
        async with served() as (port, door, state):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("/v1/recommend", b'{"k"', "Content-Type: application/json", length=9))
            status, head, body = await answer(reader)
            assert status == 408 and b"connection: close" in head and json.loads(body)["status"] == 408
            assert await asyncio.wait_for(reader.read(), 5) == b""
            assert door.refused == [("/v1/recommend", 408, 0.2)]
            writer.close()
            await asyncio.sleep(0.05)
            assert not state.connections

    asyncio.run(main())


def test_a_connection_that_lies_idle_is_closed_and_one_at_work_is_not(monkeypatch):
    async def main():
        async with served() as (port, _, state):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
            (own,) = state.connections
            own.timeout_keep_alive = 0.3
            for _ in range(4):
                writer.write(request(body=b"123"))
                assert (await answer(reader))[2] == b"3"
                await asyncio.sleep(0.1)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    asyncio.run(main())
