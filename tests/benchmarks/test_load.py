"""The load generator tells the truth: about answers, refusals, cut connections, and servers that stall."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

LOAD = Path(__file__).resolve().parents[2] / "benchmarks" / "load.py"
JOB = {"connections": 8, "people": 10, "warm_s": 0.0, "kind": "history", "items": 50, "seconds": 1.0, "rate": 100}


@pytest.fixture
def server():
    """A server that answers request n with what ``replies(n)`` says; nothing: it hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))
    count, lock = iter(range(10**6)), threading.Lock()
    state = {"replies": lambda n: b"200 OK"}

    def talk(connection):
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
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1], state
    listener.close()


def run(port, **job):
    given = json.dumps({**JOB, "ports": [port], **job})
    done = subprocess.run(
        [sys.executable, str(LOAD)], input=given, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_requests_leave_at_the_rate_that_was_asked_for(server):
    port, _ = server
    found = run(port)
    assert 60 < found["statuses"]["200"] < 140
    assert found["failures"] == {}
    assert sum(found["histogram_ms"].values()) == found["statuses"]["200"]
    assert found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_a_stall_is_charged_for_everybody_who_came_meanwhile(server):
    """A closed loop would show one slow answer; here a third of all requests came during the stall."""
    port, state = server
    state["replies"] = lambda n: time.sleep(0.3 if n == 30 else 0) or b"200 OK"
    found = run(port)
    assert found["max_ms"] > 280
    assert found["p90_ms"] > 100
    assert found["p50_ms"] < 100


def test_refusals_and_cut_connections_are_told_apart(server):
    port, state = server
    state["replies"] = lambda n: None if n % 10 == 3 else b"503 Later" if n % 10 == 5 else b"200 OK"
    found = run(port)
    total = sum(found["statuses"].values()) + sum(found["failures"].values())
    assert set(found["statuses"]) == {"200", "503"}
    assert found["failures"]["cut off"] == pytest.approx(total / 10, abs=2)
    assert found["statuses"]["503"] == pytest.approx(total / 10, abs=2)


def test_a_closed_loop_keeps_every_connection_at_work(server):
    port, state = server
    state["replies"] = lambda n: time.sleep(0.005) or b"200 OK"
    found = run(port, rate=None, connections=2, seconds=0.5)
    assert 30 < found["statuses"]["200"] < 110
    assert found["failures"] == {}


def test_nobody_there_is_a_failure(server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = run(port, seconds=0.3)
    assert found["statuses"] == {}
    assert found["failures"]["connect: ConnectionRefusedError"] > 10
    assert found["p50_ms"] is None
