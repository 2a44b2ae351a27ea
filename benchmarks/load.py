"""Open-loop load generator in a process of its own: requests are sent when they are due, independent of earlier
responses.

Reads a job (JSON) from stdin and writes its result (JSON) to stdout. The latency of a request is measured from its due
time, so that a stall counts for every request that was due meanwhile. With "rate": null the loop is closed: each
connection sends the next request at its response. One thread that blocks in epoll, because processor time of the
generator is taken from the server on the same two cores.
"""

import contextlib
import json
import random
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

POOL = 4000
GOOD_MS = 1000.0
STALL_S = 15.0
"""Time after the end, in seconds, after which a request without response has failed."""
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
REFUSED = b"HTTP/1.1 503 "
COMPLETE_REFUSAL = re.compile(rb"(?s)(?!.*\r\nconnection: close).*\r\n\r\n\{[^{}]*\}")
"""Complete refusal in one piece, on a connection that stays open."""


@dataclass
class Connection:
    """Kept-alive connection and its open request."""

    socket: socket.socket
    target: int
    due_s: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    expected: int = -1


@dataclass
class Counts:
    """Responses and failures."""

    times_ms: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    fallbacks: int = 0
    good: int = 0
    """Scored responses within GOOD_MS of the due time."""
    late_ms: list[float] = field(default_factory=list)
    """Delay of requests that were sent after their due time: the part of the generator."""

    def count(self, name: str, table: dict[str, int]) -> None:
        """Count a name in one of the tables."""
        table[name] = table.get(name, 0) + 1


