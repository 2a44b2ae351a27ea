"""Hostile connections against a real server: `python benchmarks/connections.py [--count 10000] [--parts stuck,bytes]`.

Part "stuck": keyless connections in every state in which a client can hold one, beside honest requests with a key. The
attacker runs on the same two cores as the server and the honest clients. So their latency is measured three times:
alone, beside the same attack on another process that only accepts ("elsewhere"), and beside the attack on the server.
It is compared with the second: the difference is the server's.

Part "bytes": processor time of the server for a megabyte of many shapes, without a key (limited to 50 ms) and with one.
Writes benchmarks/results/connections.json.
"""

import argparse
import json
import os
import random
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import about, save
from serving_world import Server, free_port, load_process, popularity_model

KEY = "a-key-for-these-connections"
HEAD = b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1_000_000
HONEST_PER_S = 150
CLOSED_WITHIN_S, MEMORY_MB, CPU_MS, GOOD_SHARE = 15.0, 100.0, 50.0, 0.99

STUCK: dict[str, tuple[bytes, bytes]] = {
    "connected": (b"", b""),
    "head": (b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX: ", b""),
    "head, trickling": (b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX: ", b"y"),
    "head of 60,000 bytes": (b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 60_000, b""),
    "refused body": (b"POST /v1/events" + HEAD + b"Content-Length: 900000\r\n\r\n{", b""),
    "refused body, trickling": (b"POST /v1/events" + HEAD + b"Content-Length: 900000\r\n\r\n{", b" "),
    "refused chunks": (b"POST /v1/events" + HEAD + CHUNKED + b"1\r\n{\r\n", b"1\r\n \r\n"),
    "body of a GET": (b"GET /health/live" + HEAD + b"Content-Length: 1000\r\n\r\n", b" "),
    "too large": (b"POST /v1/events" + HEAD + b"Content-Length: 9000000\r\n\r\n", b" "),
    "100-continue": (b"POST /v1/events" + HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n", b""),
    "idle": (b"GET /health/live" + HEAD + b"\r\n", b""),
    "idle, line ends": (b"GET /nowhere" + HEAD + b"\r\n", b"\r\n"),
    "does not read": (b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 200, b""),
    "does not read refusals": (b"GET /n HTTP/1.1\r\nHost:\r\n\r\n" * 2000, b""),
}
"""State -> bytes that lead to it, and bytes that are sent every second. Those that do not read have small buffers."""
PATHS = ("/v1/events", "/v1/recommend", "/v1/similar", "/v1/next")
EVENT_SHAPES = ("events", "events without user", "too many events", "contexts", "long text", "deep in a field")
LIST_SHAPES = ("many excluded", "many allowed", "long history", "filter", "nested filter")


class KeyedServer(Server):
    """Server of a popularity model with a key."""

    def __init__(self, folder: Path) -> None:
        run, port = popularity_model(folder), free_port()
        command = [sys.executable, "-m", "segue.serving", str(run), "--port", str(port)]
        super().__init__([*command, "--data", str(folder / f"data-{port}")], port, SEGUE_API_KEY=KEY)

    def _wait(self, started: float) -> float:
        while time.perf_counter() - started < 120:
            if self.process.poll() is not None:
                raise RuntimeError(f"The server ended with {self.process.returncode}.")
            try:
                if b" 200 " in talk(self.port, b"GET /health/ready" + HEAD + b"Connection: close\r\n\r\n"):
                    return time.perf_counter() - started
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("The server does not respond.")

    def cpu_ns(self) -> int:
        """Return the processor nanoseconds of all threads so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks)


def talk(port: int, sent: bytes, timeout_s: float = 5.0) -> bytes:
    """Send bytes, read at the same time, and return the first 64 KB until the server closes or is silent.

    Args:
        port: port of the server.
        sent: the bytes.
        timeout_s: largest silence in seconds.
    """
    received, view = b"", memoryview(sent)
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.setblocking(False)
        while True:
            wanted = [connection] if view else []
            readable, writable, _ = select.select([connection], wanted, [], timeout_s)
            if not readable and not writable:
                return received
            try:
                if writable:
                    view = view[connection.send(view[:65_536]) :]
                if readable:
                    part = connection.recv(262_144)
                    if not part:
                        return received
                    received = (received + part)[:65_536]
            except BlockingIOError:
                continue
            except OSError:
                return received


def raise_file_limit() -> None:
    """Allow this process as many connections as the system does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def attack(port: int, state: str, count: int, wait_s: float = 60.0) -> dict[str, Any]:
    """Open connections in a state, keep them so, and return the lifetimes of those that the server closes.

    Args:
        port: port of the server.
        state: one of ``STUCK``.
        count: number of connections.
        wait_s: longest wait for their ends, seconds.
    """
    raise_file_limit()
    first, more = STUCK[state]
    is_reading = not state.startswith("does not read")
    poll, alive, lifetimes_s, failed = select.epoll(), {}, [], 0
    started = time.monotonic()
    for _ in range(count):
        connection = socket.socket()
        if not is_reading:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            connection.settimeout(10)
            connection.connect(("127.0.0.1", port))
            connection.setblocking(False)
            poll.register(connection.fileno(), select.EPOLLRDHUP | (select.EPOLLIN if is_reading else 0))
            connection.send(first) if first else None
        except OSError:
            failed += 1
            continue
        alive[connection.fileno()] = (connection, time.monotonic())
        if len(alive) % 100 == 0:
            _closed(poll, alive, lifetimes_s, 0)
    opened_s, next_s = time.monotonic() - started, time.monotonic() + 1
    print("opened", flush=True)
    while alive and time.monotonic() - started < opened_s + wait_s:
        _closed(poll, alive, lifetimes_s, 0.2)
        if more and time.monotonic() >= next_s:
            next_s = time.monotonic() + 1
            for connection, _ in list(alive.values()):
                try:
                    connection.send(more)
                except OSError:
                    continue
    return {
        "opened_in_s": round(opened_s, 1),
        "not_opened": failed,
        "still_open": len(alive),
        "closed_within_s": round(max(lifetimes_s, default=0.0), 1),
    }


def _closed(poll: select.epoll, alive: dict[int, Any], lifetimes_s: list[float], timeout_s: float) -> None:
    for number, event in poll.poll(timeout_s, 1000):
        connection, since = alive[number]
        is_closed = bool(event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP))
        if event & select.EPOLLIN and not is_closed:
            try:
                is_closed = connection.recv(65_536) == b""
            except BlockingIOError:
                continue
            except OSError:
                is_closed = True
        if is_closed:
            lifetimes_s.append(time.monotonic() - since)
            poll.unregister(number)
            connection.close()
            del alive[number]


def accept_only(count: int) -> None:
    """Accept connections on a free port, whose number is printed, and keep them unread.

    Args:
        count: number of connections.
    """
    raise_file_limit()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(count)
        print(listening.getsockname()[1], flush=True)
        kept = []
        while True:
            kept.append(listening.accept())


def p99_elsewhere(server: Server, state: str, count: int) -> float:
    """Return the 99th percentile of honest requests beside an attack on another process, milliseconds.

    Args:
        server: the server of the honest requests.
        state: one of ``STUCK``.
        count: number of connections.
    """
    start = [sys.executable, __file__, "--count", str(count)]
    sink = subprocess.Popen([*start, "--accept-only"], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    command = [*start, "--attack", state, "--port", sink.stdout.readline().strip()]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert attacker.stdout is not None
    try:
        attacker.stdout.readline()
        load: dict[str, float] = json.loads(honest(server, 6).communicate(timeout=90)[0])
        return load["p99_ms"]
    finally:
        attacker.kill()
        attacker.wait()
        sink.kill()
        sink.wait()


def honest(server: Server, seconds: float) -> "subprocess.Popen[str]":
    """Start honest requests with a key: recommendations at a fixed rate over 32 connections."""
    job = {"connections": 32, "users": 1000, "warm_s": 1.0, "ports": [server.port], "kind": "history"}
    return load_process({**job, "items": 1000, "rate": HONEST_PER_S, "seconds": seconds, "key": KEY})


def stuck(folder: Path, count: int, states: list[str]) -> dict[str, Any]:
    """Measure honest requests and the server's memory beside stuck connections of each state.

    Args:
        folder: folder of the model and the events.
        count: number of connections.
        states: names in ``STUCK``.
    """
    rows: dict[str, Any] = {}
    for state in states:
        server = KeyedServer(folder)
        try:
            alone = json.loads(honest(server, 8).communicate(timeout=60)[0])
            elsewhere_ms = p99_elsewhere(server, state, count)
            memory_mb = peak_mb = server.rss_mb()
            cpu_ns = server.cpu_ns()
            opening_load = honest(server, 4)
            command = [sys.executable, __file__, "--attack", state, "--port", str(server.port), "--count", str(count)]
            attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert attacker.stdout is not None
            attacker.stdout.readline()
            load = honest(server, 6)
            while attacker.poll() is None:
                peak_mb = max(peak_mb, server.rss_mb())
                time.sleep(0.1)
            used_cpu_s = (server.cpu_ns() - cpu_ns) / 1e9
            beside = json.loads(load.communicate(timeout=90)[0])
            opening = json.loads(opening_load.communicate(timeout=90)[0])
            row = json.loads(attacker.stdout.read())
        finally:
            server.end()
        late = beside.get("p99_ms", float("inf"))
        rows[state] = {
            **row,
            "memory_mb": round(peak_mb - memory_mb, 1),
            "server_cpu_s": round(used_cpu_s, 1),
            "p99_ms_alone": alone["p99_ms"],
            "p99_ms_elsewhere": elsewhere_ms,
            "p99_ms_while_they_open": opening.get("p99_ms"),
            "p99_ms_beside": late,
            "failed_honest": sum(beside["failures"].values())
            + sum(number for status, number in beside["statuses"].items() if status != "200"),
            "honest": sum(beside["statuses"].values()),
        }
        print(state, rows[state], file=sys.stderr, flush=True)
    return rows


def requests(request: bytes, body: bytes = b"") -> bytes:
    """Return a megabyte of one request, repeated."""
    one = request + (b"Content-Length: %d\r\n\r\n" % len(body) + body if body else b"\r\n")
    return one * (MEGABYTE // len(one))


def shapes(rng: random.Random, key: bytes) -> dict[str, bytes]:
    """Return a megabyte of each hostile shape.

    Args:
        rng: source of the variation.
        key: ``Authorization`` header line, or nothing.
    """
    head = HEAD + key
    path = rng.choice(PATHS).encode()
    post = b"POST " + path + head
    chunked = post + CHUNKED
    end, length = b" HTTP/1.1\r\nHost: a\r\n" + key, rng.choice([300, 1500, 8000, 60_000])
    octets = bytes(rng.randrange(256) for _ in range(1000))
    size = rng.randint(1, 3)
    chunk = b"%x\r\n" % size + b"x" * size + b"\r\n"
    return {
        "tiny requests": requests(b"GET / HTTP/1.1\r\nHost:\r\n"),
        "tiny requests without Host": requests(b"GET / HTTP/1.1\r\n"),
        "tiny health requests": requests(b"GET /health/live HTTP/1.1\r\nHost:\r\n"),
        "descriptions": requests(b"GET /openapi.json HTTP/1.1\r\nHost:\r\n"),
        "scripts": requests(b"HEAD /segue.js HTTP/1.1\r\nHost:\r\n"),
        "refused posts": requests(b"POST /nowhere" + head, b"{}"),
        "refused methods": requests(b"PUT /v1/events" + head, b"{}"),
        "preflights": requests(b"OPTIONS /v1/events" + head + b"Access-Control-Request-Method: POST\r\n"),
        "invalid bodies": requests(post, b"{"),
        "wrong fields": requests(post, b'{"a":1}'),
        "upgrades": requests(post + b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"{"),
        "expectations": requests(post + b"Expect: 100-continue\r\n", b"{"),
        "headers": requests(b"GET / HTTP/1.1\r\n" + b"x:y\r\n" * 99),
        "many headers": b"GET / HTTP/1.1\r\n" + b"x:y\r\n" * 200_000,
        "equal long headers": requests(b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"x: " + b"y" * 600 + b"\r\n") * 98),
        "one long header": b"GET / HTTP/1.1\r\nx: " + b"y" * MEGABYTE,
        "header bytes": b"GET / HTTP/1.1\r\n" + b"content-length:1\r\n" * 55_000,
        "long targets": requests(b"GET /" + b"a" * length + b" HTTP/1.1\r\nHost: a\r\n"),
        "percent escapes": requests(b"GET /v1/items/" + b"%C3%A9" * (length // 6) + end),
        "invalid escapes": requests(b"GET /v1/items/" + b"%FF" * (length // 3) + end),
        "escaped slashes": requests(b"GET /v1%2Fitems/" + b"%2F" * (length // 3) + end),
        "query parts": requests(b"GET /v1/items?" + b"a&" * (length // 2) + end),
        "query escapes": requests(b"GET /v1/items?limit=" + b"%31" * (length // 3) + end),
        "long limit": requests(b"GET /v1/items?limit=" + b"9" * length + end),
        "whole URLs": requests(b"GET http://" + b"a." * 20_000 + b"/ HTTP/1.1\r\nHost: a\r\n"),
        "long Host": requests(b"GET / HTTP/1.1\r\nHost: " + b"a" * 60_000 + b"\r\n"),
        "long keys": requests(b"POST " + path + HEAD + b"Authorization: Bearer " + b"a" * 60_000 + b"\r\n", b"{}"),
        "tiny chunks": chunked + chunk * (MEGABYTE // len(chunk)),
        "chunk extensions": chunked + (b"1;" + b"x" * 50_000 + b"\r\nx\r\n") * 20,
        "zero chunk heads": chunked + b"0" * MEGABYTE,
        "trailers": chunked + b"0\r\n" + b"x:y\r\n" * 200_000,
        "line ends": b"\r\n" * (MEGABYTE // 2),
        "octets": octets * 1000,
        "TLS": b"\x16\x03\x01" + octets * 1000,
        **{name: with_body(target.encode(), body, head) for name, (target, body) in bodies(rng).items()},
    }


def with_body(path: bytes, body: bytes, head: bytes) -> bytes:
    """Return a request with a body.

    Args:
        path: its path.
        body: its body.
        head: its other headers.
    """
    return b"POST " + path + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def bodies(rng: random.Random) -> dict[str, tuple[str, bytes]]:
    """Return paths and JSON bodies of up to a megabyte, whose decoding or use takes time."""
    ids = lambda count, size=6: [f"item-{rng.randrange(10**size)}" for _ in range(count)]  # noqa: E731
    event = '{"user_id":"u","item_id":"i"}'
    texts = {
        "spaces": " " * 999_990 + "{}",
        "deep lists": "[" * 999_999,
        "deep objects": '{"a":' * 200_000,
        "deep in a field": '{"context":' * 1000 + "1" + "}" * 1000,
        "equal keys": "{" + '"k":1,' * 166_000 + '"k":1}',
        "unknown keys": "{" + ",".join(f'"{n}":1' for n in range(90_000)) + "}",
        "long number": '{"k":' + "9" * 999_000 + "}",
        "long fraction": '{"value":0.' + "1" * 999_000 + "}",
        "long exponent": '{"value":1e' + "9" * 999_000 + "}",
        "long id": json.dumps({"item_id": "x" * 999_000}),
        "long escapes": '{"item_id":"' + "\\u00e9" * 166_000 + '"}',
        "long text": json.dumps({"item_id": "a", "user_id": "u", "timestamp": "2" * 990_000}),
        "many excluded": json.dumps({"exclude": ids(10_000), "k": 1000}),
        "many allowed": json.dumps({"allow": ids(60_000), "k": 1000}),
        "long history": json.dumps({"history": ids(10_000, 3), "k": 1000}),
        "steps": json.dumps({"history": ids(9_000, 3), "steps": 100, "strategy": "beam"}),
        "filter": json.dumps({"filter": "a == 1 or " * 900 + "b == 2", "history": ids(10)}),
        "nested filter": json.dumps({"filter": "(" * 5000 + "a" + ")" * 4999, "history": ids(10)}),
        "events": '{"events":[' + ",".join([event] * 9_999) + "]}",
        "events without user": '{"events":[' + ",".join(['{"item_id":"i"}'] * 9_999) + "]}",
        "too many events": '{"events":[' + ",".join([event] * 33_000) + "]}",
        "contexts": json.dumps(
            {"events": [{"user_id": "u", "item_id": "i", "context": {str(n): n for n in range(64)}}] * 1000}
        ),
    }
    paths = {"next": ("steps",), "events": EVENT_SHAPES, "recommend": LIST_SHAPES}
    path_of = {name: f"/v1/{path}" for path, names in paths.items() for name in names}
    encoded = {name: text.encode()[:MEGABYTE] for name, text in texts.items()}
    encoded |= {"not UTF-8": b'{"item_id":"' + b"\xff" * 999_000 + b'"}', "NUL": b"\0" * MEGABYTE}
    return {name: (path_of.get(name, rng.choice(PATHS)), body) for name, body in encoded.items()}


def hostile_bytes(folder: Path, rounds: int, seed: int) -> dict[str, Any]:
    """Measure the server's processor time for a megabyte of each shape.

    Args:
        folder: folder of the model and the events.
        rounds: megabytes of each shape; the median counts.
        seed: seed of the variation.
    """
    server, rows = KeyedServer(folder), {}
    try:
        before = server.cpu_ns()
        time.sleep(2)
        idle_per_s = (server.cpu_ns() - before) / 2
        for name, key in (("without a key", b""), ("with a key", f"Authorization: Bearer {KEY}\r\n".encode())):
            taken_ms: dict[str, list[float]] = {}
            for number in range(rounds):
                for shape, sent in shapes(random.Random(seed + number), key).items():
                    before, started = server.cpu_ns(), time.monotonic()
                    talk(server.port, sent, timeout_s=0.5)
                    time.sleep(0.05)
                    idle_ns = idle_per_s * (time.monotonic() - started)
                    taken_ms.setdefault(shape, []).append((server.cpu_ns() - before - idle_ns) / 1e6)
            rows[name] = {shape: round(statistics.median(times), 1) for shape, times in taken_ms.items()}
            worst = sorted(rows[name].items(), key=lambda row: -row[1])[:8]
            print(name, worst, file=sys.stderr, flush=True)
    finally:
        server.end()
    return {
        "megabytes_of_each": rounds,
        "cpu_ms_per_megabyte": rows,
        "worst_ms": {key: max(times.values()) for key, times in rows.items()},
    }


def main() -> int:
    """Measure both parts, save them, and return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="stuck connections of each state")
    parser.add_argument("--states", default=";".join(STUCK), help="states, separated by semicolons")
    parser.add_argument("--parts", default="stuck,bytes")
    parser.add_argument("--rounds", type=int, default=5, help="megabytes of each shape")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--accept-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.accept_only:
        accept_only(options.count)
    if options.attack:
        print(json.dumps(attack(options.port, options.attack, options.count)))
        return 0
    os.environ.pop("SEGUE_API_KEY", None)
    result: dict[str, Any] = {"about": about(options.seed), "connections": options.count}
    broken = []
    with tempfile.TemporaryDirectory() as temporary:
        if "stuck" in options.parts:
            rows = result["stuck"] = stuck(Path(temporary), options.count, options.states.split(";"))
            for state, row in rows.items():
                is_kept = row["still_open"] == 0 and row["closed_within_s"] <= CLOSED_WITHIN_S
                is_kept &= row["memory_mb"] < MEMORY_MB and row["p99_ms_beside"] <= 2 * row["p99_ms_elsewhere"]
                is_kept &= row["failed_honest"] <= (1 - GOOD_SHARE) * row["honest"]
                broken += [] if is_kept else [state]
        if "bytes" in options.parts:
            result["bytes"] = hostile_bytes(Path(temporary), options.rounds, options.seed)
            broken += ["bytes"] if result["bytes"]["worst_ms"]["without a key"] >= CPU_MS else []
    result["broken"] = broken
    save("connections", result)
    print(f"broken: {broken}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
