"""Responses of a server: from the bytes of a connection to the values of the API."""

import re
from typing import Any, TypeVar

import httptools
import msgspec

from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import ProblemBody

T = TypeVar("T")
MAX_RESPONSE_BYTES = 256_000_000
"""Default limit of a response, for the stored events of one user."""
_MAX_HEAD_BYTES = 65_536
_DIGITS = re.compile(r"[0-9]{1,9}")


class ResponseParser:
    """Incremental parser of one response, with a limit of its size.

    Args:
        max_bytes: largest body.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._num_bytes = 0
        self._body = bytearray()
        self.headers: dict[bytes, bytes] = {}
        """Values by lower-case name; of a repeated header the last one."""
        self.is_complete = False
        self.keeps_alive = False
        """Another request may be sent on the connection."""

    @property
    def has_begun(self) -> bool:
        """Return whether a byte of a response has arrived."""
        return self._num_bytes > 0

    @property
    def status(self) -> int:
        """Return the status."""
        return int(self._parser.get_status_code())

    @property
    def body(self) -> bytes:
        """Return the body."""
        return bytes(self._body)

    def feed(self, data: bytes) -> None:
        """Parse bytes; none of them at the end of the connection.

        Raises:
            ConnectionError: the connection ended before the response, the bytes are no response, or it is too large.
        """
        self._num_bytes += len(data)
        if not data:
            self._finish()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_complete:
                raise ConnectionError(f"The server's response is not HTTP/1.1: {type(error).__name__}.") from None
            self.keeps_alive = False
        if self._num_bytes > self._max_bytes + _MAX_HEAD_BYTES or len(self._body) > self._max_bytes:
            raise ConnectionError(f"The server's response is larger than {self._max_bytes} bytes.")

    def _finish(self) -> None:
        is_delimited = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        if not self.headers or is_delimited:
            raise ConnectionError("The server closed the connection before its response was complete.")
        self.is_complete = True

    # httptools calls these

    def on_message_begin(self) -> None:
        """Refuse a second response: the bytes behind a response belong to no request."""
        if self.is_complete:
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        if not self.is_complete:
            self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Note the end of a response; one below 200 is an interim one, and another follows."""
        if self.status < 200:
            self.headers.clear()
            return
        self.is_complete = True
        self.keeps_alive = bool(self._parser.should_keep_alive())


def encode_request(request: Any) -> bytes:
    """Return the body of a request; empty without one."""
    return b"" if request is None else msgspec.json.encode(request)


def decode_response(response_type: type[T], response: ResponseParser) -> T:
    """Decode a complete response.

    Args:
        response_type: type of a successful response.
        response: the response.

    Raises:
        Problem: the server refused the request, redirects it, or something else than a Segue server responded.
    """
    status = response.status
    media_type = response.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if 300 <= status < 400:
        raise Problem(status, "The server redirects: no redirect is followed, because the key would be sent there.")
    try:
        if media_type == b"application/problem+json":
            problem = msgspec.json.decode(response.body, type=ProblemBody)
            after = response.headers.get(b"retry-after", b"").decode("latin-1")
            raise Problem(problem.status, problem.detail, {"Retry-After": after} if after else {})
        if media_type == b"application/json":
            return msgspec.json.decode(response.body, type=response_type)
    except msgspec.DecodeError:
        pass
    raise Problem(status if status >= 400 else 502, "The response is not one of a Segue server: is a proxy in between?")


def retry_after_s(problem: Problem) -> float | None:
    """Return the seconds after which a refused request may be sent again; None for a refusal that will not pass."""
    after = problem.headers.get("Retry-After", "")
    return float(after) if problem.status in (429, 503) and _DIGITS.fullmatch(after) else None
