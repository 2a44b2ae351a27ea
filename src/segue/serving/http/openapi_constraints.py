"""What the types of requests cannot say about them, as JSON Schema for the document: whose event, whose history."""

from typing import Any

_PEOPLE = ("user_id", "session_id")
_HISTORIES = (*_PEOPLE, "history")


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string"}}}


_SOMEBODYS = {"anyOf": [_given(name) for name in _PEOPLE]}
_NO_EVENT = {"properties": {"event": {"type": "null"}}}
_ONE_HISTORY = {
    "anyOf": [{"properties": {name: {"type": "null"} for name in _HISTORIES if name != own}} for own in _HISTORIES]
}
SOMEBODYS_EVENT = "SomebodysEvent"
"""The component that is an event with a person or a session."""


def add_constraints(schemas: dict[str, Any]) -> None:
    """Completes the components, in place: an event that comes alone names a person or a session, or both; one that
    comes with a question may take them from it; a question names one history at most."""
    somebodys = {"$ref": f"#/components/schemas/{SOMEBODYS_EVENT}"}
    schemas[SOMEBODYS_EVENT] = {
        "title": SOMEBODYS_EVENT,
        "description": "An event of a person, of a session, or of both.",
        "allOf": [{"$ref": "#/components/schemas/EventIn"}, _SOMEBODYS],
        "examples": schemas["EventIn"]["examples"],
    }
    schemas["EventBatch"]["properties"]["events"]["items"] = somebodys
    event = {"required": ["event"], "properties": {"event": somebodys}}
    schemas["RecommendRequest"]["allOf"] = [_ONE_HISTORY, {"anyOf": [_NO_EVENT, *_SOMEBODYS["anyOf"], event]}]
    schemas["NextRequest"]["allOf"] = [_ONE_HISTORY]
