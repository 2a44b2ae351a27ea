"""Requests of browsers for other sites: the CORS protocol of the Fetch standard, and refusals without keys.

A page of another site can send requests to a loopback address through the browser of a user of this machine. The
browser lets it read no response, unless the page's own name leads to that address (DNS rebinding). A server with keys
is safe from both: the page has none.
"""

import re
from collections.abc import Collection
from functools import lru_cache

from segue.serving.http.auth import is_loopback
from segue.serving.http.exchange import Request, Response
from segue.serving.schemas.problems import Problem

_METHODS = "GET, POST"
_HEADERS = "Authorization, Content-Type"
_PORT = re.compile(r":\d*$")
_LABEL = re.compile(r"[A-Za-z0-9_-]{0,63}")
_SHOWN = 100
"""Characters of a header that a refusal repeats."""
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

    def check_local(self, request: Request) -> None:
        """Check that a request may reach a server without keys, which only this machine should.

        Raises:
            Problem: 403, the Host header has a name of another site; the Origin header names neither a page of this
                machine nor one of the origins; a browser states that a page of another site sent the request.
        """
        host = request.header(b"host")
        if not is_local(host):
            detail = f"Without a key this server answers for loopback names only, not for '{host[:_SHOWN]}': "
            raise Problem(403, f"{detail}set SEGUE_API_KEY.")
        if (header := request.headers.get(b"origin")) is not None:
            origin = header.decode("latin-1")
            if origin not in self._origins and not is_local(origin.partition("://")[2] or "."):
                detail = f"Without a key this server answers pages of this machine only, not of '{origin[:_SHOWN]}': "
                raise Problem(403, f"{detail}set SEGUE_API_KEY, or start the server with --origin.")
        elif not self._origins and request.headers.get(b"sec-fetch-site") == b"cross-site":
            raise Problem(403, "Without a key this server answers no requests from pages of other sites.")


@lru_cache(maxsize=64)
def is_local(host: str) -> bool:
    """Return whether a host, perhaps with a port, is a loopback address, "localhost", or a name without a dot.

    A name without a dot is no name of another site. No host at all (HTTP/1.0) is none either.
    """
    name = _PORT.sub("", host)
    return _LABEL.fullmatch(name) is not None or is_loopback(name[1:-1] if name.startswith("[") else name)
