"""The HTTP routes: one table of operations, and how a request of any shape becomes a reply. Plain requests to the
operations take a shorter way to the same reply (``serving/http/protocol.py``)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from segue.serving.http import admin_routes, openapi
from segue.serving.http.auth import ADMIN, INGEST, Caller
from segue.serving.http.endpoint import PostEndpoint, ReadEndpoint
from segue.serving.http.handlers import AppState
from segue.serving.http.middleware import JSON, Reply, handle, run_operation
from segue.serving.observability.prometheus import MEDIA_TYPE, merge_metrics
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import (
    EventBatch,
    EventIn,
    EventsResponse,
    Health,
    NextRequest,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
)

MAX_BODY_BYTES = 1_000_000
BODY_DEADLINE_S = 10.0

IN_FLIGHT = (
    PostEndpoint("/v1/events", AppState.events, (EventIn, EventBatch), EventsResponse, (409, 503), INGEST),
    PostEndpoint("/v1/recommend", AppState.recommend, (RecommendRequest,), RecommendResponse, (409, 503)),
    PostEndpoint("/v1/similar", AppState.similar, (SimilarRequest,), RecommendResponse, (404, 503)),
    PostEndpoint("/v1/next", AppState.next, (NextRequest,), RecommendResponse, (503,)),
)
"""What every process of a server answers itself."""
OPERATIONS = (*IN_FLIGHT, *admin_routes.OPERATIONS)


def build_app(door: AppState, pages: Sequence[Route] = ()) -> ASGIApp:
    """The ASGI application; ``pages`` are served beside the operations."""
    document = msgspec.json.encode(openapi.openapi_document(OPERATIONS, admin_routes.READS, keys=len(door.keys) > 0))

    async def describe(request: Request) -> Response:
        return Reply(document).response()

    async def metrics(request: Request) -> Reply:
        text, others = door.router.telemetry.text(), await asyncio.to_thread(door.other_workers)
        return Reply(merge_metrics(text, others), kind=MEDIA_TYPE)

    async def live(request: Request) -> Response:
        """Whether the process answers at all; looks at nothing else."""
        return Reply.of(Health("alive")).response()

    async def ready(request: Request) -> Response:
        health = door.ready()
        return Reply.of(health, 200 if health.status == "ready" else 503).response()

    routes = [Route(one.path, _operation(door, one), methods=["POST"]) for one in OPERATIONS]
    routes += _reads(door)
    routes += [
        Route("/health/live", live),
        Route("/health/ready", ready),
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


def _reads(door: AppState) -> list[Route]:
    """One route for each path: two of one path would each deny the other's methods."""
    found: dict[str, dict[str, Endpoint]] = {}
    for one in admin_routes.READS:
        found.setdefault(one.path, {})[one.method] = _guarded(door, one.shown, one.role, _reading(door, one))
    return [Route(path, _by_method(by_method), methods=list(by_method)) for path, by_method in found.items()]


def _by_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _operation(door: AppState, one: PostEndpoint) -> Endpoint:
    """One operation, its body read only from whoever may ask it."""

    async def endpoint(request: Request) -> Response:
        async def inner(caller: Caller) -> Reply:
            return await run_operation(door, one, await _body(request), caller)

        response = (await handle(door, one.path, one.role, _authorization(request), inner)).response()
        if door.draining:
            response.headers["Connection"] = "close"
        return response

    return endpoint


def _reading(door: AppState, one: ReadEndpoint) -> Callable[[Request], Awaitable[Reply]]:
    async def reading(request: Request) -> Reply:
        return Reply.of(await one.handler(door, request))

    return reading


def _guarded(door: AppState, path: str, role: str, inner: Callable[[Request], Awaitable[Reply]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        reply = await handle(door, path, role, _authorization(request), lambda caller: inner(request))
        return reply.response()

    return endpoint


def _authorization(request: Request) -> str:
    return request.headers.get("authorization", "")


async def _body(request: Request) -> bytes:
    """The body; Problem when it is no JSON by its own account, too large, or too slow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        # Also keeps web pages out: a browser sends this type to another site only if that site agreed.
        raise Problem(415, f"The Content-Type must be {JSON}, not '{kind}'.")
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
        raise late() from None
    except ClientDisconnect:
        raise Problem(400, "The connection was closed before the body was complete.") from None
    return bytes(body)


def late() -> Problem:
    """A body that does not come."""
    return Problem(408, f"The body did not arrive within {BODY_DEADLINE_S:g} seconds.")


async def _refuse(request: Request, error: Exception) -> Response:
    """What the router refuses: a path or a method that is not there."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.url.path} does not take {request.method}: use {allowed}."
    else:
        detail = f"There is nothing at {request.url.path}: /openapi.json lists what there is."
    return Reply.refusal(Problem(error.status_code, detail, dict(error.headers or {}))).response()
