"""Clients of the soak: an open loop of mixed requests, the ledger of acknowledged events, and the checks of responses.

Every request is judged when it ends: its status must be the one of its kind, or one that a phase under way explains.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

ITEMS = 5_000
"""Items that all versions share; each version has as many of its own."""
USERS, SESSIONS = 1_000, 800
"""Users and sessions that are active at one time."""
ACTIVE_S = 240.0
"""Time for which a user or session is active; then a new one comes, so that histories grow no longer with the run."""
TIMEOUT_S = 20.0
_IDLE_S = 2.0
"""Age above which an idle connection is not used again, well below the server's own deadline."""
_SETTLE_S = {"overload": 5.0, "killed": 5.0, "restart": 2.0}
"""Time after a phase in which it still explains refusals, seconds."""


def own_item(mark: str, number: int) -> str:
    """Return the id of an item that only one version has.

    Args:
        mark: mark of the version.
        number: number of the item.
    """
    return f"only {mark} {number}"


@dataclass
class Phases:
    """Intervals of the run that explain refusals: name, start and end in seconds of the monotonic clock."""

    spans: list[list[Any]] = field(default_factory=list)

    @contextlib.contextmanager
    def during(self, name: str) -> Any:
        """Record a phase for as long as the block runs."""
        span = [name, time.monotonic(), float("inf")]
        self.spans.append(span)
        try:
            yield
        finally:
            span[2] = time.monotonic()

    def names(self, start_s: float, end_s: float) -> set[str]:
        """Return the phases that overlap an interval, each with the time it takes to settle.

        Args:
            start_s: start of the interval.
            end_s: its end.
        """
        return {name for name, begin, end in self.spans if begin <= end_s and start_s <= end + _SETTLE_S.get(name, 0)}


