"""The HTTP door: reads, checks and decodes a request, asks the engine, encodes the answer. One table of operations."""

import asyncio
import hmac
import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from segue.serving import openapi
from segue.serving.admission import Pulse
from segue.serving.engine import Engine, check
from segue.serving.openapi import Operation
from segue.serving.problems import UNREADABLE, Problem, unreadable
from segue.serving.schema import (
    EventBatch,
    EventIn,
    EventsAnswer,
    Health,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
    decode,
    decode_events,
)

MAX_BODY_BYTES = 1_000_000
BODY_DEADLINE_S = 10.0
_JSON = "application/json"
_log = logging.getLogger("segue.serving")


@dataclass
class Door:
    """What the operations share: the engine, the key that opens it, and whether the server is about to stop."""

    engine: Engine
    key: str | None = None
    draining: bool = False
    pulse: Pulse = field(default_factory=Pulse)
    """How late the event loop is: it refuses work before the work costs anything."""

    async def events(self, body: bytes) -> EventsAnswer:
        """Stores one event or many; answers when they are as safe as was asked for."""
        batch = decode_events(body)
        future, ids = self.engine.store(batch.events, batch.durability)
        receipt = await asyncio.wrap_future(future)
        worth = batch.durability or self.engine.durability
        return EventsAnswer(receipt.accepted, receipt.duplicates, worth, ids)

    async def recommend(self, body: bytes) -> RecommendAnswer:
        """Stores the event that came along, if any, then answers with it in the history."""
        request: RecommendRequest = decode(RecommendRequest, body)
        check(request)
        if request.event is None:
            return await self.engine.ask(request)
        await asyncio.wrap_future(self.engine.store([request.event], request.durability)[0])
        answer = await self.engine.ask(request)
        answer.durability = request.durability or self.engine.durability
        return answer

    async def similar(self, body: bytes) -> RecommendAnswer:
        """What goes with one item."""
        request: SimilarRequest = decode(SimilarRequest, body)
        return await self.engine.ask(request)

    async def live(self, request: Request) -> Response:
        """Whether the process answers at all; looks at nothing else."""
        return _encode(Health("alive"))

    async def ready(self, request: Request) -> Response:
        """Whether requests should be sent here."""
        health = readiness(writable=self.engine.writable, draining=self.draining)
        return _encode(health, 200 if health.status == "ready" else 503)


def readiness(*, writable: bool, draining: bool) -> Health:
    """Ready when events can be stored and the server is not stopping; a model is there before the door is."""
    checks = {"model": True, "store": writable, "serving": not draining}
    return Health("ready" if all(checks.values()) else "not ready", checks)


OPERATIONS = (
    Operation("/v1/events", Door.events, (EventIn, EventBatch), EventsAnswer, (409, 503)),
    Operation("/v1/recommend", Door.recommend, (RecommendRequest,), RecommendAnswer, (409, 503)),
    Operation("/v1/similar", Door.similar, (SimilarRequest,), RecommendAnswer, (404, 503)),
)


def build(door: Door) -> Starlette:
    """The ASGI application."""
    document = msgspec.json.encode(openapi.document(OPERATIONS))

    async def describe(request: Request) -> Response:
        return Response(document, media_type=_JSON)

    routes = [Route(one.path, _endpoint(door, one.handler), methods=["POST"]) for one in OPERATIONS]
    routes += [
        Route("/health/live", door.live),
        Route("/health/ready", door.ready),
        Route("/openapi.json", describe),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refuse})


def _endpoint(door: Door, handler: Callable[[Door, bytes], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    """One operation with everything around it: key, size, deadline, and every error as a problem."""

    async def endpoint(request: Request) -> Response:
        try:
            door.pulse.admit()
            _authorise(request, door.key)
            body = await _body(request)
            try:
                response = _encode(await handler(door, body))
            except UNREADABLE as error:
                raise unreadable(error) from None
            if door.draining:
                response.headers["Connection"] = "close"
            return response
        except Problem as problem:
            return _problem(problem)
        except Exception as error:
            # Where it happened, without the message: a message can hold a person's id.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("%s failed with %s\n%s", request.url.path, type(error).__name__, where)
            return _problem(Problem(500, "The server failed to answer; its log says where."))

    return endpoint


def _authorise(request: Request, key: str | None) -> None:
    """Problem (401) where a key is set and the request does not carry it."""
    if key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if not hmac.compare_digest(given.encode(), key.encode()) or scheme.lower() != "bearer":
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "The key is missing or wrong: send it as 'Authorization: Bearer KEY'.", headers)


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
    except (ClientDisconnect, asyncio.CancelledError):  # granian cancels what waits for a client that went away
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
