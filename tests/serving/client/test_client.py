"""The clients against servers that misbehave: addresses, keys, redirects, https, endless responses."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import traceback
import warnings
from contextlib import contextmanager

import pytest

from segue.serving.client.async_client import AsyncClient
from segue.serving.client.client import Client
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, RecommendRequest

KEY = "a-secret-key-0123456789"
READY = b'{"status":"ready","checks":{}}'


def response(body=READY, status="200 OK", media_type="application/json", *headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {media_type}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def serving(*connections, tls=None):
    """Serve connections in turn: each is a list of bytes or functions of a socket, one for each request.

    Yields (port, list of received requests).
    """
    received, listening = [], socket.create_server(("127.0.0.1", 0))

    def answer(connection, steps):
        for step in steps:
            if not (request := connection.recv(65_536)):
                return
            received.append(request)
            if callable(step):
                step(connection)
            else:
                connection.sendall(step)

    def run():
        for steps in connections:
            try:
                connection, _ = listening.accept()
                with tls.wrap_socket(connection, server_side=True) if tls else connection as open_connection:
                    answer(open_connection, steps)
            except OSError:
                continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield listening.getsockname()[1], received
    listening.close()


def ready(kind, url, **options):
    """Return the health of a server by one of the clients."""
    if kind is Client:
        with Client(url, **options) as client:
            return client.ready()

    async def story():
        async with AsyncClient(url, **options) as client:
            return await client.ready()

    return asyncio.run(story())


both = pytest.mark.parametrize("kind", [Client, AsyncClient])


@both
@pytest.mark.parametrize(
    "url",
    [
        *("ftp://x", "x", "", "http://", "http://:80", "http://x:y", "http://x:99999", "http://[::1", "http://x?key=1"),
        *("http://x#a", "http://x y", "http://x\r\nX: y", "http://x/\nY", "http://\u4e2d.example", "//x", "HTTP//x"),
    ],
)
def test_what_is_no_address_is_refused(kind, url):
    with pytest.raises(ValueError, match="is not the address of a server: write it like") as error:
        kind(url)
    assert "\n" not in str(error.value)


@both
def test_a_password_in_the_address_is_refused_and_not_repeated(kind):
    with pytest.raises(ValueError, match="no user and no password") as error:
        kind("http://user:hunter2@x")
    assert "hunter2" not in str(error.value)


@both
@pytest.mark.parametrize("key", ["a\r\nX: y", "a\nb", "a\0b", "a b", "", "sch\u00fcssel", "a\x7f"])
def test_a_key_that_could_break_a_header_is_refused_and_not_repeated(kind, key):
    with pytest.raises(ValueError, match="printable ASCII") as error:
        kind("http://127.0.0.1", KEY + key if key else key)
    assert KEY not in str(error.value)


@both
def test_a_key_is_in_no_repr_and_no_traceback(kind):
    assert KEY not in repr(kind("http://127.0.0.1:9/prefix", KEY))
    assert repr(kind("http://[::1]:9/prefix/")) == f"{kind.__name__}('http://[::1]:9/prefix')"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError) as error:
            ready(kind, f"http://127.0.0.1:{unused.getsockname()[1]}", key=KEY)
    assert KEY not in "".join(traceback.format_exception(error.value))


@both
def test_a_key_without_encryption_to_another_machine_is_reported(kind):
    with pytest.warns(UserWarning, match="The key is sent to shop.example without encryption: use https"):
        kind("http://shop.example", KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for url in ("http://127.0.0.1", "http://localhost", "http://[::1]", "https://shop.example"):
            kind(url, KEY)
        kind("http://shop.example")


@both
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_no_redirect_is_followed(kind, status):
    with serving([response(b"", "200 OK")]) as (other, received_there):
        moved = response(b"", status, "text/html", f"Location: http://127.0.0.1:{other}/health/ready")
        with serving([moved]) as (port, received), pytest.raises(Problem, match="no redirect is followed"):
            ready(kind, f"http://127.0.0.1:{port}/prefix", key=KEY)
        assert received[0].startswith(b"GET /prefix/health/ready HTTP/1.1\r\n") and KEY.encode() in received[0]
        assert received_there == []


@both
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (response(b"<html>", media_type="text/html"), "is a proxy in between"),
        (response(b"{", media_type="application/json"), "is a proxy in between"),
        (response(b"[" * 100_000, media_type="application/problem+json"), "is a proxy in between"),
        (response(b"x", "502 Bad Gateway", "text/plain"), "is a proxy in between"),
        (b"hello\r\n\r\n", "not HTTP/1.1"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "not HTTP/1.1"),
        (response()[:-3], "closed the connection before"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed the connection before"),
        (b"", "closed the connection before"),
    ],
)
def test_something_else_than_the_server_is_named(kind, sent, message):
    with serving([sent]) as (port, _), pytest.raises((Problem, ConnectionError), match=message):
        ready(kind, f"http://127.0.0.1:{port}")


@both
def test_interim_and_chunked_and_unlimited_responses_are_read(kind):
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(READY), READY)
    until_closed = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + READY
    for sent in (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + response(), chunked, until_closed):
        with serving([sent]) as (port, _):
            assert ready(kind, f"http://127.0.0.1:{port}").status == "ready"


def trickle(connection):
    for _ in range(200):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" if _ == 0 else b"x")
        time.sleep(0.02)


def flood(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * 65_536)


def endless_head(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x: y\r\n" * 10_000)


@both
@pytest.mark.parametrize("step", [trickle, lambda connection: time.sleep(2)])
def test_the_time_of_a_whole_request_is_bounded(kind, step):
    """A byte now and then made the time that each single read may take start again."""
    with serving([step]) as (port, _), pytest.raises(TimeoutError):
        started = time.monotonic()
        ready(kind, f"http://127.0.0.1:{port}", timeout_s=0.4)
    assert time.monotonic() - started < 1.8


@both
@pytest.mark.parametrize("step", [flood, endless_head])
def test_the_size_of_a_response_is_bounded(kind, step):
    with serving([step]) as (port, _), pytest.raises(ConnectionError, match="larger than 300000 bytes"):
        ready(kind, f"http://127.0.0.1:{port}", max_response_bytes=300_000)


def close(connection):
    connection.shutdown(socket.SHUT_RDWR)


def test_a_request_on_a_stale_connection_is_sent_once_more():
    accepted = response(b'{"accepted":1,"duplicates":0,"durability":"fsync","event_ids":["1"]}')
    with serving([response(), close], [accepted, close], [close], [close]) as (port, received):
        with Client(f"http://127.0.0.1:{port}") as client:
            client.ready()
            assert client.events([EventIn(item_id="a", user_id="u")]).accepted == 1
            assert len(received) == 3 and received[1] == received[2], "with the same event id"
            assert b'"event_id":"' in received[1]
            with pytest.raises(ConnectionError):
                client.ready()
        assert len(received) == 5, "once on the old connection, once on a new one"


def test_half_a_response_is_not_asked_for_again():
    with serving([response(), response()[:-3]], [response()]) as (port, received):
        with Client(f"http://127.0.0.1:{port}") as client:
            client.ready()
            with pytest.raises(ConnectionError):
                client.ready()
            assert client.ready().status == "ready"
        assert len(received) == 3


def test_a_forked_process_uses_a_connection_of_its_own():
    with serving([response(), response()], [response()]) as (port, received):
        client = Client(f"http://127.0.0.1:{port}")
        client.ready()
        first = client._socket
        client._process = os.getpid() + 1  # as a child process sees it
        with pytest.raises(OSError):
            Client(f"http://127.0.0.1:{port}", timeout_s=0.2).ready()
        client._exchange.__self__._timeout_s = 0.2
        with pytest.raises(OSError):
            client.ready()
        assert client._socket is not first and first.fileno() >= 0, "the parent's connection stays open"
        assert len(received) == 1
        first.close()


@both
def test_a_refusal_is_repeated_after_its_time_and_not_beyond_the_timeout(kind):
    detail = b'{"title":"Service Unavailable","status":503,"detail":"Busy."}'
    busy = response(detail, "503 Service Unavailable", "application/problem+json", "Retry-After: 1")
    late = response(detail, "503 Service Unavailable", "application/problem+json", "Retry-After: 99999")
    wrong = response(detail.replace(b"503", b"422"), "422 Unprocessable", "application/problem+json", "Retry-After: 0")
    for steps, retries, expected in (
        ([busy, response()], 1, None),
        ([busy], 0, 503),
        ([late], 3, 503),
        ([wrong], 3, 422),
    ):
        with serving(steps) as (port, received):
            started = time.monotonic()
            if expected is None:
                assert ready(kind, f"http://127.0.0.1:{port}", retries=retries).status == "ready"
                assert time.monotonic() - started >= 1
            else:
                with pytest.raises(Problem) as refused:
                    ready(kind, f"http://127.0.0.1:{port}", retries=retries)
                assert refused.value.status == expected and time.monotonic() - started < 1
            assert len(received) == len(steps)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of localhost, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-out",
        files[0],
        "-keyout",
        files[1],
    ]
    subprocess.run(command, check=True, capture_output=True)
    return files


@both
def test_https_is_verified(kind, certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    trusted = ssl.create_default_context(cafile=certificate[0])
    with serving([response()], tls=tls) as (port, received):
        assert ready(kind, f"https://localhost:{port}", key=KEY, ssl_context=trusted).status == "ready"
        assert KEY.encode() in received[0]
    for host, context in (("localhost", None), ("127.0.0.1", trusted)):
        with serving([response()], tls=tls) as (port, received):
            with pytest.raises(ssl.SSLCertVerificationError):
                ready(kind, f"https://{host}:{port}", key=KEY, ssl_context=context)
            assert received == []


@both
def test_an_event_in_a_request_gets_an_id(kind):
    body = b'{"recommendation_id":"r","model_version":"v","items":[],"unknown_items":[],"took_ms":1}'
    request = RecommendRequest(user_id="u", event=EventIn(item_id="a"))
    with serving([response(body)]) as (port, received):
        if kind is Client:
            with Client(f"http://127.0.0.1:{port}") as client:
                client.recommend(request)
        else:

            async def story():
                async with AsyncClient(f"http://127.0.0.1:{port}") as client:
                    await client.recommend(request)

            asyncio.run(story())
        assert b'"event_id":"' in received[0] and request.event.event_id is None
