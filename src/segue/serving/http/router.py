"""Lookup of the endpoint that a method and a path name."""

from collections.abc import Iterable

from segue.serving.http.endpoint import PATH_PARAMETER, Endpoint
from segue.serving.schemas.problems import Problem


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
            path: decoded path.

        Returns:
            the endpoint, and the value of its path parameter ("" without one).

        Raises:
            Problem: 404, no such path; 405 with an ``Allow`` header, the path has other methods.
        """
        methods, parameter = self._fixed.get(path), ""
        if methods is None:
            prefix = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
            if prefix is None:
                raise Problem(404, f"There is nothing at {path}: /openapi.json lists what there is.")
            methods, parameter = self._prefixes[prefix], path.removeprefix(prefix)
        endpoint = methods.get(method)
        if endpoint is None:
            allowed = ", ".join(sorted(methods))
            raise Problem(405, f"{path} does not take {method}: use {allowed}.", {"Allow": allowed})
        return endpoint, parameter
