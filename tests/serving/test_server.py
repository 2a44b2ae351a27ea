"""Real servers over real HTTP: kill -9, SIGTERM, one owner, one port, keys."""

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest

from segue.data.catalog import Catalog
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.http import connections
from segue.serving.http.listener import free_port
from segue.serving.schemas.admin import ModelsResponse
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, RecommendRequest, SimilarRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_store import AppendResult, import_events

PLAIN = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"


def wait_until(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def shared_server(run, launch, tmp_path_factory):
    """A server for tests that do not end it; it must end in order and without a traceback."""
    server = launch(run, tmp_path_factory.mktemp("shared") / "data")
    server.client().close()
    yield server
    assert server.end() == 0
    assert "Traceback" not in server.output


def best(client, **fields):
    return client.recommend(RecommendRequest(k=1, **fields)).items[0].id


def test_an_event_changes_the_list_over_http(shared_server):
    with shared_server.client() as client:
        assert client.ready().status == "ready"
        before = best(client, user_id="bob")
        client.events([EventIn(item_id="e", user_id="bob")])
        assert before != best(client, user_id="bob") == "f"
        assert best(client, session_id="s", event=EventIn(item_id="g")) == "h"
        assert client.similar(SimilarRequest(item_id="i", k=1)).items[0].id == "j"
        with pytest.raises(Problem) as refused:
            client.similar(SimilarRequest(item_id="zz"))
        assert (refused.value.status, refused.value.detail) == (404, "The catalog does not know the item 'zz'.")


def test_kill_9_after_the_acknowledgement_loses_nothing(start):
    event = EventIn(item_id="e", user_id="ann", event_id="1")
    server = start()
    with server.client() as client:
        assert client.events([event]).accepted == 1
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    with start().client() as client:
        assert best(client, user_id="ann") == "f"
        assert client.events([event]).duplicates == 1
        assert best(client, user_id="ann") == "f"
        assert client.events([EventIn(item_id="g", user_id="ann", event_id="2")]).accepted == 1
        assert best(client, user_id="ann") == "h"


def test_kill_9_at_any_time_loses_and_doubles_nothing(start):
    """Four senders and a kill in the middle: every acknowledged event is stored once, also after a resend."""
    acknowledged: set[str] = set()
    for round_ in range(3):
        server = start()
        server.client().close()

        def send(name, server=server, round_=round_):
            with server.client() as client:
                for number in range(10_000):
                    event_id = f"{round_}-{name}-{number}"
                    try:
                        client.events([EventIn(item_id="a", user_id="ann", event_id=event_id)])
                    except Exception:
                        return
                    acknowledged.add(event_id)

        threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        enough = len(acknowledged) + 10 * (round_ + 1)
        wait_until(lambda enough=enough: len(acknowledged) >= enough)
        server.end(signal.SIGKILL)
        for thread in threads:
            thread.join(20)
    assert len(acknowledged) > 20
    with start().client() as client:
        events = [EventIn(item_id="a", user_id="ann", event_id=event_id) for event_id in sorted(acknowledged)]
        response = client.events(events)
    assert (response.accepted, response.duplicates) == (0, len(acknowledged))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order(start, number):
    server = start()
    with server.client() as client:
        client.events([EventIn(item_id="e", user_id="ann")])
        assert server.end(number) == 0
    assert re.fullmatch(r"Serving on (http://127.0.0.1:\d+); its description is at \1/openapi.json.\n", server.output)


def test_sigterm_under_load_finishes_what_has_begun(start):
    """Every request that was sent on an open connection before the signal is answered; none gets half a response."""
    server = start()
    server.client().close()
    failures, answered = [], []

    def ask():
        with server.client() as client:
            while True:
                try:
                    answered.append(client.events([EventIn(item_id="e", user_id="ann")]).accepted)
                except Problem as problem:
                    if problem.status != 503:
                        failures.append(problem)
                    return
                except OSError:
                    return
                except Exception as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answered) > 20)
    assert server.end() == 0
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert len(answered) > 10
    with start().client() as client:
        kept = client.recommend(RecommendRequest(user_id="ann"))
    assert kept.items


def test_a_second_server_on_one_data_directory_is_refused(start, tmp_path):
    first = start()
    with first.client() as client:
        second = start()
        assert second.process.wait(timeout=15) != 0
        rest = (
            second.process.stdout.read()
        )  # from the stream itself: communicate would miss what its buffer already holds
        assert (second.output + rest).endswith(
            f"TemporaryError: {tmp_path / 'data'} is in use by process {first.process.pid}: "
            "stop that server, or choose another data directory.\n"
        )
        assert client.ready().status == "ready"


