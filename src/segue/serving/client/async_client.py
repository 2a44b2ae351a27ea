"""The client for programs that wait for many things at once: the same verbs, over asyncio's own streams."""

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
    """Kept-alive connections to one server, as many as there are questions at once, up to ``connections``.

    A refusal raises the server's own Problem; no answer at all raises OSError (TimeoutError is one).
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 10.0, connections: int = 16) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(NOT_AN_ADDRESS.format(url=url))
        self._place = (parts.hostname, parts.port or 80)
        self._timeout_s = timeout_s
        self._room = asyncio.Semaphore(connections)
        self._idle: list[Stream] = []
        lines = {"Host": parts.netloc, **request_headers(key)}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection."""
        while self._idle:
            self._idle.pop()[1].close()

    async def events(self, events: Sequence[EventIn]) -> EventsResponse:
        """Stores events, all or none; they are on disk when this returns."""
        return await self._request("POST", "/v1/events", EventsResponse, EventBatch([_named(one) for one in events]))

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """What comes next."""
        if request.event is not None:
            request = replace(request, event=_named(request.event))
        return await self._request("POST", "/v1/recommend", RecommendResponse, request)

    async def next(self, request: NextRequest) -> RecommendResponse:
        """The next items one after the other."""
        return await self._request("POST", "/v1/next", RecommendResponse, request)

    async def similar(self, request: SimilarRequest) -> RecommendResponse:
        """What goes with an item."""
        return await self._request("POST", "/v1/similar", RecommendResponse, request)

    async def ready(self) -> Health:
        """Whether requests should be sent there; a server that is not ready answers too."""
        return await self._request("GET", "/health/ready", Health)

    async def _request(self, method: str, path: str, kind: type[T], request: Any = None) -> T:
        body = encode_request(request)
        sent = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        async with self._room, asyncio.timeout(self._timeout_s):
            # A kept connection may have been closed by the server: nothing was answered on it, so the next is tried.
            while self._idle:
                try:
                    return decode_response(kind, *await self._exchange(self._idle.pop(), sent))
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue
            return decode_response(kind, *await self._exchange(await asyncio.open_connection(*self._place), sent))

    async def _exchange(self, stream: Stream, sent: bytes) -> tuple[http.client.HTTPMessage, bytes]:
        """One question and its answer; a connection that fails in between is never used again."""
        reader, writer = stream
        try:
            writer.write(sent)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            told = http.client.parse_headers(io.BytesIO(head.partition(b"\r\n")[2]))
            body = await reader.readexactly(int(told["Content-Length"]))
        except BaseException:
            writer.close()
            raise
        if told.get("Connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append(stream)
        return told, body


def _named(event: EventIn) -> EventIn:
    """With an id: what is sent again on another connection is stored once."""
    return event if event.event_id is not None else replace(event, event_id=uuid.uuid4().hex)
