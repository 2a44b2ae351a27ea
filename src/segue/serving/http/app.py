"""HTTP application: admission of a request by its head, and the response to its whole body."""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import msgspec

from segue.serving.http import admin_routes, openapi
from segue.serving.http.auth import ADMIN, INGEST, OPEN, Caller
from segue.serving.http.cors import CorsPolicy
from segue.serving.http.exchange import JSON, Request, Response
from segue.serving.http.handlers import AppState
from segue.serving.http.load_shedding import BUSY
from segue.serving.http.router import Endpoint, Router, decode_parameter
from segue.serving.observability import logs
from segue.serving.observability.prometheus import MEDIA_TYPE, merge_metrics
from segue.serving.schemas.problems import DECODE_ERRORS, Problem, invalid_body
from segue.serving.schemas.requests import (
    EventBatch,
    EventIn,
    EventsResponse,
    Health,
    NextRequest,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
    decode_request,
)

MAX_BODY_BYTES = 1_000_000
MERGE_PATCH = "application/merge-patch+json"
"""Media type of PATCH (RFC 7396); plain JSON is accepted too."""
_log = logging.getLogger("segue.serving")
_requests = logging.getLogger("segue.serving.requests")

API = (
    Endpoint(
        "POST", "/v1/events", AppState.events, EventsResponse, (EventIn, EventBatch), INGEST, problems=(409, 503, 507)
    ),
    Endpoint(
        "POST", "/v1/recommend", AppState.recommend, RecommendResponse, (RecommendRequest,), problems=(409, 503, 507)
    ),
    Endpoint("POST", "/v1/similar", AppState.similar, RecommendResponse, (SimilarRequest,), problems=(404, 503)),
    Endpoint("POST", "/v1/next", AppState.next, RecommendResponse, (NextRequest,), problems=(503,)),
)
"""Endpoints of events and recommendations."""
ENDPOINTS = (*API, *admin_routes.ENDPOINTS)
"""Endpoints of the OpenAPI document."""
Forward = Callable[[Request], Awaitable[Response]]
"""Request -> response of the primary process."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Request that may be answered: routed, within the limits, its key checked."""

    request: Request
    endpoint: Endpoint
    parameter: str
    """Value of the path parameter; "" without one."""
    caller: Caller


