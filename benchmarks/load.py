"""An open-loop load generator, a process of its own: requests leave when they are due, whatever became of earlier ones.

Reads a job (JSON) on stdin, writes what it saw (JSON) on stdout. A request's time runs from when it was due, so that a
server that stalls is charged for everybody who would have come meanwhile. With "rate": null the loop is closed: every
connection asks again as soon as it has its answer. One thread, blocking in select, because each microsecond that
the generator takes from the two cores is charged to the server it measures.
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
"""What has no answer by then has failed."""
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
REFUSED = b"HTTP/1.1 503 "
REFUSED_TO_THE_END = re.compile(rb"(?s)(?!.*\r\nconnection: close).*\r\n\r\n\{[^{}]*\}")
"""A whole refusal in one piece, on a connection that stays open."""


@dataclass
class Connection:
    """One kept-alive connection and the request that is under way on it."""

    socket: socket.socket
    target: int
    due_s: float = 0.0
    got: bytearray = field(default_factory=bytearray)
    wanted: int = -1


@dataclass
class Seen:
    """What came back."""

    times_ms: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    fallbacks: int = 0
    good: int = 0
    """Answers that were scored, and there within GOOD_MS of when the request was due."""
    late_ms: list[float] = field(default_factory=list)
    """How late requests left, where they left late: the generator's own share."""

    def count(self, name: str, table: dict[str, int]) -> None:
        table[name] = table.get(name, 0) + 1


