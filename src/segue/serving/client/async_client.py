"""Typed asyncio client of the server, with the methods of ``Client``."""

import asyncio
import http.client
import io
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from segue.serving.client.client import NOT_AN_ADDRESS, decode_response, encode_request, request_headers
from segue.serving.schemas.requests import (
    EventBatch,
    EventIn,
    EventsResponse,
    Health,
    NextRequest,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
)

T = TypeVar("T")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AsyncClient:
    """Client with a pool of kept-alive connections: one per concurrent request.

    Every method raises the server's Problem for a refused request, and OSError (or TimeoutError) without a response.
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 10.0, connections: int = 16) -> None:
        """Prepare a client; requests connect.

        Args:
            url: address of the server, such as http://127.0.0.1:8000.
            key: API key; None for a server without keys.
            timeout_s: largest time for a request with its response, in seconds.
            connections: largest number of connections; further requests wait for one.

        Raises:
            ValueError: ``url`` is not such an address.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(NOT_AN_ADDRESS.format(url=url))
        self._address = (parts.hostname, parts.port or 80)
        self._timeout_s = timeout_s
        self._free_connections = asyncio.Semaphore(connections)
        self._idle: list[Stream] = []
        lines = {"Host": parts.netloc, **request_headers(key)}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop()[1].close()

    async def events(self, events: Sequence[EventIn]) -> EventsResponse:
        """Store events, all or none; they are on disk on return."""
        return await self._request(
            "POST", "/v1/events", EventsResponse, EventBatch([_with_id(event) for event in events])
        )

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return recommendations."""
        if request.event is not None:
            request = replace(request, event=_with_id(request.event))
        return await self._request("POST", "/v1/recommend", RecommendResponse, request)

    async def next(self, request: NextRequest) -> RecommendResponse:
        """Return a generated sequence of next items."""
        return await self._request("POST", "/v1/next", RecommendResponse, request)

    async def similar(self, request: SimilarRequest) -> RecommendResponse:
        """Return similar items."""
        return await self._request("POST", "/v1/similar", RecommendResponse, request)

    async def ready(self) -> Health:
        """Return the readiness of the server; a server that is not ready responds too."""
        return await self._request("GET", "/health/ready", Health)

    async def _request(self, method: str, path: str, response_type: type[T], request: Any = None) -> T:
        body = encode_request(request)
        sent = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        async with self._free_connections, asyncio.timeout(self._timeout_s):
            # The server may have closed a kept connection; without a response on it the next one is tried.
            while self._idle:
                try:
                    return decode_response(response_type, *await self._exchange(self._idle.pop(), sent))
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue
            return decode_response(
                response_type, *await self._exchange(await asyncio.open_connection(*self._address), sent)
            )

    async def _exchange(self, stream: Stream, sent: bytes) -> tuple[http.client.HTTPMessage, bytes]:
        """Send a request and read its response; a connection that fails in between is closed."""
        reader, writer = stream
        try:
            writer.write(sent)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            headers = http.client.parse_headers(io.BytesIO(head.partition(b"\r\n")[2]))
            body = await reader.readexactly(int(headers["Content-Length"]))
        except BaseException:
            writer.close()
            raise
        if headers.get("Connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append(stream)
        return headers, body


def _with_id(event: EventIn) -> EventIn:
    """Return the event with an id, so that a resend on another connection is stored once."""
    return event if event.event_id is not None else replace(event, event_id=uuid.uuid4().hex)
