"""Load generator: counts of responses, refusals and cut connections, and latencies of servers that stall."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

LOAD = Path(__file__).resolve().parents[2] / "benchmarks" / "load.py"
JOB = {"connections": 8, "users": 10, "warm_s": 0.0, "kind": "history", "items": 50, "seconds": 1.0, "rate": 100}


@pytest.fixture
def server():
    """A server that answers request n with ``replies(n)``; None: it closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    count, lock = iter(range(10**6)), threading.Lock()
    state = {"replies": lambda n: b"200 OK"}

    def respond(connection):
        with connection:
            while connection.recv(65536):
                with lock:
                    reply = state["replies"](next(count))
                if reply is None:
                    return
                connection.sendall(b"HTTP/1.1 " + reply + b"\r\nContent-Length: 2\r\n\r\n{}")

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=respond, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1], state
    listener.close()


def run(port, **job):
    stdin = json.dumps({**JOB, "ports": [port], **job})
    completed = subprocess.run(
        [sys.executable, str(LOAD)], input=stdin, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(completed.stdout)


def test_requests_are_sent_at_the_requested_rate(server):
    port, _ = server
    result = run(port)
    assert 60 < result["statuses"]["200"] < 140
    assert result["failures"] == {}
    assert sum(result["histogram_ms"].values()) == result["statuses"]["200"]
    assert result["p50_ms"] <= result["p99_ms"] <= result["max_ms"]


def test_a_stall_counts_for_every_request_that_was_due_meanwhile(server):
    """A closed loop would have one slow response; here a third of all requests were due during the stall."""
    port, state = server
    state["replies"] = lambda n: time.sleep(0.3 if n == 30 else 0) or b"200 OK"
    result = run(port)
    assert result["max_ms"] > 280
    assert result["p90_ms"] > 100
    assert result["p50_ms"] < 100


def test_refusals_and_cut_connections_are_counted_apart(server):
    port, state = server
    state["replies"] = lambda n: None if n % 10 == 3 else b"503 Later" if n % 10 == 5 else b"200 OK"
    result = run(port)
    total = sum(result["statuses"].values()) + sum(result["failures"].values())
    assert set(result["statuses"]) == {"200", "503"}
    assert result["failures"]["cut off"] == pytest.approx(total / 10, abs=2)
    assert result["statuses"]["503"] == pytest.approx(total / 10, abs=2)


def test_a_closed_loop_keeps_every_connection_busy(server):
    port, state = server
    state["replies"] = lambda n: time.sleep(0.005) or b"200 OK"
    result = run(port, rate=None, connections=2, seconds=0.5)
    assert 30 < result["statuses"]["200"] < 110
    assert result["failures"] == {}


def test_a_missing_server_is_a_failure(server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = run(port, seconds=0.3)
    assert result["statuses"] == {}
    assert result["failures"]["connect: ConnectionRefusedError"] > 10
    assert result["p50_ms"] is None
