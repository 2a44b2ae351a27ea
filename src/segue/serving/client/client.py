"""Typed client of the server over a socket."""

import os
import socket
import ssl
import time
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from msgspec.structs import replace

from segue.serving.client.address import ServerAddress
from segue.serving.client.response import (
    MAX_RESPONSE_BYTES,
    ResponseParser,
    decode_response,
    encode_request,
    retry_after_s,
)
from segue.serving.schemas.admin import (
    ErasureReceipt,
    ItemOut,
    ItemsResponse,
    ModelsResponse,
    PlacementOut,
    PlacementSettings,
    PlacementsResponse,
    ReportResponse,
    RollbackPlacementRequest,
    UserEventsResponse,
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


class Client:
    """Client with one kept-alive connection; for one thread at a time. A forked process opens a connection of its own.

    Every method raises the server's Problem for a refused request, and OSError without a response. Every request may be
    sent twice without harm, because events get an id. A request on a connection that the server has closed meanwhile
    is sent once more on a new one. No redirect is followed, and the key goes to this address only.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout_s: float = 10.0,
        *,
        retries: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        """Prepare a client; the first request connects.

        Args:
            url: address of the server, such as http://127.0.0.1:8000 or https://shop.example/recommender.
            key: API key; None for a server without keys.
            timeout_s: largest time for a request with its response, connection and repetitions, in seconds.
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
        self._socket: socket.socket | None = None
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"Client({str(self._address)!r})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def events(self, events: Sequence[EventIn]) -> EventsResponse:
        """Store events, all or none; they are on disk on return."""
        return self._request("POST", "/v1/events", EventsResponse, EventBatch([with_id(event) for event in events]))

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return recommendations."""
        if request.event is not None:
            request = replace(request, event=with_id(request.event))
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

    def item(self, item_id: str) -> ItemOut:
        """Return an item; with a key for admin also its row and its state in each version."""
        return self._request("GET", f"/v1/items/{quote(item_id, safe='')}", ItemOut)

    def put_item(self, item_id: str, cells: Mapping[str, Any]) -> ItemOut:
        """Replace the row of an item, or add one; every process applies it on return.

        Args:
            item_id: the item.
            cells: column -> value, such as title, price and stock.
        """
        return self._request("PUT", f"/v1/items/{quote(item_id, safe='')}", ItemOut, dict(cells))

    def patch_item(self, item_id: str, cells: Mapping[str, Any]) -> ItemOut:
        """Merge cells into the row of an item; every process applies it on return.

        Args:
            item_id: the item.
            cells: column -> new value; None removes a value.
        """
        return self._request("PATCH", f"/v1/items/{quote(item_id, safe='')}", ItemOut, dict(cells))

    def delete_item(self, item_id: str) -> ItemOut:
        """Remove an item from every list, until it is put again."""
        return self._request("DELETE", f"/v1/items/{quote(item_id, safe='')}", ItemOut)

    def placements(self) -> PlacementsResponse:
        """Return the placements of the live version with their rules."""
        return self._request("GET", "/v1/placements", PlacementsResponse)

    def placement(self, name: str) -> PlacementOut:
        """Return the rules of a placement."""
        return self._request("GET", f"/v1/placements/{quote(name, safe='')}", PlacementOut)

    def put_placement(self, name: str, settings: PlacementSettings) -> PlacementOut:
        """Replace the rules of a placement in every version, or add a placement.

        Args:
            name: the placement.
            settings: rules, diversification and exploration.
        """
        return self._request("PUT", f"/v1/placements/{quote(name, safe='')}", PlacementOut, settings)

    def delete_placement(self, name: str) -> PlacementOut:
        """Return to the models' own rules of a placement."""
        return self._request("DELETE", f"/v1/placements/{quote(name, safe='')}", PlacementOut)

    def roll_back_placement(self, name: str) -> PlacementOut:
        """Restore the rules of a placement before its last change."""
        request = RollbackPlacementRequest(name)
        return self._request("POST", "/v1/admin/placements/rollback", PlacementOut, request)

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
        sent = request_bytes(self._address, self._headers, method, path, request)
        until_s = time.monotonic() + self._timeout_s
        for retries_left in range(self._retries, -1, -1):
            try:
                return decode_response(response_type, self._exchange(sent, until_s))
            except Problem as problem:
                wait_s = retry_after_s(problem)
                if not retries_left or wait_s is None or time.monotonic() + wait_s >= until_s:
                    raise
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _exchange(self, sent: bytes, until_s: float) -> ResponseParser:
        """Send a request and read its response, on the kept connection or a new one."""
        if os.getpid() != self._process:  # the connection is the parent process's
            self._socket, self._process = None, os.getpid()
        for kept in [self._socket, None] if self._socket is not None else [None]:
            response = ResponseParser(self._max_response_bytes)
            try:
                connection = self._socket = kept or self._connect(until_s)
                self._send(connection, sent, response, until_s)
            except BaseException as error:
                # A half-read response must not be taken for the response to the next request.
                self.close()
                if kept is None or response.has_begun or not isinstance(error, ConnectionError):
                    raise
                continue
            if not response.keeps_alive:
                self.close()
            return response
        raise AssertionError("a new connection is tried last")

    def _connect(self, until_s: float) -> socket.socket:
        address = self._address
        connection = socket.create_connection((address.host, address.port), timeout=self._left_s(until_s))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is None:
            return connection
        try:
            connection.settimeout(self._left_s(until_s))
            return self._ssl_context.wrap_socket(connection, server_hostname=address.host)
        except BaseException:
            connection.close()
            raise

    def _send(self, connection: socket.socket, sent: bytes, response: ResponseParser, until_s: float) -> None:
        connection.settimeout(self._left_s(until_s))
        connection.sendall(sent)
        while not response.is_complete:
            connection.settimeout(self._left_s(until_s))
            response.feed(connection.recv(65_536))

    def _left_s(self, until_s: float) -> float:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"The server did not respond within {self._timeout_s:g} seconds.")
        return left_s


def request_bytes(address: ServerAddress, headers: str, method: str, path: str, request: Any) -> bytes:
    """Return a request as bytes.

    Args:
        address: address of the server.
        headers: header lines of every request.
        method: HTTP method.
        path: path and query, percent-encoded.
        request: value of the JSON body; None: no body.
    """
    body = encode_request(request)
    head = f"{method} {address.prefix}{path} HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


def with_id(event: EventIn) -> EventIn:
    """Return the event with an id, so that a resend on another connection is stored once."""
    return event if event.event_id is not None else replace(event, event_id=uuid.uuid4().hex)
