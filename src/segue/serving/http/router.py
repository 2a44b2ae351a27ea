"""Declared HTTP endpoints (method, path, role, handler, schemas), and the lookup of one by method and path."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from segue.serving.http.exchange import Request
from segue.serving.schemas.problems import Problem

PATH_PARAMETER = "{id}"
"""Placeholder at the end of a path; it takes the rest of the path, slashes and line ends included."""
_SHOWN = 100
"""Characters of an unknown path that a refusal repeats."""


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


class Router:
    """Endpoints by path and method: O(1) for fixed paths, one comparison for each path with a parameter."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._fixed: dict[str, dict[str, Endpoint]] = {}
        self._prefixes: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            if endpoint.path.endswith(PATH_PARAMETER):
                methods = self._prefixes.setdefault(endpoint.path.removesuffix(PATH_PARAMETER), {})
            else:
                methods = self._fixed.setdefault(endpoint.path, {})
            methods[endpoint.method] = endpoint
            if endpoint.method == "GET":
                methods["HEAD"] = endpoint

    def find(self, method: str, path: str) -> tuple[Endpoint, str]:
        """Find an endpoint.

        Args:
            method: HTTP method in capitals.
            path: percent-encoded path. It is compared as it is: ``/v1%2Fitems`` is another path than ``/v1/items``, for
                a proxy that guards paths before this server too.

        Returns:
            the endpoint, and the percent-encoded value of its path parameter ("" without one).

        Raises:
            Problem: 404, no such path; 405 with an ``Allow`` header, the path has other methods.
        """
        methods, parameter = self._fixed.get(path), ""
        if methods is None:
            prefix = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
            if prefix is None:
                raise Problem(404, f"There is nothing at {_shown(path)}: /openapi.json lists what there is.")
            methods, parameter = self._prefixes[prefix], path.removeprefix(prefix)
        endpoint = methods.get(method)
        if endpoint is None:
            allowed = ", ".join(sorted(methods))
            raise Problem(405, f"{endpoint_path(methods)} does not take {method}: use {allowed}.", {"Allow": allowed})
        return endpoint, parameter


def endpoint_path(methods: dict[str, Endpoint]) -> str:
    """Return the declared path of endpoints by method: it has no id."""
    return next(iter(methods.values())).path


def _shown(path: str) -> str:
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."


def decode_parameter(parameter: str) -> str:
    """Return a decoded path parameter. Problem 400 where it is not UTF-8: replacing bytes would make one id of two."""
    if "%" not in parameter:
        return parameter
    try:
        return unquote_to_bytes(parameter).decode()
    except UnicodeDecodeError:
        raise Problem(400, "The path is not UTF-8 once its percent signs are decoded.") from None