def test_ids_never_reach_the_output(start):
    server = start()
    with server.client() as client:
        client.events([EventIn(item_id="e", user_id="canary-77", session_id="canary-77", event_id="canary-77")])
        client.recommend(RecommendRequest(user_id="canary-77", history=None))
        with pytest.raises(Problem):
            client.recommend(RecommendRequest(user_id="canary-77", session_id="canary-77"))
        with pytest.raises(Problem):
            client.events([EventIn(item_id="b", user_id="canary-77", event_id="canary-77")])
    assert server.end() == 0
    assert "canary" not in server.output


def test_a_key_is_required_when_it_is_set(start):
    key = "a-key-of-some-length"
    server = start(SEGUE_API_KEY=key)
    with server.client() as client, pytest.raises(Problem) as refused:
        client.similar(SimilarRequest(item_id="e"))
    assert refused.value.status == 401
    with server.client(key=key) as client:
        assert client.similar(SimilarRequest(item_id="e", k=1)).items[0].id == "f"
    assert server.end() == 0
    assert key not in server.output


def test_a_taken_port_is_refused():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ValueError) as error:
            free_port("127.0.0.1", port)
    assert str(error.value) == (
        f"Cannot serve on 127.0.0.1 port {port}: {os.strerror(98)}. Choose another with --port."
    )
    assert free_port("127.0.0.1", 0) > 0


def test_importing_a_log_twice_changes_nothing(store, event):
    events = [event("abc"[n % 3], event_id=str(n), timestamp=n / 100) for n in range(12_000)]
    assert import_events(store, iter(events)) == AppendResult(12_000, 0)
    assert import_events(store, iter(events)) == AppendResult(0, 12_000)
    assert SessionCache(store, Catalog("abc")).history(("user_id", "ann"))[-3:] == [1, 2, 3]
    with pytest.raises(Problem) as refused:
        import_events(store, [event("b", event_id="0", timestamp=0)])
    assert refused.value.status == 409


def test_sigterm_waits_for_an_open_request(start):
    """Half a body has arrived at the signal; the rest follows, and the event is acknowledged."""
    server = start()
    server.client().close()
    body = b'{"user_id":"ann","item_id":"e"}'
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10) as connection:
        head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None, "it waits"
        connection.sendall(body[10:])
        response = connection.recv(10_000)
    assert response.startswith(b"HTTP/1.1 200 OK")
    server.process.communicate(timeout=15)
    assert server.process.returncode == 0
    with start().client() as client:
        assert best(client, user_id="ann") == "f"


RAW = [
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x00\xff\xfe nonsense\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: abc\r\n\r\n{}",
    b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: \xff\xfe\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    b"GET /%00/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def test_broken_http_is_refused_and_fails_no_other_request(shared_server):
    server = shared_server
    with server.client() as client:
        for request in RAW:
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=5) as connection:
                try:
                    connection.sendall(request)
                    connection.shutdown(socket.SHUT_WR)
                    response = connection.recv(10_000)
                except ConnectionError:
                    response = b""
            assert not re.match(rb"HTTP/1.1 [25]", response), (request[:80], response)
        assert client.ready().status == "ready"


def test_after_sigterm_requests_are_answered_for_a_while_and_connections_closed_behind_them(start):
    server = start()
    server.client().close()
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    request = PLAIN % (b"/v1/recommend", 2, b"", b"{}")
    with socket.create_connection(address, timeout=10) as old:
        old.sendall(request)
        assert b"connection: close" not in old.recv(10_000).lower()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        old.sendall(request)
        response = old.recv(10_000)
        assert response.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in response.lower()
        assert old.recv(100) == b"", "and then it is closed"
    with server.client() as client:
        assert client.ready().checks["serving"] is False
        assert client.recommend(RecommendRequest(k=1)).items
    server.process.communicate(timeout=15)
    assert server.process.returncode == 0


def test_many_slow_clients_block_no_other_and_are_closed(server, monkeypatch):
    """300 connections that send a byte now and then, with a shorter deadline for a body than a server has."""
    monkeypatch.setitem(connections.DEADLINES, "body", replace(connections.DEADLINES["body"], after_s=1.5))
    address = ("127.0.0.1", server.web.base_url.port)
    head = PLAIN % (b"/v1/recommend", 5000, b"", b"")
    slow = [socket.create_connection(address, timeout=10) for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(head)
        for _ in range(20):
            assert server.web.post("/v1/recommend", json={"k": 1}, timeout=5).json()["items"]
        started_s, closed = time.monotonic(), 0
        while closed < len(slow) and time.monotonic() - started_s < 20:
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b" ")
            time.sleep(0.05)
            closed = sum(is_closed(connection) for connection in slow)
        assert closed == len(slow)
    finally:
        for connection in slow:
            connection.close()


