"""HTTP requests and responses as plain values: one class each, used by every route."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from segue.serving.schemas.problems import Problem

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
MAX_QUERY_PARAMETERS = 16
SHARED_BYTES = 16_384
"""Size from which a body is sent as it is, without a copy of it behind the head."""
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


@dataclass
class Request:
    """HTTP request whose head has been read; the body may still be on its way."""

    method: str
    target: str
    """Request target in origin form, still percent-encoded, with the query: ``/v1/items?limit=5``."""
    headers: Mapping[bytes, bytes]
    """Header values by lower-case name; repeated headers are joined by ", " (RFC 9110, section 5.3)."""
    body: bytes = b""
    client: str = ""
    """IP address of the other end of the connection; "" in a request that another process has forwarded."""
    roles: frozenset[str] = frozenset()
    """Roles of the caller, after the key is checked."""

    @property
    def path(self) -> str:
        """Path without the query, still percent-encoded: an encoded slash is no part of the routing."""
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> dict[str, str]:
        """Decoded query parameters by name; of a repeated parameter the last value.

        Raises:
            Problem: 400, there are more than MAX_QUERY_PARAMETERS, or one is not UTF-8.
        """
        query = self.target.partition("?")[2]
        try:
            return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS, errors="strict"))
        except UnicodeDecodeError:
            raise Problem(400, "The query is not UTF-8 once its percent signs are decoded.") from None
        except ValueError:
            detail = f"A request has at most {MAX_QUERY_PARAMETERS} query parameters."
            raise Problem(400, detail) from None

    def header(self, name: bytes) -> str:
        """Return a header's value as text, "" where it is absent; ``name`` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Response:
    """HTTP response."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> "Response":
        """Return a response with a value as JSON."""
        return cls(msgspec.json.encode(value), status)

    @classmethod
    def problem(cls, problem: Problem) -> "Response":
        """Return a refusal as ``application/problem+json`` (RFC 9457)."""
        return cls(msgspec.json.encode(problem.body()), problem.status, PROBLEM_JSON, problem.headers)

    def with_headers(self, headers: Mapping[str, str]) -> "Response":
        """Return the response with more headers."""
        return Response(self.body, self.status, self.media_type, {**self.headers, **headers})

    def encode(self, *, keep_alive: bool, with_body: bool = True, date: str = "") -> list[bytes]:
        """Return the response as HTTP/1.1 bytes: in one piece, a body from ``SHARED_BYTES`` on as a second one.

        Args:
            keep_alive: whether the connection stays open; else a ``connection: close`` header says so.
            with_body: False for the response to a HEAD request: the length is stated, the body left out.
            date: value of the ``date`` header; "": no such header.
        """
        head = [_STATUS_LINES[self.status]]
        if self.status != HTTPStatus.NO_CONTENT:  # RFC 9110, section 8.6
            head.append(f"content-length: {len(self.body)}\r\ncontent-type: {self.media_type}\r\n")
        head += [f"{name.lower()}: {value}\r\n" for name, value in self.headers.items()]
        if date:
            head.append(f"date: {date}\r\n")
        head.append("\r\n" if keep_alive else "connection: close\r\n\r\n")
        encoded = "".join(head).encode("latin-1")
        if not with_body:
            return [encoded]
        # Clients that do not read must not have a copy of a page each.
        return [encoded, self.body] if len(self.body) >= SHARED_BYTES else [encoded + self.body]