class RequestReceiver(Protocol):
    """Taker of requests, in their order."""

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a response."""

    def receive(self, admission: Admission | Response, request: Request | None, *, keep_alive: bool) -> None:
        """Take a request.

        Args:
            admission: admission of a request whose body is complete, or the response of a refused one.
            request: the request; None where its head could not be read.
            keep_alive: whether another request may follow.
        """

    def send_continue(self) -> None:
        """Send 100 Continue, behind the responses that are due before."""


class App:
    """Endpoints of one server over its state.

    A request is answered in two steps: ``admit`` when its head is there, before any byte of its body is kept, and
    ``respond`` when the body is complete.

    Args:
        state: state that the handlers share.
        pages: more endpoints, as those of files for browsers.
        forward: in a worker, the way to the primary process for endpoints that only it can answer.
    """

    def __init__(self, state: AppState, pages: Sequence[Endpoint] = (), forward: Forward | None = None) -> None:
        self.state = state
        self._forward = forward
        self.cors = CorsPolicy(state.origins)
        description = Endpoint("GET", "/openapi.json", self._describe, role=None)
        self._router = Router([*ENDPOINTS, *_SYSTEM, description, *pages])

    def admit(self, request: Request, *, counted: bool = True) -> Admission | Response:
        """Check a request by its head.

        Args:
            request: the request, without its body.
            counted: whether it counts against its key's rate limit; False where another process has counted it.

        Returns:
            the admission, or the response where none of the body is needed (a CORS preflight request).

        Raises:
            Problem: 403, a request of another site on a server without keys; 404 or 405, no such endpoint; 503,
                the server is busy; 401 or 403, the key; 429, the rate; 415 or 413, the body that is announced; 400,
                a path parameter that is not UTF-8. A refusal of a known endpoint is counted in the metrics.
        """
        if not len(self.state.keys):
            self.cors.check_local(request)
        if (preflight := self.cors.preflight(request)) is not None:
            return preflight
        endpoint, parameter = self._router.find(request.method, request.path)
        if endpoint.role is None:
            return Admission(request, endpoint, parameter, OPEN)
        try:
            caller = self._check(request, endpoint, counted=counted)
            return Admission(request, endpoint, decode_parameter(parameter), caller)
        except Problem as problem:
            self.state.router.metrics.count_request(endpoint.path, problem.status, 0.0)
            raise

    def _check(self, request: Request, endpoint: Endpoint, *, counted: bool) -> Caller:
        """Return the caller, after the load, the key, its role, its rate and the announced body were checked."""
        state = self.state
        state.loop_lag.admit()
        if state.busy(endpoint.path):
            raise BUSY.with_traceback(None)
        caller = state.keys.caller(request.header(b"authorization"))
        assert endpoint.role is not None
        caller.need(endpoint.role)
        if counted:
            state.client_limits.take(request, caller)  # first, so that one client does not use up the page's key
            state.limit.take(caller)
        if endpoint.requests:
            _check_body_headers(request)
        request.roles = caller.roles
        return caller

    async def respond(self, admission: Admission) -> Response:
        """Return the response to an admitted request with its whole body; never raises but for a cancellation."""
        endpoint, request = admission.endpoint, admission.request
        if endpoint.forwarded and self._forward is not None:
            return (await self._forward(request)).with_headers(self.cors.headers(request))
        started = time.perf_counter()
        try:
            response = await self._run(admission)
        except Problem as problem:
            response = Response.problem(problem)
        except DECODE_ERRORS as error:
            response = Response.problem(invalid_body(error))
        except Exception as error:
            # Where it happened, without the message: a message can hold a user's id.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("%s failed with %s\n%s", endpoint.path, type(error).__name__, where)
            response = Response.problem(Problem(500, "The server failed to answer; its log says where."))
        if endpoint.role is not None:
            self._record(endpoint.path, response.status, time.perf_counter() - started)
        return response.with_headers(cors) if (cors := self.cors.headers(request)) else response

    async def handle(self, request: Request, *, counted: bool = True) -> Response:
        """Return the response to a whole request: ``admit`` and ``respond`` in one step.

        Args:
            request: the request with its body.
            counted: see ``admit``.
        """
        try:
            admission = self.admit(request, counted=counted)
        except Problem as problem:
            return self.refuse(problem, request)
        return admission if isinstance(admission, Response) else await self.respond(admission)

    async def _run(self, admission: Admission) -> Response:
        if RecommendRequest in admission.endpoint.requests and INGEST not in admission.caller.roles:
            _refuse_event_without_role(admission)
        value = await admission.endpoint.handler(self.state, admission.request, admission.parameter)
        if self.state.client_limits.counts_items:
            self.state.client_limits.count_items(admission.request, admission.caller, value)
        return value if isinstance(value, Response) else Response.of(value)

    def refuse(
        self, problem: Problem, request: Request | None = None, admission: Admission | Response | None = None
    ) -> Response:
        """Return a refusal, with the CORS headers of its request so that a page can read why.

        Args:
            problem: the reason.
            request: the request; None where its head could not be read.
            admission: its admission, where the head was admitted and the body is refused; counted in the metrics.
        """
        response = Response.problem(problem)
        if isinstance(admission, Admission) and admission.endpoint.role is not None:
            self._record(admission.endpoint.path, problem.status, 0.0)
        return response if request is None else response.with_headers(self.cors.headers(request))

    def _record(self, path: str, status: int, took_s: float) -> None:
        self.state.router.metrics.count_request(path, status, took_s)
        took_ms = round(took_s * 1e3, 3)
        logs.log_event(_requests, logging.INFO, "Answered.", operation=path, status=status, took_ms=took_ms)

    async def _describe(self, state: AppState, request: Request, parameter: str) -> Response:
        return Response(self._description)

    @cached_property
    def _description(self) -> bytes:
        return msgspec.json.encode(openapi.openapi_document(ENDPOINTS, keys=len(self.state.keys) > 0))


def _check_body_headers(request: Request) -> None:
    """Refuse a body by its headers: 415 for another media type than JSON, 413 for an announced length over the limit.

    A browser sends this media type to another site only if that site agreed (CORS), so it also keeps foreign pages out.
    """
    media_type = request.header(b"content-type").partition(";")[0].strip().lower()
    if media_type != JSON and not (request.method == "PATCH" and media_type == MERGE_PATCH):
        raise Problem(415, f"The Content-Type must be {JSON}, not '{media_type}'.")
    length = request.header(b"content-length").lstrip("0")  # Python converts at most 4300 digits
    if length and int(length) > MAX_BODY_BYTES:
        raise body_too_large()


def body_too_large() -> Problem:
    """Return the refusal of a body over ``MAX_BODY_BYTES``."""
    return Problem(413, f"The body is larger than {MAX_BODY_BYTES} bytes: send fewer events in one request.")


def _refuse_event_without_role(admission: Admission) -> None:
    """Raise Problem 403 for a recommendation request that carries an event, sent with a key that may not ingest."""
    request: RecommendRequest = decode_request(RecommendRequest, admission.request.body)
    if request.event is not None:
        admission.caller.need(INGEST)


async def _metrics(state: AppState, request: Request, parameter: str) -> Response:
    text, others = state.router.metrics.text(), await asyncio.to_thread(state.other_workers)
    return Response(merge_metrics(text, others), media_type=MEDIA_TYPE)


async def _live(state: AppState, request: Request, parameter: str) -> Health:
    return Health("alive")


async def _ready(state: AppState, request: Request, parameter: str) -> Response:
    health = state.ready()
    return Response.of(health, 200 if health.status == "ready" else 503)


_SYSTEM = (
    Endpoint("GET", "/health/live", _live, role=None),
    Endpoint("GET", "/health/ready", _ready, role=None, forwarded=True),
    Endpoint("GET", "/metrics", _metrics, role=ADMIN, forwarded=True),
)
