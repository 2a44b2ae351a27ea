"""A small typed client: what the server can be asked, with nothing but the standard library underneath."""

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
    """One kept-alive connection to a server; not for several threads at once.

    A refusal raises the server's own Problem; no answer at all raises OSError or http.client.HTTPException.
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(NOT_AN_ADDRESS.format(url=url))
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        self._headers = request_headers(key)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def events(self, events: Sequence[EventIn]) -> EventsResponse:
        """Stores events, all or none; they are on disk when this returns."""
        return self._request("POST", "/v1/events", EventsResponse, EventBatch(list(events)))

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """What comes next."""
        return self._request("POST", "/v1/recommend", RecommendResponse, request)

    def next(self, request: NextRequest) -> RecommendResponse:
        """The next items one after the other."""
        return self._request("POST", "/v1/next", RecommendResponse, request)

    def user(self, user_id: str) -> UserEventsResponse:
        """Everything that is kept of a person."""
        return self._request("GET", f"/v1/users/{quote(user_id, safe='')}", UserEventsResponse)

    def erase(self, user_id: str) -> ErasureReceipt:
        """Forgets a person."""
        return self._request("DELETE", f"/v1/users/{quote(user_id, safe='')}", ErasureReceipt)

    def items(self, after: str | None = None, limit: int = 100) -> ItemsResponse:
        """A page of the catalog."""
        behind = {} if after is None else {"after": after}
        return self._request("GET", f"/v1/items?{urlencode({**behind, 'limit': limit})}", ItemsResponse)

    def models(self) -> ModelsResponse:
        """Which version has which role."""
        return self._request("GET", "/v1/admin/models", ModelsResponse)

    def report(self, days: float = 7.0) -> ReportResponse:
        """What came of the lists of the last days."""
        return self._request("GET", f"/v1/admin/report?days={days:g}", ReportResponse)

    def similar(self, request: SimilarRequest) -> RecommendResponse:
        """What goes with an item."""
        return self._request("POST", "/v1/similar", RecommendResponse, request)

    def ready(self) -> Health:
        """Whether requests should be sent there; a server that is not ready answers too."""
        return self._request("GET", "/health/ready", Health)

    def _request(self, method: str, path: str, kind: type[T], request: Any = None) -> T:
        body = encode_request(request)
        try:
            self._connection.request(method, path, body, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except BaseException:
            # Half an exchange must not be taken for the answer to the next question.
            self._connection.close()
            raise
        return decode_response(kind, response.headers, answer)


def request_headers(key: str | None) -> dict[str, str]:
    """What every question carries."""
    return {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})


def encode_request(request: Any) -> bytes:
    """A question's body; nothing where there is none."""
    return b"" if request is None else msgspec.json.encode(request)


def decode_response(kind: type[T], told: http.client.HTTPMessage, body: bytes) -> T:
    """The answer, or the server's refusal raised as it was meant."""
    if told.get_content_type() == "application/problem+json":
        problem = msgspec.json.decode(body, type=ProblemBody)
        retry = {"Retry-After": after} if (after := told.get("Retry-After")) else {}
        raise Problem(problem.status, problem.detail, retry)
    return msgspec.json.decode(body, type=kind)
