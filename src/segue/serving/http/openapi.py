"""OpenAPI 3.1 document, made from the same types that decode the requests."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from importlib import metadata
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from segue.serving.http.router import PATH_PARAMETER, Endpoint
from segue.serving.schemas.admin import MAX_CELLS, Cell
from segue.serving.schemas.examples import EXAMPLES
from segue.serving.schemas.requests import EventIn, Health, Id, ProblemBody

MAX_NAMED_PARTS = 4
"""Number of slashes of a path from which its last part alone does not name the operation."""
_ALWAYS = (401, 403, 429, 500, 503)
_BODY = (400, 408, 413, 415, 422)
_REF = "#/components/schemas/{name}"
_OWNERS = ("user_id", "session_id")
_HISTORIES = (*_OWNERS, "history")


def _required(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string"}}}


_WITH_OWNER = {"anyOf": [_required(name) for name in _OWNERS]}
_NO_EVENT = {"properties": {"event": {"type": "null"}}}
_ONE_HISTORY = {
    "anyOf": [{"properties": {name: {"type": "null"} for name in _HISTORIES if name != own}} for own in _HISTORIES]
}
_EVENT_WITH_OWNER = "EventWithOwner"
"""Name of the schema of an event with a user or a session."""


def openapi_document(endpoints: Iterable[Endpoint], *, keys: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document as plain values.

    Args:
        endpoints: endpoints to describe, each with a response schema.
        keys: whether the server requires a key.
    """
    endpoints = list(endpoints)
    schemas = _schemas(endpoints)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    paths["/metrics"] = {"get": _METRICS}
    for methods in paths.values():
        for operation in methods.values():
            operation["security"] = [{"key": []}] if keys else [{}, {"key": []}]
    paths["/health/live"] = {"get": _get("live", "Return whether the process answers at all.", (200,))}
    paths["/health/ready"] = {"get": _get("ready", "Return whether requests should be sent here.", (200, 503))}
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


def _schemas(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the JSON schema of every request and response type, each with an example."""
    types = {kind for endpoint in endpoints for kind in (*endpoint.requests, endpoint.response) if kind is not None}
    ordered = sorted(types | {Health, ProblemBody}, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    for name in schemas:
        schemas[name]["examples"] = [EXAMPLES[name]]
    _add_constraints(schemas)
    return schemas


def _add_constraints(schemas: dict[str, Any]) -> None:
    """Complete the schemas in place: an event of a batch names a user, a session or both, the event of a recommendation
    request may take them from the request, a request names at most one history, and cells have any column's name."""
    with_owner = {"$ref": f"#/components/schemas/{_EVENT_WITH_OWNER}"}
    schemas[_EVENT_WITH_OWNER] = {
        "title": _EVENT_WITH_OWNER,
        "description": "Event of a user, of a session, or of both.",
        "allOf": [{"$ref": "#/components/schemas/EventIn"}, _WITH_OWNER],
        "examples": schemas["EventIn"]["examples"],
    }
    schemas["EventBatch"]["properties"]["events"]["items"] = with_owner
    event = {"required": ["event"], "properties": {"event": with_owner}}
    schemas["RecommendRequest"]["allOf"] = [_ONE_HISTORY, {"anyOf": [_NO_EVENT, *_WITH_OWNER["anyOf"], event]}]
    schemas["NextRequest"]["allOf"] = [_ONE_HISTORY]
    cells = msgspec.json.schema(Annotated[dict[Id, Cell], Meta(max_length=MAX_CELLS)])
    schemas["ItemCells"] |= {name: part for name, part in cells.items() if name != "type"}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": (endpoint.handler.__doc__ or "").split("\n")[0],
    }
    statuses = {*_ALWAYS, *endpoint.problems}
    if endpoint.requests:
        operation["requestBody"] = _request_body(endpoint)
        statuses |= set(_BODY)
    if parameters := _parameters(endpoint):
        operation["parameters"] = parameters
        statuses |= {400, 422}
    assert endpoint.response is not None
    operation["responses"] = {
        "200": _response("The response.", "application/json", endpoint.response),
        **{str(status): _problem(status) for status in sorted(statuses)},
    }
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    if endpoint.method == "POST" and endpoint.path.count("/") < MAX_NAMED_PARTS:
        return endpoint.path.rpartition("/")[2]
    return "_".join([endpoint.method.lower(), *re.findall(r"[a-z]+", endpoint.path.removeprefix("/v1/"))])


def _request_body(endpoint: Endpoint) -> dict[str, Any]:
    schemas = [
        {"$ref": _REF.format(name=_EVENT_WITH_OWNER)} if kind is EventIn else _ref(kind) for kind in endpoint.requests
    ]
    body = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    media = ["application/json", *(["application/merge-patch+json"] if endpoint.method == "PATCH" else [])]
    return {"required": True, "content": {kind: {"schema": body} for kind in media}}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Return the path parameter, where the path has one, and the query parameters."""
    in_path = [{"name": "id", "in": "path", "required": True, "schema": msgspec.json.schema(Id)}]
    in_query = [
        {"name": name, "in": "query", "schema": schema, "description": description}
        for name, schema, description in endpoint.queries
    ]
    return [*(in_path if endpoint.path.endswith(PATH_PARAMETER) else ()), *in_query]


def _get(name: str, summary: str, statuses: tuple[int, ...]) -> dict[str, Any]:
    responses = {str(status): _response(summary, "application/json", Health) for status in statuses}
    return {"operationId": name, "summary": summary, "responses": responses}


def _problem(status: int) -> dict[str, Any]:
    response = _response(HTTPStatus(status).phrase, "application/problem+json", ProblemBody)
    if status in (429, 503, 507):
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
