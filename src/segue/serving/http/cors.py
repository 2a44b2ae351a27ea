"""Cross-origin requests of browsers (the CORS protocol of the Fetch standard): which sites may read responses."""

from collections.abc import Collection

from segue.serving.http.exchange import Request, Response
from segue.serving.schemas.problems import Problem

_METHODS = "GET, POST"
_HEADERS = "Authorization, Content-Type"
_MAX_AGE_S = 600
"""Time for which a browser keeps the answer to a preflight request."""


class CorsPolicy:
    """Response headers for a fixed list of origins; without origins nothing is added and nothing answered."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, request: Request) -> dict[str, str]:
        """Return the headers that every response to a request needs, refusals included."""
        if not self._origins:
            return {}
        origin = request.header(b"origin")
        allowed = {"Access-Control-Allow-Origin": origin} if origin in self._origins else {}
        return {**allowed, "Vary": "Origin"}

    def preflight(self, request: Request) -> Response | None:
        """Return the response to a preflight request; None for any other request.

        Raises:
            Problem: 403, the site is not among the origins.
        """
        wanted = request.header(b"access-control-request-method")
        if not self._origins or request.method != "OPTIONS" or not wanted:
            return None
        origin = request.header(b"origin")
        if origin not in self._origins:
            raise Problem(403, f"Pages of '{origin}' may not send requests here: start the server with --origin.")
        headers = {
            **self.headers(request),
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Max-Age": str(_MAX_AGE_S),
        }
        return Response(b"", 204, headers=headers)
