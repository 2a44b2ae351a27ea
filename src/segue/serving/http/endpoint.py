"""Declared HTTP endpoints: method, path, role, handler, schemas."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from segue.serving.http.exchange import Request

PATH_PARAMETER = "{id}"
"""Placeholder at the end of a path; it takes the rest of the path, slashes and line ends included."""


@dataclass(frozen=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """Path, perhaps with ``{id}`` as its last part: ``/v1/items/{id}``."""
    handler: "Callable[[Any, Request, str], Awaitable[Any]]"
    """``(state, request, id) -> response schema, or Response``; ``id`` is "" without a placeholder.

    The first line of its docstring describes the endpoint in the OpenAPI document.
    """
    response: type | None = None
    """Schema of the response with status 200; None: not described in the OpenAPI document."""
    requests: tuple[type, ...] = ()
    """Schemas that the JSON body may have; none: the endpoint takes no body."""
    role: str | None = "serve"
    """Role that the key needs; None: open without a key, not counted and never refused as busy."""
    forwarded: bool = False
    """Only the primary process can answer it: a worker forwards it there."""
    problems: tuple[int, ...] = ()
    """Statuses of its own, beside those that every endpoint can answer with."""
    queries: tuple[tuple[str, dict[str, Any], str], ...] = ()
    """Query parameters: (name, JSON schema, description)."""
