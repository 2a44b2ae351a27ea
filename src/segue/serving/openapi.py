"""The OpenAPI 3.1 document, written from the same types that decode the requests."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from typing import Any

import msgspec

from segue.serving.schema import Health, ProblemBody

_ALWAYS = (400, 401, 408, 413, 415, 422, 500)
_REF = "#/components/schemas/{name}"

EXAMPLES: dict[str, Any] = {
    "EventIn": {"user_id": "ann", "item_id": "22423", "event": "view", "event_id": "e-1"},
    "EventBatch": {"events": [{"session_id": "s-7", "item_id": "22423"}, {"session_id": "s-7", "item_id": "85123A"}]},
    "EventsAnswer": {"accepted": 1, "duplicates": 0, "durability": "fsync", "event_ids": ["e-1"]},
    "RecommendRequest": {"user_id": "ann", "k": 2, "event": {"item_id": "22423"}},
    "RecommendAnswer": {
        "recommendation_id": "5f2f6c0b9d5f4b0e8a5c3c1f0d2b7a61",
        "model_version": "0a1b2c3d4e5f",
        "items": [{"id": "85123A", "score": 3.5, "title": "White hanging heart"}, {"id": "47566", "score": 2.25}],
        "unknown_items": [],
        "took_ms": 0.8,
    },
    "SimilarRequest": {"item_id": "22423", "k": 5},
    "Health": {"status": "ready", "checks": {"model": True, "store": True, "serving": True}},
    "ProblemBody": {
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "The event belongs to nobody: give user_id, session_id or both.",
        "type": "about:blank",
    },
}


@dataclass(frozen=True)
class Operation:
    """One thing the server can be asked by POST."""

    path: str
    handler: Callable[[Any, bytes], Awaitable[Any]]
    """(the door, a body) -> the answer; its docstring describes the operation."""
    requests: tuple[type, ...]
    answer: type
    problems: tuple[int, ...]
    """Statuses of its own, beside those that every operation can answer with."""


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The whole document, as plain values."""
    operations = list(operations)
    kinds = {kind for one in operations for kind in (*one.requests, one.answer)} | {Health, ProblemBody}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    paths: dict[str, Any] = {one.path: {"post": _post(one)} for one in operations}
    paths["/health/live"] = {"get": _get("live", "Whether the process answers at all.", (200,))}
    paths["/health/ready"] = {"get": _get("ready", "Whether requests should be sent here.", (200, 503))}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Segue",
            "summary": "Recommends what comes next.",
            "version": metadata.version("segue"),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _post(one: Operation) -> dict[str, Any]:
    schemas = [_ref(kind) for kind in one.requests]
    body = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {
        "operationId": one.path.rpartition("/")[2],
        "summary": (one.handler.__doc__ or "").split("\n")[0],
        "security": [{}, {"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _response("The answer.", "application/json", one.answer),
            **{str(status): _problem(status) for status in sorted({*_ALWAYS, *one.problems})},
        },
    }


def _get(name: str, summary: str, statuses: tuple[int, ...]) -> dict[str, Any]:
    responses = {str(status): _response(summary, "application/json", Health) for status in statuses}
    return {"operationId": name, "summary": summary, "responses": responses}


def _problem(status: int) -> dict[str, Any]:
    response = _response(HTTPStatus(status).phrase, "application/problem+json", ProblemBody)
    if status == 503:
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return response


def _response(description: str, media: str, kind: type) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": _ref(kind)}}}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}
