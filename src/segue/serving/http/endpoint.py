"""Declared HTTP endpoints: method, path, schema, handler."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PostEndpoint:
    """One thing the server can be asked by POST."""

    path: str
    handler: Callable[[Any, bytes], Awaitable[Any]]
    """(the door, a body) -> the answer; its docstring describes the operation."""
    requests: tuple[type, ...]
    answer: type
    problems: tuple[int, ...]
    """Statuses of its own, beside those that every operation can answer with."""
    role: str = "serve"
    """The key it needs."""


@dataclass(frozen=True)
class ReadEndpoint:
    """One thing that is asked without a body."""

    path: str
    handler: Callable[[Any, Any], Awaitable[Any]]
    """(the door, the request) -> the answer; its docstring describes the operation."""
    answer: type
    role: str
    problems: tuple[int, ...] = ()
    method: str = "GET"
    queries: tuple[tuple[str, dict[str, Any], str], ...] = ()
    """(name, schema, what it means) of what may stand behind the question mark."""

    @property
    def shown(self) -> str:
        """The path for people: in the document, in counters, in logs."""
        return self.path.replace(":anything", "")
