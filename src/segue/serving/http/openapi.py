"""The OpenAPI 3.1 document, written from the same types that decode the requests."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from importlib import metadata
from typing import Any

import msgspec

from segue.serving.http import openapi_constraints
from segue.serving.http.endpoint import PostEndpoint, ReadEndpoint
from segue.serving.schemas.examples import EXAMPLES
from segue.serving.schemas.requests import EventIn, Health, Id, ProblemBody

_ALWAYS = (401, 403, 429, 500)
_BODY = (400, 408, 413, 415, 422)
_REF = "#/components/schemas/{name}"


def openapi_document(
    operations: Iterable[PostEndpoint], reads: Iterable[ReadEndpoint] = (), *, keys: bool = False
) -> dict[str, Any]:
    """The whole document, as plain values; ``keys``: whether the server asks for one."""
    operations, reads = list(operations), list(reads)
    kinds = {kind for one in operations for kind in (*one.requests, one.answer)} | {Health, ProblemBody}
    kinds |= {one.answer for one in reads}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    for name in schemas:
        schemas[name]["examples"] = [EXAMPLES[name]]
    openapi_constraints.add_constraints(schemas)
    paths: dict[str, Any] = {one.path: {"post": _post(one)} for one in operations}
    for one in reads:
        paths.setdefault(one.shown, {})[one.method.lower()] = _read(one)
    paths["/metrics"] = {"get": _METRICS}
    for methods in paths.values():
        for operation in methods.values():
            operation["security"] = [{"key": []}] if keys else [{}, {"key": []}]
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


def _post(one: PostEndpoint) -> dict[str, Any]:
    schemas = [
        {"$ref": _REF.format(name=openapi_constraints.SOMEBODYS_EVENT)} if kind is EventIn else _ref(kind)
        for kind in one.requests
    ]
    body = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {
        "operationId": one.path.rpartition("/")[2],
        "summary": (one.handler.__doc__ or "").split("\n")[0],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _response("The answer.", "application/json", one.answer),
            **{str(status): _problem(status) for status in sorted({*_ALWAYS, *_BODY, *one.problems})},
        },
    }


def _read(one: ReadEndpoint) -> dict[str, Any]:
    path = one.shown
    names = re.findall(r"{(\w+)}", path)
    inside = [{"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(Id)} for name in names]
    behind = [{"name": name, "in": "query", "schema": kind, "description": said} for name, kind, said in one.queries]
    statuses = sorted({*_ALWAYS, *one.problems, *((422,) if inside or behind else ())})
    return {
        "operationId": "_".join([one.method.lower(), *re.findall(r"[a-z]+", path.removeprefix("/v1/"))]),
        "summary": (one.handler.__doc__ or "").split("\n")[0],
        "parameters": [*inside, *behind],
        "responses": {
            "200": _response("The answer.", "application/json", one.answer),
            **{str(status): _problem(status) for status in statuses},
        },
    }


def _get(name: str, summary: str, statuses: tuple[int, ...]) -> dict[str, Any]:
    responses = {str(status): _response(summary, "application/json", Health) for status in statuses}
    return {"operationId": name, "summary": summary, "responses": responses}


def _problem(status: int) -> dict[str, Any]:
    response = _response(HTTPStatus(status).phrase, "application/problem+json", ProblemBody)
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return response


def _response(description: str, media: str, kind: type) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": _ref(kind)}}}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}


_METRICS = {
    "operationId": "metrics",
    "summary": "Counters and times for Prometheus.",
    "responses": {
        "200": {"description": "The counters.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **{str(status): _problem(status) for status in _ALWAYS},
    },
}
