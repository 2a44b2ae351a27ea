"""Typed asyncio client of the server, with the methods of ``Client``."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

from msgspec.structs import replace

from segue.serving.client.address import ServerAddress
from segue.serving.client.client import request_bytes, with_id
from segue.serving.client.response import MAX_RESPONSE_BYTES, ResponseParser, decode_response, retry_after_s
from segue.serving.schemas.admin import (
    ItemOut,
    PlacementOut,
    PlacementSettings,
    PlacementsResponse,
    RollbackPlacementRequest,
)
from segue.serving.schemas.problems import Problem
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
    """Client with a pool of kept-alive connections: one per concurrent request; for one event loop.

    Every method raises the server's Problem for a refused request, and OSError (or TimeoutError) without a response.
    Connections, redirects and the key are treated as by ``Client``.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout_s: float = 10.0,
        connections: int = 16,
        *,
        retries: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        """Prepare a client; requests connect.

        Args:
            url: address of the server, such as http://127.0.0.1:8000 or https://shop.example/recommender.
            key: API key; None for a server without keys.
            timeout_s: largest time for a request with its response, connection and repetitions, in seconds.
            connections: largest number of connections; further requests wait for one.
            retries: number of times that a request is sent again after the server's Retry-After, where the time
                suffices.
            ssl_context: context of https; None: certificates are verified with the authorities of the system.
            max_response_bytes: limit of a response.

        Raises:
            ValueError: ``url`` is not such an address, or the key has characters that no key has.
        """
        self._address = ServerAddress.parse(url)
        self._headers = self._address.headers(key)
        self._ssl_context = self._address.ssl_context(ssl_context)
        self._timeout_s = timeout_s
        self._retries = retries
        self._max_response_bytes = max_response_bytes
        self._free_connections = asyncio.Semaphore(connections)
        self._idle: list[Stream] = []

    def __repr__(self) -> str:
        return f"AsyncClient({str(self._address)!r})"

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
            "POST", "/v1/events", EventsResponse, EventBatch([with_id(event) for event in events])
        )

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return recommendations."""
        if request.event is not None:
            request = replace(request, event=with_id(request.event))
        return await self._request("POST", "/v1/recommend", RecommendResponse, request)

    async def next(self, request: NextRequest) -> RecommendResponse:
        """Return a generated sequence of next items."""
        return await self._request("POST", "/v1/next", RecommendResponse, request)

    async def similar(self, request: SimilarRequest) -> RecommendResponse:
        """Return similar items."""
        return await self._request("POST", "/v1/similar", RecommendResponse, request)

    async def item(self, item_id: str) -> ItemOut:
        """Return an item; with a key for admin also its row and its state in each version."""
        return await self._request("GET", f"/v1/items/{quote(item_id, safe='')}", ItemOut)

    async def put_item(self, item_id: str, cells: Mapping[str, Any]) -> ItemOut:
        """Replace the row of an item, or add one; every process applies it on return.

        Args:
            item_id: the item.
            cells: column -> value, such as title, price and stock.
        """
        return await self._request("PUT", f"/v1/items/{quote(item_id, safe='')}", ItemOut, dict(cells))

    async def patch_item(self, item_id: str, cells: Mapping[str, Any]) -> ItemOut:
        """Merge cells into the row of an item; every process applies it on return.

        Args:
            item_id: the item.
            cells: column -> new value; None removes a value.
        """
        return await self._request("PATCH", f"/v1/items/{quote(item_id, safe='')}", ItemOut, dict(cells))

    async def delete_item(self, item_id: str) -> ItemOut:
        """Remove an item from every list, until it is put again."""
        return await self._request("DELETE", f"/v1/items/{quote(item_id, safe='')}", ItemOut)

    async def placements(self) -> PlacementsResponse:
        """Return the placements of the live version with their rules."""
        return await self._request("GET", "/v1/placements", PlacementsResponse)

    async def placement(self, name: str) -> PlacementOut:
        """Return the rules of a placement."""
        return await self._request("GET", f"/v1/placements/{quote(name, safe='')}", PlacementOut)

    async def put_placement(self, name: str, settings: PlacementSettings) -> PlacementOut:
        """Replace the rules of a placement in every version, or add a placement.

        Args:
            name: the placement.
            settings: rules, diversification and exploration.
        """
        return await self._request("PUT", f"/v1/placements/{quote(name, safe='')}", PlacementOut, settings)

    async def delete_placement(self, name: str) -> PlacementOut:
        """Return to the models' own rules of a placement."""
        return await self._request("DELETE", f"/v1/placements/{quote(name, safe='')}", PlacementOut)

    async def roll_back_placement(self, name: str) -> PlacementOut:
        """Restore the rules of a placement before its last change."""
        request = RollbackPlacementRequest(name)
        return await self._request("POST", "/v1/admin/placements/rollback", PlacementOut, request)

    async def ready(self) -> Health:
        """Return the readiness of the server; a server that is not ready responds too."""
        return await self._request("GET", "/health/ready", Health)

    async def _request(self, method: str, path: str, response_type: type[T], request: Any = None) -> T:
        sent = request_bytes(self._address, self._headers, method, path, request)
        loop = asyncio.get_running_loop()
        until_s, retries_left = loop.time() + self._timeout_s, self._retries
        async with self._free_connections, asyncio.timeout_at(until_s):
            while True:
                try:
                    return decode_response(response_type, await self._send(sent))
                except Problem as problem:
                    wait_s = retry_after_s(problem)
                    if not retries_left or wait_s is None or loop.time() + wait_s >= until_s:
                        raise
                retries_left -= 1
                await asyncio.sleep(wait_s)

    async def _send(self, sent: bytes) -> ResponseParser:
        """Send a request and read its response."""
        # The server may have closed a kept connection; without a response on it the next one is tried.
        while self._idle:
            response = ResponseParser(self._max_response_bytes)
            try:
                await self._exchange(self._idle.pop(), sent, response)
                return response
            except ConnectionError:
                if response.has_begun:
                    raise
        response, address = ResponseParser(self._max_response_bytes), self._address
        stream = await asyncio.open_connection(address.host, address.port, ssl=self._ssl_context)
        await self._exchange(stream, sent, response)
        return response

    async def _exchange(self, stream: Stream, sent: bytes, response: ResponseParser) -> None:
        """Send a request and read its response; a connection that fails in between is closed."""
        reader, writer = stream
        try:
            writer.write(sent)
            await writer.drain()
            while not response.is_complete:
                response.feed(await reader.read(65_536))
        except BaseException:
            writer.close()
            raise
        if response.keeps_alive:
            self._idle.append(stream)
        else:
            writer.close()