@dataclass
class Reply:
    """Response to a request, or the error instead of it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    is_second: bool = False
    """The request was sent again, because its kept-alive connection was closed before any byte of a response."""

    def json(self) -> Any:
        """Return the body as plain values."""
        return json.loads(self.body)


class Http:
    """HTTP client with kept-alive connections to one port."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.key = key
        self._idle: deque[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Send one request and return its reply; never raises.

        Args:
            method: HTTP method.
            path: path with its query.
            body: plain values, or bytes that are sent as they are.
            headers: headers besides, or instead of, the usual ones; an empty value leaves one out.
            timeout_s: time to wait for the response, seconds.
        """
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        usual = {"Host": "127.0.0.1", "Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if method == "POST":
            usual["Content-Length"] = str(len(content))
        lines = [f"{name}: {value}" for name, value in {**usual, **(headers or {})}.items() if value]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines]) + "\r\n\r\n"
        return await self.send_raw(head.encode() + content, timeout_s=timeout_s)

    async def send_raw(self, request: bytes, *, timeout_s: float = TIMEOUT_S) -> Reply:
        """Send bytes and return the reply to them; never raises.

        Args:
            request: bytes of one request.
            timeout_s: time to wait for the response, seconds.
        """
        reply = Reply(start_s=time.monotonic())
        try:
            async with asyncio.timeout(timeout_s):
                await self._exchange(request, reply)
        except TimeoutError:
            reply.error = "timeout"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            reply.error = type(error).__name__
        reply.end_s = time.monotonic()
        return reply

    async def _exchange(self, request: bytes, reply: Reply) -> None:
        while self._idle and time.monotonic() - self._idle[0][0] > _IDLE_S:
            self._idle.popleft()[2].close()
        if self._idle:
            _, reader, writer = self._idle.pop()
            try:
                return await self._send_on(reader, writer, request, reply)
            except (ConnectionError, EOFError):
                if reply.status:
                    raise
                reply.is_second = True
        await self._send_on(*await asyncio.open_connection("127.0.0.1", self.port), request, reply)

    async def _send_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, reply: Reply
    ) -> None:
        is_kept = False
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            reply.status = int(first.split(" ")[1])
            reply.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            reply.body = await reader.readexactly(int(reply.headers.get("content-length", 0)))
            is_kept = reply.headers.get("connection", "").lower() != "close"
        finally:
            if is_kept:
                self._idle.append((time.monotonic(), reader, writer))
            else:
                writer.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[2].close()


@dataclass
class SentEvent:
    """Event of the ledger."""

    body: dict[str, Any]
    key: str
    """User, or session of an event without a user."""
    is_acknowledged: bool = False
    num_in_flight: int = 0
    fate: str = "kept"
    """kept: must be stored once. erased: must not be stored. either: it was on its way while its user was erased."""


class Ledger:
    """Events that were sent, by event id, and the erasures."""

    def __init__(self, seed: int) -> None:
        self.events: dict[str, SentEvent] = {}
        self.by_key: dict[str, list[SentEvent]] = {}
        self.resendable: deque[SentEvent] = deque(maxlen=2_000)
        self.erased_users: set[str] = set()
        """Users who are erased and sent nothing afterwards: no byte of their id may be left."""
        self._name = f"s{seed}"

    def new(self, event: dict[str, Any]) -> SentEvent:
        """Return an event with an id of its own, in the ledger.

        Args:
            event: fields of the event.
        """
        event_id = f"{self._name}-{len(self.events)}"
        sent = SentEvent({**event, "event_id": event_id}, event.get("user_id") or event["session_id"])
        self.events[event_id] = sent
        self.by_key.setdefault(sent.key, []).append(sent)
        return sent

    @contextlib.contextmanager
    def sending(self, events: list[SentEvent]) -> Any:
        """Mark events as on their way while the block runs."""
        for event in events:
            event.num_in_flight += 1
        try:
            yield
        finally:
            for event in events:
                event.num_in_flight -= 1

    def acknowledge(self, events: list[SentEvent], *, may_resend: bool = True) -> None:
        """Record that the server has acknowledged events.

        Args:
            events: the events.
            may_resend: whether they may be sent again.
        """
        for event in events:
            event.is_acknowledged = True
            if event.fate == "kept" and may_resend:
                self.resendable.append(event)

    def begin_erasure(self, user: str) -> None:
        """Record that the erasure of a user is about to be sent."""
        for event in self.by_key.get(user, []):
            event.fate = "either" if event.num_in_flight or not event.is_acknowledged else "erased"
        # One that is sent again during the erasure may be stored after it, as a new event.
        self.resendable = deque((event for event in self.resendable if event.fate == "kept"), maxlen=2_000)

    def end_erasure(self, user: str) -> None:
        """Record that the erasure was acknowledged: events that were sent meanwhile may be stored or not."""
        events = self.by_key.pop(user, [])
        for event in events:
            if event.fate == "kept":
                event.fate = "either"
        self.by_key[user] = [event for event in events if event.num_in_flight]

    def verdict(self, stored: Counter[str]) -> dict[str, int]:
        """Compare the ledger with the stored events.

        Args:
            stored: number of rows by event id.
        """
        kept = [id for id, event in self.events.items() if event.is_acknowledged and event.fate == "kept"]
        return {
            "sent": len(self.events),
            "acknowledged": sum(event.is_acknowledged for event in self.events.values()),
            "must_be_stored": len(kept),
            "lost": sum(stored[id] == 0 for id in kept),
            "doubled": sum(count > 1 for count in stored.values()),
            "erased": sum(event.fate == "erased" for event in self.events.values()),
            "back_after_erasure": sum(event.fate == "erased" and stored[id] for id, event in self.events.items()),
            "never_sent": sum(id not in self.events for id in stored),
        }

    def back(self, stored: Counter[str]) -> list[dict[str, Any]]:
        """Return the first stored events that were erased; arguments as of ``verdict``."""
        return [event.body for id, event in self.events.items() if event.fate == "erased" and stored[id]][:20]


MALFORMED: tuple[tuple[str, str, dict[str, str], bytes, tuple[int, ...]], ...] = (
    ("POST", "/v1/recommend", {}, b"{", (400, 422)),
    ("POST", "/v1/recommend", {}, b'{"k": 0}', (422,)),
    ("POST", "/v1/recommend", {}, b'{"history": [1, 2]}', (422,)),
    ("POST", "/v1/recommend", {}, b"[" * 5_000, (400, 422)),
    ("POST", "/v1/recommend", {"Content-Type": "text/plain"}, b"{}", (415,)),
    ("POST", "/v1/recommend", {"Content-Length": "2000000"}, b"", (413,)),
    ("POST", "/v1/recommend", {"Authorization": ""}, b"{}", (401,)),
    ("POST", "/v1/recommend", {"Authorization": "Bearer of no key of this server"}, b"{}", (401,)),
    ("POST", "/v1/events", {}, b'{"item_id": "item-1"}', (422,)),
    ("POST", "/v1/events", {}, b'{"item_id": "item-1", "session_id": "a", "value": NaN}', (400, 422)),
    ("POST", "/v1/events", {}, b'{"item_id": "item-1", "session_id": "a", "timestamp": 9e15}', (422,)),
    ("POST", "/v1/events", {}, b'{"item_id": "\\u0000", "session_id": "a"}', (422,)),
    ("POST", "/v1/events", {}, b'{"item_id": "item-1", "session_id": "a", "color": 1}', (422,)),
    ("POST", "/v1/events", {}, b'{"events": []}', (422,)),
    ("POST", "/v1/similar", {}, b'{"item_id": "no item"}', (404,)),
    ("POST", "/v1/admin/promote", {}, b'{"version": "nosuchversion"}', (409,)),
    ("GET", "/v1/recommend", {}, b"", (405,)),
    ("GET", "/nothing/here", {}, b"", (404,)),
    ("GET", "/v1/items?limit=-1", {}, b"", (422,)),
    ("GET", "/v1/users/no-such-user", {}, b"", (404,)),
)
"""Method, path, headers, body and the statuses that refuse it."""
BROKEN_FRAMES = (
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.2\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
)


class MixedLoad:
    """Open loop of mixed requests, and the counts of their replies.

    Args:
        http: client.
        phases: intervals that explain refusals.
        marks: mark of the items of each version, by version.
        seed: seed of the requests.
    """

    def __init__(self, http: Http, phases: Phases, marks: dict[str, str], seed: int) -> None:
        self.http = http
        self.phases = phases
        self.marks = marks
        self.rng = random.Random(seed)
        self.ledger = Ledger(seed)
        self.statuses: Counter[str] = Counter()
        self.explained: Counter[str] = Counter()
        self.unexplained: list[dict[str, Any]] = []
        self.num_unexplained = 0
        self.num_lists = self.num_mixed = self.num_fallbacks = 0
        self.by_version: Counter[str] = Counter()
        self.interval_statuses: Counter[str] = Counter()
        self.interval_ms: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._users_made = 0
        self._began_s = time.monotonic()
        self._kinds: dict[Callable[[], Awaitable[None]], float] = {
            self.known_user: 20,
            self.unknown_user: 5,
            self.history: 15,
            self.event_in_request: 15,
            self.event: 18,
            self.batch: 3,
            self.resend: 4,
            self.changed_resend: 1,
            self.similar: 5,
            self.next: 3,
            self.probe: 6,
            self.catalog_page: 1,
            self.malformed: 6,
            self.broken_frame: 1,
        }

    async def run(self, rate: float, until_s: float) -> None:
        """Send requests at their times until the end, and wait for all replies.

        Args:
            rate: requests a second.
            until_s: end, seconds of the monotonic clock.
        """
        kinds, weights = list(self._kinds), list(self._kinds.values())
        due_s = time.monotonic()
        while due_s < until_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            task = asyncio.create_task(self.rng.choices(kinds, weights)[0]())
            self._tasks.add(task)
            task.add_done_callback(self._done)
            due_s += self.rng.expovariate(rate)
        while self._tasks:
            await asyncio.sleep(0.1)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task.exception() is not None:
            self.complain("client", f"the check raised {task.exception()!r}")

    def complain(self, kind: str, reason: str, reply: Reply | None = None) -> None:
        """Record an error that nothing explains; the first hundred with their details."""
        self.num_unexplained += 1
        if len(self.unexplained) < 100:
            phases = sorted(self.phases.names(reply.start_s, reply.end_s)) if reply else []
            text = "" if reply is None else reply.body[:200].decode("utf-8", "replace")
            self.unexplained.append({"kind": kind, "reason": reason, "phases": phases, "body": text})

    def judge(self, kind: str, reply: Reply, expected: tuple[int, ...] = (200,)) -> bool:
        """Count a reply; return True where it has an expected status.

        Args:
            kind: kind of the request.
            reply: the reply.
            expected: statuses of the kind.
        """
        outcome = reply.error or str(reply.status)
        self.statuses[outcome] += 1
        self.interval_statuses[outcome] += 1
        self.interval_ms.append((reply.end_s - reply.start_s) * 1e3)
        phases = self.phases.names(reply.start_s, reply.end_s)
        if reply.is_second and not phases:
            self.complain(kind, "a kept-alive connection was closed within two seconds", reply)
        if reply.status in expected and not reply.error:
            return True
        if reply.error:
            is_explained = reply.error != "timeout" and bool(phases & {"killed", "restart"})
        else:
            can_retry = reply.status in (429, 503) and "retry-after" in reply.headers
            is_stopping = kind == "/health/ready" and reply.status == 503 and "restart" in phases
            is_explained = is_stopping or (can_retry and bool(phases & {"overload", "killed", "restart"}))
        if is_explained:
            self.explained[f"{outcome} in {'+'.join(sorted(phases))}"] += 1
        else:
            self.complain(kind, f"{outcome} instead of {expected}", reply)
        return False

    def check_list(self, kind: str, reply: Reply) -> None:
        """Check that every item is of the version that its list names; in an interleaved list, that the item names."""
        response = reply.json()
        self.num_lists += 1
        named = response["model_version"].split("+")  # two in an interleaved list
        self.by_version[" + ".join(self.marks.get(version, version) for version in named)] += 1
        self.num_fallbacks += "fallback" in response
        for item in response["items"]:
            version = item.get("source") if len(named) > 1 else named[0]
            if item["id"].startswith("only ") and item["id"].split(" ")[1] != self.marks.get(version, ""):
                self.num_mixed += 1
                self.complain(kind, f"{item['id']} in a list of {self.marks.get(version)}", reply)
                break

    async def _list(self, kind: str, body: dict[str, Any], path: str = "/v1/recommend") -> bool:
        reply = await self.http.send("POST", path, body)
        if is_good := self.judge(kind, reply):
            self.check_list(kind, reply)
        return is_good

    def _item(self) -> str:
        return f"item-{int(ITEMS * self.rng.random() ** 2)}"

    def _active(self, count: int) -> int:
        """Return the number of one of the active users or sessions; each is active for the same time."""
        return int((time.monotonic() - self._began_s) / ACTIVE_S * count) + self.rng.randrange(count)

    def user(self) -> str:
        """Return one of the active users."""
        return f"user-{self._active(USERS)}"

    def _session(self) -> str:
        if self.rng.random() < 0.3:  # an anonymous visitor who is never met again
            self._users_made += 1
            return f"visitor-{self._users_made}"
        return f"session-{self._active(SESSIONS)}"

    def _sender(self) -> dict[str, Any]:
        if self.rng.random() < 0.5:
            return {"session_id": self._session()}
        user = self.user()
        return {"user_id": user, "session_id": f"{user} at home"}

    async def known_user(self) -> None:
        """Request a list for a user with stored events."""
        await self._list("known user", {"user_id": self.user(), "k": self.rng.choice((10, 20, 100))})

    async def unknown_user(self) -> None:
        """Request a list for a user without events."""
        self._users_made += 1
        await self._list("unknown user", {"user_id": f"stranger-{self._users_made}", "k": 10})

    async def history(self) -> None:
        """Request a list for a given history, some of it unknown."""
        items = [self._item() for _ in range(self.rng.randint(0, 20))] + ["unknown item"] * self.rng.randint(0, 2)
        await self._list("history", {"history": items, "k": 20, "exclude": [self._item()]})

    async def event_in_request(self) -> None:
        """Store an event and request a list after it."""
        sender = self._sender()
        event = self.ledger.new({**sender, "item_id": self._item()})
        history = {"user_id": sender["user_id"]} if "user_id" in sender else sender
        body = {**history, "k": 10, "event": event.body, "durability": self.rng.choice(("fsync", "memory"))}
        with self.ledger.sending([event]):
            if await self._list("event in a request", body):
                self.ledger.acknowledge([event])

    async def event(self) -> None:
        """Store one event, on disk or in memory."""
        event = self.ledger.new({**self._sender(), "item_id": self._item(), "value": 1.5, "context": {"device": "tv"}})
        await self._store("event", [event], self.rng.choice(("fsync", "fsync", "memory")))

    async def batch(self) -> None:
        """Store a batch of events."""
        events = [self.ledger.new({**self._sender(), "item_id": self._item()}) for _ in range(self.rng.randint(2, 50))]
        await self._store("batch", events, self.rng.choice(("fsync", "memory")))

    async def _store(self, kind: str, events: list[SentEvent], durability: str) -> None:
        with self.ledger.sending(events):
            body = {"events": [event.body for event in events], "durability": durability}
            reply = await self.http.send("POST", "/v1/events", body)
            if self.judge(kind, reply):
                self.ledger.acknowledge(events)
                answer = reply.json()
                if answer["accepted"] + answer["duplicates"] != len(events):
                    self.complain(kind, f"{len(events)} events, and the response counts others", reply)

    async def resend(self) -> None:
        """Send an acknowledged event again: it is a duplicate."""
        if not self.ledger.resendable:
            return
        event = self.rng.choice(self.ledger.resendable)
        with self.ledger.sending([event]):
            reply = await self.http.send("POST", "/v1/events", event.body)
            if self.judge("resend", reply) and event.fate == "kept" and reply.json()["duplicates"] != 1:
                self.complain("resend", "an acknowledged event was accepted again", reply)

    async def changed_resend(self) -> None:
        """Send an acknowledged event with another item: it is refused."""
        if not self.ledger.resendable:
            return
        event = self.rng.choice(self.ledger.resendable)
        with self.ledger.sending([event]):
            reply = await self.http.send("POST", "/v1/events", {**event.body, "item_id": "item-other"})
            # Its user may have been erased meanwhile: then it is a new event.
            self.judge("changed resend", reply, (409,) if event.fate == "kept" else (200, 409))

    async def similar(self) -> None:
        """Request similar items."""
        await self._list("similar", {"item_id": self._item(), "k": 10}, "/v1/similar")

    async def next(self) -> None:
        """Request generated next items; more than 16 at once are refused with Retry-After."""
        strategy = self.rng.choice(("greedy", "sample", "beam"))
        body = {"history": [self._item(), self._item()], "steps": 5, "strategy": strategy}
        await self._list("next", body, "/v1/next")

    async def probe(self) -> None:
        """Request a health probe, the metrics, the deployed versions, or the description."""
        path = self.rng.choice(("/health/live", "/health/ready", "/metrics", "/v1/admin/models", "/openapi.json"))
        self.judge(path, await self.http.send("GET", path))

    async def catalog_page(self) -> None:
        """Request a page of the catalog."""
        self.judge("items", await self.http.send("GET", f"/v1/items?limit=50&after={self._item()}"))

    async def malformed(self) -> None:
        """Send a malformed request."""
        method, path, headers, body, expected = self.rng.choice(MALFORMED)
        reply = await self.http.send(method, path, body or None, headers=headers)
        self.judge(f"malformed {method} {path} {body[:60]!r}", reply, expected)

    async def broken_frame(self) -> None:
        """Send bytes that are no request."""
        frame = self.rng.choice(BROKEN_FRAMES)
        self.judge(f"broken frame {frame[:30]!r}", await self.http.send_raw(frame), (400,))

    def take_interval(self) -> dict[str, Any]:
        """Return and reset the counts since the last call: statuses, 50 % and 99 % of the times in milliseconds."""
        times = sorted(self.interval_ms)
        at = lambda share: round(times[min(len(times) - 1, int(share * len(times)))], 1) if times else None  # noqa: E731
        row = {"statuses": dict(self.interval_statuses), "p50_ms": at(0.5), "p99_ms": at(0.99)}
        self.interval_statuses, self.interval_ms = Counter(), []
        return row