def is_closed(connection):
    """Return whether the server has responded or closed; the response is read."""
    connection.setblocking(False)
    try:
        return connection.recv(10_000) is not None
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_swaps_and_sigterm_under_http_load_fail_no_request(save, ring, tmp_path, start):
    """Promotions through the registry: no list mixes two versions, and no response is missing."""
    models = ModelRegistry(tmp_path / "models")
    versions = [models.add(save(tmp_path / f"run{size}", "markov", ring, size)) for size in (12, 20)]
    items = {version: set(models.open(version).catalog.ids) for version in versions}
    models.promote(versions[0])
    server = start(models.folder)
    admin = server.client()
    failures, answered = [], dict.fromkeys(versions, 0)

    def ask(name):
        with server.client() as client:
            while True:
                try:
                    event = EventIn(item_id="abcdefghijkl"[answered[versions[0]] % 12])
                    response = client.recommend(RecommendRequest(user_id=name, k=3, event=event))
                except OSError:
                    return
                except Exception as error:
                    failures.append(error)
                    return
                answered[response.model_version] += 1
                if not {item.id for item in response.items} <= items[response.model_version]:
                    failures.append(response)

    threads = [threading.Thread(target=ask, args=(f"p{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for step in range(12):
        expected = versions[(step + 1) % 2]
        models.promote(expected)
        deadline = time.monotonic() + 10
        while admin.models().roles["live"] != expected and time.monotonic() < deadline:
            admin._request("POST", "/v1/admin/reload", ModelsResponse, {})
    admin.close()
    assert server.end() == 0
    for thread in threads:
        thread.join(20)
    assert [one for one in failures if not (isinstance(one, Problem) and one.status == 503)] == []
    assert min(answered.values()) > 5


BODIES = [
    b'{"history": ["a", "b"], "k": 3}',
    b'{"history": ["a", "b"], "k": 3',
    b'{"history": ["a"], "k": 0}',
    b'{"user_id": "ann", "history": []}',
    b'{"item_id": "a", "user_id": "ann", "event_id": "1"}',
    b"[]",
    b'{"steps": 2, "history": ["a"]}',
    b'{"item_id": "nothing"}',
]


def test_requests_with_and_without_unusual_headers_get_the_same_responses(shared_server):
    """An unusual header must not change a response."""
    server = shared_server
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        reader = line.makefile("rb")

        def requested(path, body, more):
            line.sendall(PLAIN % (path, len(body), more, body))
            status = reader.readline().split()[1]
            headers = dict(one.rstrip().lower().split(b": ", 1) for one in iter(reader.readline, b"\r\n"))
            received = json.loads(reader.read(int(headers.pop(b"content-length"))))
            headers.pop(b"date")
            if isinstance(received, dict):
                for each_time in ("recommendation_id", "took_ms"):
                    received.pop(each_time, None)
            return status, headers, received

        seen = set()
        for path in (b"/v1/recommend", b"/v1/events", b"/v1/similar", b"/v1/next"):
            for body in BODIES:
                if path == b"/v1/events" and b"event_id" in body:
                    requested(path, body, b"")  # the second time it is a duplicate either way
                plain, long = requested(path, body, b""), requested(path, body, b"Content-Encoding: identity\r\n")
                assert plain == long, (path, body)
                seen.add(plain[0])
        assert seen == {b"200", b"400", b"404", b"422"}


def test_pipelined_requests_are_answered_in_order(shared_server):
    server = shared_server
    port = int(server.url.rpartition(":")[2])
    sent = b""
    for k, more in ((1, b""), (2, b"Content-Encoding: identity\r\n"), (3, b""), (4, b"")):
        body = b'{"history": ["a"], "k": %d}' % k
        sent += PLAIN % (b"/v1/recommend", len(body), more, body)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(sent)
        reader, lengths = line.makefile("rb"), []
        for _ in range(4):
            assert reader.readline().split()[1] == b"200"
            headers = dict(one.rstrip().lower().split(b": ", 1) for one in iter(reader.readline, b"\r\n"))
            lengths.append(len(json.loads(reader.read(int(headers[b"content-length"])))["items"]))
    assert lengths == [1, 2, 3, 4]
