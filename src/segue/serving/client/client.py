"""Typed client of the server over http.client of the standard library."""

import http.client
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from segue.serving.schemas.admin import (
    ErasureReceipt,
    ItemsResponse,
    ModelsResponse,
    ReportResponse,
    UserEventsResponse,
)
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import (
    EventBatch,
    EventIn,
    EventsResponse,
    Health,
    NextRequest,
    ProblemBody,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
)

T = TypeVar("T")
NOT_AN_ADDRESS = "'{url}' is not the address of a server: write it like http://127.0.0.1:8000."


class Client:
    """Client with one kept-alive connection; for one thread at a time.

    Every method raises the server's Problem for a refused request, and OSError or http.client.HTTPException without a
    response.
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 10.0) -> None:
        """Prepare a client; the first request connects.

        Args:
            url: address of the server, such as http://127.0.0.1:8000.
            key: API key; None for a server without keys.
            timeout_s: largest time to wait for a response, in seconds.

        Raises:
            ValueError: ``url`` is not such an address.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(NOT_AN_ADDRESS.format(url=url))
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        self._headers = request_headers(key)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def events(self, events: Sequence[EventIn]) -> EventsResponse:
        """Store events, all or none; they are on disk on return."""
        return self._request("POST", "/v1/events", EventsResponse, EventBatch(list(events)))

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return recommendations."""
        return self._request("POST", "/v1/recommend", RecommendResponse, request)

    def next(self, request: NextRequest) -> RecommendResponse:
        """Return a generated sequence of next items."""
        return self._request("POST", "/v1/next", RecommendResponse, request)

    def user(self, user_id: str) -> UserEventsResponse:
        """Return every stored event of a user."""
        return self._request("GET", f"/v1/users/{quote(user_id, safe='')}", UserEventsResponse)

    def erase(self, user_id: str) -> ErasureReceipt:
        """Erase a user."""
        return self._request("DELETE", f"/v1/users/{quote(user_id, safe='')}", ErasureReceipt)

    def items(self, after: str | None = None, limit: int = 100) -> ItemsResponse:
        """Return a page of the catalog.

        Args:
            after: the page begins after this item id; None: the first page.
            limit: items on a page.
        """
        begin = {} if after is None else {"after": after}
        return self._request("GET", f"/v1/items?{urlencode({**begin, 'limit': limit})}", ItemsResponse)

    def models(self) -> ModelsResponse:
        """Return the deployed versions by role."""
        return self._request("GET", "/v1/admin/models", ModelsResponse)

    def report(self, days: float = 7.0) -> ReportResponse:
        """Return clicks and purchases of the lists of the last days."""
        return self._request("GET", f"/v1/admin/report?days={days:g}", ReportResponse)

    def similar(self, request: SimilarRequest) -> RecommendResponse:
        """Return similar items."""
        return self._request("POST", "/v1/similar", RecommendResponse, request)

    def ready(self) -> Health:
        """Return the readiness of the server; a server that is not ready responds too."""
        return self._request("GET", "/health/ready", Health)

    def _request(self, method: str, path: str, response_type: type[T], request: Any = None) -> T:
        body = encode_request(request)
        try:
            self._connection.request(method, path, body, self._headers)
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:
            # A half-read response must not be taken for the response to the next request.
            self._connection.close()
            raise
        return decode_response(response_type, response.headers, content)


def request_headers(key: str | None) -> dict[str, str]:
    """Return the headers of every request."""
    return {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})


def encode_request(request: Any) -> bytes:
    """Return the body of a request; empty without one."""
    return b"" if request is None else msgspec.json.encode(request)


def decode_response(response_type: type[T], headers: http.client.HTTPMessage, body: bytes) -> T:
    """Decode a response.

    Args:
        response_type: type of a successful response.
        headers: headers of the response.
        body: its body.

    Raises:
        Problem: the server refused the request.
    """
    if headers.get_content_type() == "application/problem+json":
        problem = msgspec.json.decode(body, type=ProblemBody)
        retry = {"Retry-After": after} if (after := headers.get("Retry-After")) else {}
        raise Problem(problem.status, problem.detail, retry)
    return msgspec.json.decode(body, type=response_type)
