"""The HTTP door: reads, checks and decodes a request, asks the engine, encodes the answer. One table of operations."""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from segue.serving import admin, logs, openapi
from segue.serving.admission import BUSY, Pulse
from segue.serving.auth import ADMIN, INGEST, Caller, Keys, RateLimit
from segue.serving.back_office import BackOffice
from segue.serving.engine import check, one_history
from segue.serving.fleet import Fleet
from segue.serving.openapi import Operation, Read
from segue.serving.problems import UNREADABLE, Problem, later, unreadable
from segue.serving.schema import (
    EventBatch,
    EventIn,
    EventsAnswer,
    Health,
    NextRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
    decode,
    decode_events,
)
from segue.serving.telemetry import MEDIA_TYPE, together

MAX_BODY_BYTES = 1_000_000
BODY_DEADLINE_S = 10.0
MOST_WRITTEN = 16
_LISTS = frozenset({"/v1/recommend", "/v1/similar"})
_JSON = "application/json"
_log = logging.getLogger("segue.serving")
_requests = logging.getLogger("segue.serving.requests")


@dataclass
class Door:
    """What the operations share: the versions at work, the keys, and whether the server is about to stop."""

    fleet: Fleet
    keys: Keys = field(default_factory=Keys)
    office: BackOffice | None = None
    limit: RateLimit = field(default_factory=lambda: RateLimit(None))
    origins: tuple[str, ...] = ()
    """Web sites whose pages may ask from a browser."""
    draining: bool = False
    pulse: Pulse = field(default_factory=Pulse)
    """How late the event loop is: it refuses work before the work costs anything."""
    others: Callable[[], list[tuple[str, bytes]]] = list
    """The counters of other processes that answer on the same port, by their numbers."""
    writing: int = 0
    """Lists that are being written item by item just now."""

    def busy(self, path: str) -> bool:
        """Whether a request for a list would wait too long: not even its event is stored then, so that whoever sends it
        again finds everything as it was."""
        return path in _LISTS and self.fleet.busy

    async def events(self, body: bytes) -> EventsAnswer:
        """Stores one event or many; answers when they are as safe as was asked for."""
        batch = decode_events(body)
        future, ids = self.fleet.store(batch.events, batch.durability)
        receipt = await asyncio.wrap_future(future)
        self.fleet.telemetry.stored(receipt.accepted, receipt.duplicates)
        worth = batch.durability or self.fleet.durability
        return EventsAnswer(receipt.accepted, receipt.duplicates, worth, ids)

    async def recommend(self, body: bytes) -> RecommendAnswer:
        """Stores the event that came along, if any, then answers with it in the history."""
        request: RecommendRequest = decode(RecommendRequest, body)
        check(request)
        if request.event is None:
            return await self.fleet.recommend(request)
        receipt = await asyncio.wrap_future(self.fleet.store([request.event], request.durability)[0])
        self.fleet.telemetry.stored(receipt.accepted, receipt.duplicates)
        answer = await self.fleet.recommend(request)
        answer.durability = request.durability or self.fleet.durability
        return answer

    async def similar(self, body: bytes) -> RecommendAnswer:
        """What goes with one item."""
        return await self.fleet.similar(decode(SimilarRequest, body))

    async def next(self, body: bytes) -> RecommendAnswer:
        """The next items one after the other, each with those before it in the history."""
        request: NextRequest = decode(NextRequest, body)
        one_history(request)
        if self.writing >= MOST_WRITTEN:
            raise later(f"{MOST_WRITTEN} lists are being written just now: ask again in a moment.")
        self.writing += 1
        try:
            return await asyncio.to_thread(self.fleet.next, request)
        finally:
            self.writing -= 1

    async def live(self, request: Request) -> Response:
        """Whether the process answers at all; looks at nothing else."""
        return _encode(Health("alive"))

    async def ready(self, request: Request) -> Response:
        """Whether requests should be sent here."""
        health = readiness(writable=self.fleet.writable, draining=self.draining)
        return _encode(health, 200 if health.status == "ready" else 503)


def readiness(*, writable: bool, draining: bool) -> Health:
    """Ready when events can be stored and the server is not stopping; a model is there before the door is."""
    checks = {"model": True, "store": writable, "serving": not draining}
    return Health("ready" if all(checks.values()) else "not ready", checks)


OPERATIONS = (
    Operation("/v1/events", Door.events, (EventIn, EventBatch), EventsAnswer, (409, 503), INGEST),
    Operation("/v1/recommend", Door.recommend, (RecommendRequest,), RecommendAnswer, (409, 503)),
    Operation("/v1/similar", Door.similar, (SimilarRequest,), RecommendAnswer, (404, 503)),
    Operation("/v1/next", Door.next, (NextRequest,), RecommendAnswer, (503,)),
    *admin.OPERATIONS,
)


