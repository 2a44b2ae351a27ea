"""A small typed client: what the server can be asked, with nothing but the standard library underneath."""

import http.client
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from segue.serving.problems import Problem
from segue.serving.schema import (
    EventBatch,
    EventIn,
    EventsAnswer,
    Health,
    ProblemBody,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
)

T = TypeVar("T")


class Client:
    """One kept-alive connection to a server; not for several threads at once.

    A refusal raises the server's own Problem; no answer at all raises OSError or http.client.HTTPException.
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"'{url}' is not the address of a server: write it like http://127.0.0.1:8000.")
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def events(self, events: Sequence[EventIn]) -> EventsAnswer:
        """Stores events, all or none; they are on disk when this returns."""
        return self._ask("POST", "/v1/events", EventsAnswer, EventBatch(list(events)))

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """What comes next."""
        return self._ask("POST", "/v1/recommend", RecommendAnswer, request)

    def similar(self, request: SimilarRequest) -> RecommendAnswer:
        """What goes with an item."""
        return self._ask("POST", "/v1/similar", RecommendAnswer, request)

    def ready(self) -> Health:
        """Whether requests should be sent there; a server that is not ready answers too."""
        return self._ask("GET", "/health/ready", Health)

    def _ask(self, method: str, path: str, kind: type[T], request: Any = None) -> T:
        body = None if request is None else msgspec.json.encode(request)
        try:
            self._connection.request(method, path, body, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except BaseException:
            # Half an exchange must not be taken for the answer to the next question.
            self._connection.close()
            raise
        if response.headers.get_content_type() == "application/problem+json":
            problem = msgspec.json.decode(answer, type=ProblemBody)
            retry = {"Retry-After": after} if (after := response.headers.get("Retry-After")) else {}
            raise Problem(problem.status, problem.detail, retry)
        return msgspec.json.decode(answer, type=kind)