class Load:
    """Sender of one job's requests."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.rng = random.Random(job.get("seed", 0))
        self.ports: list[int] = job["ports"]
        self.draining: set[int] = set()
        self.poll = select.epoll()
        self.idle: list[Connection] = []
        self.busy: dict[int, Connection] = {}
        self.waiting: deque[float] = deque()
        self.counts = Counts()
        self.sent = 0
        self.pool = [self.make_request() for _ in range(POOL)] if job["kind"] == "history" else []

    def run(self) -> dict[str, Any]:
        """Send all requests and return the result; requests due during the warm-up are not counted."""
        rate, warm_s, seconds = self.job["rate"], self.job.get("warm_s", 1.0), self.job["seconds"]
        start = time.perf_counter()
        counting = start + warm_s
        end = counting + seconds
        due = start
        while (now := time.perf_counter()) < end or self.busy or self.waiting:
            if now > end + STALL_S:
                for name, count in (("no response", len(self.busy)), ("not sent", len(self.waiting))):
                    if count:
                        self.counts.failures[name] = self.counts.failures.get(name, 0) + count
                break
            if rate is None and now < end:
                self.waiting.extend([now] * (self.job["connections"] - len(self.busy) - len(self.waiting)))
            while rate is not None and due <= min(now, end):
                self.waiting.append(due)
                due += self.rng.expovariate(rate)
            self.send(now, counting)
            pause = 0.05 if rate is None or due > end else max(0.0, due - time.perf_counter())
            self.receive(min(pause, 0.05), counting)
        return self.result(counting, min(time.perf_counter(), end))

    def send(self, now: float, counting: float) -> None:
        """Send the due requests for which a connection is free.

        Args:
            now: current time, seconds.
            counting: time from which requests are counted.
        """
        while self.waiting and len(self.busy) < self.job["connections"]:
            try:
                connection = self.take_connection()
            except OSError as error:
                self.waiting.popleft()
                self.counts.count(f"connect: {type(error).__name__}", self.counts.failures)
                continue
            connection.due_s = self.waiting.popleft()
            if connection.due_s >= counting and now - connection.due_s > 0.001:
                self.counts.late_ms.append((now - connection.due_s) * 1e3)
            connection.received.clear()
            connection.expected = -1
            try:
                connection.socket.send(self.request())
            except OSError as error:
                self.counts.count(f"send: {type(error).__name__}", self.counts.failures)
                connection.socket.close()
                continue
            self.sent += 1
            self.busy[connection.socket.fileno()] = connection

    def take_connection(self) -> Connection:
        """Return an idle connection, or a new one to a server that does not drain."""
        if self.idle:
            return self.idle.pop()
        targets = [n for n in range(len(self.ports)) if n not in self.draining] or list(range(len(self.ports)))
        target = self.rng.choice(targets)
        new = socket.create_connection(("127.0.0.1", self.ports[target]), timeout=5)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        new.setblocking(False)
        self.poll.register(new.fileno(), select.EPOLLIN)
        return Connection(new, target)

    def request(self) -> bytes:
        """Return the next request. Histories come from a pool that is made before the start, to spare processor
        time."""
        return self.rng.choice(self.pool) if self.pool else self.make_request()

    def make_request(self) -> bytes:
        """Return a new request as bytes."""
        kind, items, k = self.job["kind"], self.job["items"], self.job.get("k", 20)
        pick = lambda: f"item-{int(items * self.rng.random() ** 3)}"  # noqa: E731
        path = "/v1/recommend"
        if kind == "history":
            body: dict[str, Any] = {"history": [pick() for _ in range(self.rng.randint(1, 20))], "k": k}
        elif kind == "user":
            body = {"user_id": f"user-{(self.job.get('first', 0) + self.sent) % self.job['users']}", "k": k}
        elif kind == "event":
            session = f"s-{self.rng.randrange(self.job['users'])}"
            body = {"session_id": session, "k": k, "event": {"item_id": pick()}}
            if self.job.get("durability"):
                body["durability"] = self.job["durability"]
        else:
            path = "/v1/events"
            event = lambda: {"session_id": f"s-{self.rng.randrange(self.job['users'])}", "item_id": pick()}  # noqa: E731
            body = event() if self.job.get("batch", 1) == 1 else {"events": [event() for _ in range(self.job["batch"])]}
        text = json.dumps(body).encode()
        key = f"Authorization: Bearer {self.job['key']}\r\n" if self.job.get("key") else ""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{key}"
            f"Content-Length: {len(text)}\r\n\r\n"
        )
        return head.encode() + text

    def receive(self, pause_s: float, counting: float) -> None:
        """Read the available responses.

        Args:
            pause_s: longest wait in seconds.
            counting: time from which requests are counted.
        """
        if not self.busy:
            time.sleep(pause_s)
            return
        for number, _ in self.poll.poll(pause_s):
            connection = self.busy.get(number)
            if connection is None:  # the server closed an idle connection, or it is closed already
                self.idle = [idle for idle in self.idle if idle.socket.fileno() not in (number, -1)]
                with contextlib.suppress(OSError, ValueError):
                    self.poll.unregister(number)
                continue
            try:
                data = connection.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self.counts.count("cut off", self.counts.failures)
                del self.busy[number]
                connection.socket.close()
                continue
            if not connection.received and data.startswith(REFUSED) and COMPLETE_REFUSAL.fullmatch(data):
                del self.busy[number]  # the usual response under overload needs no further parsing
                if connection.due_s >= counting:
                    self.counts.count("503", self.counts.statuses)
                self.idle.append(connection)
                continue
            connection.received += data
            if self.complete(connection):
                del self.busy[number]
                self.note(connection, counting)

    def complete(self, connection: Connection) -> bool:
        """Return True if the response is complete."""
        if connection.expected < 0:
            end = connection.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            match = LENGTH.search(connection.received, 0, end + 2)
            connection.expected = end + 4 + int(match[1] if match else 0)
        return len(connection.received) >= connection.expected

    def note(self, connection: Connection, counting: float) -> None:
        """Count a response, and keep the connection unless the server closes it.

        Args:
            connection: the connection.
            counting: time from which requests are counted.
        """
        status = connection.received[9:12].decode()
        if connection.due_s >= counting:
            self.counts.count(status, self.counts.statuses)
            if status == "200":
                took_ms = (time.perf_counter() - connection.due_s) * 1e3
                fallback = b'"fallback"' in connection.received
                self.counts.times_ms.append(took_ms)
                self.counts.fallbacks += fallback
                self.counts.good += not fallback and took_ms <= GOOD_MS
        if CLOSE.search(connection.received, 0, connection.received.find(b"\r\n\r\n") + 2):
            connection.socket.close()
            self.drain(connection.target)
        elif connection.target in self.draining:  # its response was sent before the server announced the end
            connection.socket.close()
        else:
            self.idle.append(connection)

    def drain(self, target: int) -> None:
        """Close the idle connections to a server that is stopping, and open no new ones."""
        for connection in self.idle:
            if connection.target == target:
                connection.socket.close()
        self.idle = [idle for idle in self.idle if idle.target != target]
        self.draining.add(target)
        if len(self.draining) == len(self.ports):
            self.draining = {target}

    def result(self, counting: float, end: float) -> dict[str, Any]:
        """Return percentiles, a histogram in quarter octaves from 0.25 ms, and failures.

        Args:
            counting: time from which requests are counted.
            end: end of the measurement.
        """
        times = sorted(self.counts.times_ms)
        at = lambda share: round(times[min(len(times) - 1, int(share * len(times)))], 2) if times else None  # noqa: E731
        bins: dict[str, int] = {}
        for time_ms in times:
            edge = 0.25
            while edge < time_ms:
                edge *= 2**0.25
            bins[f"{edge:.3g}"] = bins.get(f"{edge:.3g}", 0) + 1
        percentiles = {"p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": at(1)}
        return {
            "offered_per_s": self.job["rate"],
            "answered_per_s": round(len(times) / max(1e-9, end - counting), 1),
            "good_per_s": round(self.counts.good / max(1e-9, end - counting), 1),
            **percentiles,
            "statuses": self.counts.statuses,
            "failures": self.counts.failures,
            "fallbacks": self.counts.fallbacks,
            "left_late": {
                "share": round(len(self.counts.late_ms) / max(1, self.sent), 4),
                "worst_ms": max_late_ms(self.counts),
            },
            "histogram_ms": bins,
        }


def max_late_ms(counts: Counts) -> float:
    """Return the longest delay of the generator in milliseconds."""
    return round(max(counts.late_ms, default=0.0), 1)


if __name__ == "__main__":
    json.dump(Load(json.load(sys.stdin)).run(), sys.stdout)