class Load:
    """Sends one job's requests."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.rng = random.Random(job.get("seed", 0))
        self.ports: list[int] = job["ports"]
        self.draining: set[int] = set()
        self.poll = select.epoll()
        self.idle: list[Connection] = []
        self.busy: dict[int, Connection] = {}
        self.waiting: deque[float] = deque()
        self.seen = Seen()
        self.sent = 0
        self.pool = [self.made() for _ in range(POOL)] if job["kind"] == "history" else []

    def run(self) -> dict[str, Any]:
        """Warms up, then measures; what came due while warming up is not counted."""
        rate, warm_s, seconds = self.job["rate"], self.job.get("warm_s", 1.0), self.job["seconds"]
        start = time.perf_counter()
        counting = start + warm_s
        end = counting + seconds
        due = start
        while (now := time.perf_counter()) < end or self.busy or self.waiting:
            if now > end + STALL_S:
                for _ in range(len(self.busy) + len(self.waiting)):
                    self.seen.count("no answer", self.seen.failures)
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
        """Whatever is due, as long as a connection is free."""
        while self.waiting and len(self.busy) < self.job["connections"]:
            try:
                connection = self.free()
            except OSError as error:
                self.waiting.popleft()
                self.seen.count(f"connect: {type(error).__name__}", self.seen.failures)
                continue
            connection.due_s = self.waiting.popleft()
            if connection.due_s >= counting and now - connection.due_s > 0.001:
                self.seen.late_ms.append((now - connection.due_s) * 1e3)
            connection.got.clear()
            connection.wanted = -1
            try:
                connection.socket.send(self.request())
            except OSError as error:
                self.seen.count(f"send: {type(error).__name__}", self.seen.failures)
                connection.socket.close()
                continue
            self.sent += 1
            self.busy[connection.socket.fileno()] = connection

    def free(self) -> Connection:
        """An idle connection, or a new one to a server that does not drain."""
        if self.idle:
            return self.idle.pop()
        targets = [n for n in range(len(self.ports)) if n not in self.draining] or list(range(len(self.ports)))
        target = self.rng.choice(targets)
        made = socket.create_connection(("127.0.0.1", self.ports[target]), timeout=5)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        self.poll.register(made.fileno(), select.EPOLLIN)
        return Connection(made, target)

    def request(self) -> bytes:
        """The next request's bytes. Bare histories come from a pool that was written before the start: what the
        generator does meanwhile is taken from the server beside it."""
        return self.rng.choice(self.pool) if self.pool else self.made()

    def made(self) -> bytes:
        """A request, written anew."""
        kind, items, k = self.job["kind"], self.job["items"], self.job.get("k", 20)
        pick = lambda: f"item-{int(items * self.rng.random() ** 3)}"  # noqa: E731
        path = "/v1/recommend"
        if kind == "history":
            body: dict[str, Any] = {"history": [pick() for _ in range(self.rng.randint(1, 20))], "k": k}
        elif kind == "user":
            body = {"user_id": f"user-{(self.job.get('first', 0) + self.sent) % self.job['people']}", "k": k}
        elif kind == "event":
            session = f"s-{self.rng.randrange(self.job['people'])}"
            body = {"session_id": session, "k": k, "event": {"item_id": pick()}}
            if self.job.get("durability"):
                body["durability"] = self.job["durability"]
        else:
            path = "/v1/events"
            one = lambda: {"session_id": f"s-{self.rng.randrange(self.job['people'])}", "item_id": pick()}  # noqa: E731
            body = one() if self.job.get("batch", 1) == 1 else {"events": [one() for _ in range(self.job["batch"])]}
        text = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        return head.encode() + text

    def receive(self, pause_s: float, counting: float) -> None:
        """Reads what has come."""
        if not self.busy:
            time.sleep(pause_s)
            return
        for number, _ in self.poll.poll(pause_s):
            connection = self.busy.get(number)
            if connection is None:  # the server closed one that lies idle, or one that is closed already
                self.idle = [one for one in self.idle if one.socket.fileno() not in (number, -1)]
                with contextlib.suppress(OSError, ValueError):
                    self.poll.unregister(number)
                continue
            try:
                data = connection.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self.seen.count("cut off", self.seen.failures)
                del self.busy[number]
                connection.socket.close()
                continue
            if not connection.got and data.startswith(REFUSED) and REFUSED_TO_THE_END.fullmatch(data):
                del self.busy[number]  # most of what comes back when too much is sent: nothing else to look at
                if connection.due_s >= counting:
                    self.seen.count("503", self.seen.statuses)
                self.idle.append(connection)
                continue
            connection.got += data
            if self.complete(connection):
                del self.busy[number]
                self.note(connection, counting)

    def complete(self, connection: Connection) -> bool:
        """Whether the whole answer is there."""
        if connection.wanted < 0:
            end = connection.got.find(b"\r\n\r\n")
            if end < 0:
                return False
            found = LENGTH.search(connection.got, 0, end + 2)
            connection.wanted = end + 4 + int(found[1] if found else 0)
        return len(connection.got) >= connection.wanted

    def note(self, connection: Connection, counting: float) -> None:
        """Counts one answer, and keeps the connection unless the server closes it."""
        status = connection.got[9:12].decode()
        if connection.due_s >= counting:
            self.seen.count(status, self.seen.statuses)
            if status == "200":
                took_ms = (time.perf_counter() - connection.due_s) * 1e3
                fallback = b'"fallback"' in connection.got
                self.seen.times_ms.append(took_ms)
                self.seen.fallbacks += fallback
                self.seen.good += not fallback and took_ms <= GOOD_MS
        if CLOSE.search(connection.got, 0, connection.got.find(b"\r\n\r\n") + 2):
            connection.socket.close()
            self.drain(connection.target)
        elif connection.target in self.draining:  # answered before the server said that it is closing
            connection.socket.close()
        else:
            self.idle.append(connection)

    def drain(self, target: int) -> None:
        """Leaves a server that is closing, with the connections that lie idle: whoever kept one for later would find it
        cut off."""
        for connection in self.idle:
            if connection.target == target:
                connection.socket.close()
        self.idle = [one for one in self.idle if one.target != target]
        self.draining.add(target)
        if len(self.draining) == len(self.ports):
            self.draining = {target}

    def result(self, counting: float, end: float) -> dict[str, Any]:
        """Percentiles, a histogram in quarter octaves from 0.25 ms, and everything that was not an answer."""
        times = sorted(self.seen.times_ms)
        at = lambda share: round(times[min(len(times) - 1, int(share * len(times)))], 2) if times else None  # noqa: E731
        bins: dict[str, int] = {}
        for one in times:
            edge = 0.25
            while edge < one:
                edge *= 2**0.25
            bins[f"{edge:.3g}"] = bins.get(f"{edge:.3g}", 0) + 1
        percentiles = {"p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": at(1)}
        return {
            "offered_per_s": self.job["rate"],
            "answered_per_s": round(len(times) / max(1e-9, end - counting), 1),
            "good_per_s": round(self.seen.good / max(1e-9, end - counting), 1),
            **percentiles,
            "statuses": self.seen.statuses,
            "failures": self.seen.failures,
            "fallbacks": self.seen.fallbacks,
            "left_late": {"share": round(len(self.seen.late_ms) / max(1, self.sent), 4), "worst_ms": max_of(self.seen)},
            "histogram_ms": bins,
        }


def max_of(seen: Seen) -> float:
    return round(max(seen.late_ms, default=0.0), 1)


if __name__ == "__main__":
    json.dump(Load(json.load(sys.stdin)).run(), sys.stdout)