def build(door: Door, pages: Sequence[Route] = ()) -> ASGIApp:
    """The ASGI application; ``pages`` are served beside the operations."""
    document = msgspec.json.encode(openapi.document(OPERATIONS, admin.READS, keys=len(door.keys) > 0))

    async def describe(request: Request) -> Response:
        return Response(document, media_type=_JSON)

    async def metrics(request: Request) -> Response:
        text, others = door.fleet.telemetry.text(), await asyncio.to_thread(door.others)
        return Response(together(text, others), headers={"Content-Type": MEDIA_TYPE})

    routes = [Route(one.path, _operation(door, one), methods=["POST"]) for one in OPERATIONS]
    routes += _reads(door)
    routes += [
        Route("/health/live", door.live),
        Route("/health/ready", door.ready),
        Route("/metrics", _guarded(door, "/metrics", ADMIN, metrics)),
        Route("/openapi.json", describe),
        *pages,
    ]
    app: ASGIApp = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    if door.origins:
        headers, methods = ["Authorization", "Content-Type"], ["GET", "POST"]
        app = CORSMiddleware(app, allow_origins=door.origins, allow_methods=methods, allow_headers=headers)
    return app


Endpoint = Callable[[Request], Awaitable[Response]]


def _reads(door: Door) -> list[Route]:
    """One route for each path: two of one path would each deny the other's methods."""
    found: dict[str, dict[str, Endpoint]] = {}
    for one in admin.READS:
        found.setdefault(one.path, {})[one.method] = _guarded(door, one.shown, one.role, _reading(door, one))
    return [Route(path, _by_method(by_method), methods=list(by_method)) for path, by_method in found.items()]


def _by_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _operation(door: Door, one: Operation) -> Endpoint:
    """One operation: its body read and decoded, its answer encoded."""

    async def endpoint(request: Request) -> Response:
        body = await _body(request)
        try:
            _may_write(request.state.caller, one, body)
            response = _encode(await one.handler(door, body))
        except UNREADABLE as error:
            raise unreadable(error) from None
        if door.draining:
            response.headers["Connection"] = "close"
        return response

    return _guarded(door, one.path, one.role, endpoint)


def _reading(door: Door, one: Read) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return _encode(await one.handler(door, request))

    return endpoint


def _may_write(caller: Caller, one: Operation, body: bytes) -> None:
    """Problem (403) for an event in a question whose key may only ask."""
    if RecommendRequest in one.requests and INGEST not in caller.roles:
        request: RecommendRequest = decode(RecommendRequest, body)
        if request.event is not None:
            caller.need(INGEST)


def _guarded(door: Door, path: str, role: str, inner: Endpoint) -> Endpoint:
    """What stands round everything: key, rate, every error as a problem, counters, a line in the log."""

    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        try:
            door.pulse.admit()
            if door.busy(path):
                raise BUSY.with_traceback(None)
            caller = door.keys.caller(request.headers.get("authorization", ""))
            caller.need(role)
            door.limit.take(caller)
            request.state.caller = caller
            response = await inner(request)
        except Problem as problem:
            response = _problem(problem)
        except Exception as error:
            # Where it happened, without the message: a message can hold a person's id.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("%s failed with %s\n%s", path, type(error).__name__, where)
            response = _problem(Problem(500, "The server failed to answer; its log says where."))
        took_s = time.perf_counter() - started
        door.fleet.telemetry.requested(path, response.status_code, took_s)
        logs.said(
            _requests, logging.INFO, "Answered.",
            operation=path, status=response.status_code, took_ms=round(took_s * 1e3, 3),
        )  # fmt: skip
        return response

    return endpoint


async def _body(request: Request) -> bytes:
    """The body; Problem when it is no JSON by its own account, too large, or too slow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        # Also keeps web pages out: a browser sends this type to another site only if that site agreed.
        raise Problem(415, f"The Content-Type must be {_JSON}, not '{kind}'.")
    too_large = Problem(413, f"The body is larger than {MAX_BODY_BYTES} bytes: send fewer events in one request.")
    if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise Problem(408, f"The body did not arrive within {BODY_DEADLINE_S:g} seconds.") from None
    except ClientDisconnect:
        raise Problem(400, "The connection was closed before the body was complete.") from None
    return bytes(body)


def _encode(answer: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status, media_type=_JSON)


def _problem(problem: Problem) -> Response:
    return Response(
        msgspec.json.encode(problem.body()), problem.status, problem.headers, media_type="application/problem+json"
    )


async def _refuse(request: Request, error: Exception) -> Response:
    """What the router refuses: a path or a method that is not there."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.url.path} does not take {request.method}: use {allowed}."
    else:
        detail = f"There is nothing at {request.url.path}: /openapi.json lists what there is."
    return _problem(Problem(error.status_code, detail, dict(error.headers or {})))
