"""What stands round every operation: key, rate, every error as a problem, counters, a line in the log."""

import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.responses import Response

from segue.serving.http.auth import INGEST, Caller
from segue.serving.http.endpoint import PostEndpoint
from segue.serving.http.handlers import AppState
from segue.serving.http.load_shedding import BUSY
from segue.serving.observability import logs
from segue.serving.schemas.problems import UNREADABLE, Problem, invalid_body
from segue.serving.schemas.requests import RecommendRequest, decode_request

JSON = "application/json"
_log = logging.getLogger("segue.serving")
_requests = logging.getLogger("segue.serving.requests")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on its way out."""

    body: bytes
    status: int = 200
    kind: str = JSON
    """Its Content-Type."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, answer: Any, status: int = 200) -> "Reply":
        """An answer as JSON."""
        return cls(msgspec.json.encode(answer), status)

    @classmethod
    def refusal(cls, problem: Problem) -> "Reply":
        """A problem, as RFC 9457 wants it sent."""
        return cls(msgspec.json.encode(problem.body()), problem.status, "application/problem+json", problem.headers)

    def response(self) -> Response:
        """The same for Starlette."""
        return Response(self.body, self.status, {**self.headers, "Content-Type": self.kind})


async def handle(
    door: AppState, path: str, role: str, authorization: str, inner: Callable[[Caller], Awaitable[Reply]]
) -> Reply:
    """What ``inner`` replies to whoever may ask it; never an exception. ``path`` as it is declared, for counters and
    logs."""
    started = time.perf_counter()
    try:
        door.loop_lag.admit()
        if door.busy(path):
            raise BUSY.with_traceback(None)
        caller = door.keys.caller(authorization)
        caller.need(role)
        door.limit.take(caller)
        reply = await inner(caller)
    except Problem as problem:
        reply = Reply.refusal(problem)
    except Exception as error:
        # Where it happened, without the message: a message can hold a person's id.
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("%s failed with %s\n%s", path, type(error).__name__, where)
        reply = Reply.refusal(Problem(500, "The server failed to answer; its log says where."))
    took_s = time.perf_counter() - started
    door.router.telemetry.requested(path, reply.status, took_s)
    logs.log_event(
        _requests, logging.INFO, "Answered.",
        operation=path, status=reply.status, took_ms=round(took_s * 1e3, 3),
    )  # fmt: skip
    return reply


async def run_operation(door: AppState, one: PostEndpoint, body: bytes, caller: Caller) -> Reply:
    """One operation: its body decoded, its answer encoded. Problem for a body that cannot be read, and whatever the
    operation raises."""
    try:
        _may_write(caller, one, body)
        return Reply.of(await one.handler(door, body))
    except UNREADABLE as error:
        raise invalid_body(error) from None


def _may_write(caller: Caller, one: PostEndpoint, body: bytes) -> None:
    """Problem (403) for an event in a question whose key may only ask."""
    if INGEST not in caller.roles and RecommendRequest in one.requests:
        request: RecommendRequest = decode_request(RecommendRequest, body)
        if request.event is not None:
            caller.need(INGEST)
