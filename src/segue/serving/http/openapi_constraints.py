"""Constraints between request fields that types cannot state, as JSON Schema for the OpenAPI document."""

from typing import Any

_OWNERS = ("user_id", "session_id")
_HISTORIES = (*_OWNERS, "history")


def _required(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string"}}}


_WITH_OWNER = {"anyOf": [_required(name) for name in _OWNERS]}
_NO_EVENT = {"properties": {"event": {"type": "null"}}}
_ONE_HISTORY = {
    "anyOf": [{"properties": {name: {"type": "null"} for name in _HISTORIES if name != own}} for own in _HISTORIES]
}
EVENT_WITH_OWNER = "EventWithOwner"
"""Name of the schema of an event with a user or a session."""


def add_constraints(schemas: dict[str, Any]) -> None:
    """Complete the schemas in place: an event of a batch names a user, a session or both, the event of a recommendation
    request may take them from the request, and a request names at most one history."""
    with_owner = {"$ref": f"#/components/schemas/{EVENT_WITH_OWNER}"}
    schemas[EVENT_WITH_OWNER] = {
        "title": EVENT_WITH_OWNER,
        "description": "Event of a user, of a session, or of both.",
        "allOf": [{"$ref": "#/components/schemas/EventIn"}, _WITH_OWNER],
        "examples": schemas["EventIn"]["examples"],
    }
    schemas["EventBatch"]["properties"]["events"]["items"] = with_owner
    event = {"required": ["event"], "properties": {"event": with_owner}}
    schemas["RecommendRequest"]["allOf"] = [_ONE_HISTORY, {"anyOf": [_NO_EVENT, *_WITH_OWNER["anyOf"], event]}]
    schemas["NextRequest"]["allOf"] = [_ONE_HISTORY]
