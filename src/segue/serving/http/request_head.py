"""Head and body of one request, with their limits."""

from typing import Any

import httptools

from segue.serving.http.app import MAX_BODY_BYTES, body_too_large
from segue.serving.http.connections import MAX_BODY_BYTES_HELD, MEMORY_FULL, SMALL_BYTES, Connections
from segue.serving.http.exchange import Request
from segue.serving.schemas.problems import Problem

MAX_HEAD_BYTES = 65_536
"""Bytes of a head, and of a body's chunk heads and trailers."""
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8192
_SINGLE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"transfer-encoding", b"origin"})
"""Headers that a request may have once: of two, this server and a proxy before it could each believe another one."""


class RequestHead:
    """Target and headers of a request, as the parser reports them."""

    def __init__(self) -> None:
        self._target = bytearray()
        self.headers: dict[bytes, bytes] = {}
        """Header values by lower-case name; repeated headers are joined by ", "."""
        self._num_headers = 0
        self._num_bytes = 0
        """Bytes that the parser has reported; it reports a header when it is complete."""

    def add_target(self, part: bytes) -> None:
        """Add a part of the target. Problem 414 for one that is too long."""
        self._num_bytes += len(part)
        self._target += part
        if len(self._target) > MAX_TARGET_BYTES:
            self._target.clear()
            raise Problem(414, f"The request target is longer than {MAX_TARGET_BYTES} bytes.")

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add a header.

        Args:
            name: its name.
            value: its value.

        Raises:
            Problem: 431, the head is too large or has too many headers; 400, the header must not be repeated.
        """
        self._num_headers += 1
        self._num_bytes += len(name) + len(value)
        if self._num_bytes > MAX_HEAD_BYTES:
            raise head_too_large()
        name = name.lower()
        if self._num_headers > MAX_HEADERS:
            raise Problem(431, f"A request has at most {MAX_HEADERS} headers.")
        if name not in self.headers:
            self.headers[name] = value
        elif name in _SINGLE:
            raise Problem(400, f"The header {name.decode('latin-1')} must not come twice.")
        else:
            self.headers[name] += b", " + value

    @property
    def is_chunked(self) -> bool:
        """Return whether the body comes in chunks, without a length."""
        return b"transfer-encoding" in self.headers

    @property
    def num_body_bytes(self) -> int:
        """Return the announced length of the body; 0 for a chunked one."""
        length = b"" if self.is_chunked else self.headers.get(b"content-length", b"")
        return int(length.lstrip(b"0") or 0)  # Python converts at most 4300 digits

    def request(self, method: bytes, client: str) -> Request:
        """Return the request.

        Args:
            method: its method.
            client: IP address of the other end of the connection.

        Raises:
            Problem: 400, the target is neither a path nor a whole URL.
        """
        target = self._target.decode("latin-1")
        if not target.startswith("/") and target != "*":
            host, target = _split_absolute(bytes(self._target))
            self.headers[b"host"] = host  # RFC 9112, section 3.2.2: the header is ignored
        return Request(method.decode("latin-1"), target, self.headers, client=client)

    def check_version(self, version: str) -> None:
        """Raise Problem 505 for another version than 1.0 and 1.1, and 400 for version 1.1 without a Host header."""
        if version not in ("1.0", "1.1"):
            raise Problem(505, f"This server speaks HTTP/1.1, not HTTP/{version}.")
        if version == "1.1" and b"host" not in self.headers:
            raise Problem(400, "A request needs a Host header.")

    def without_upgrade(self, method: bytes, version: str) -> bytes:
        """Return the head as if no other protocol had been offered.

        A server may ignore an offer and answer in HTTP/1.1 (RFC 9110, section 7.8). The parser cannot: it stops behind
        such a head, and a body behind it would be read as the next request.

        Args:
            method: the request's method.
            version: its HTTP version.
        """
        options = [option.strip() for option in self.headers.get(b"connection", b"").lower().split(b",")]
        headers = {name: value for name, value in self.headers.items() if name not in (b"upgrade", b"connection")}
        if b"close" in options:
            headers[b"connection"] = b"close"
        lines = [method + b" " + bytes(self._target) + b" HTTP/" + version.encode()]
        lines += [name + b": " + value for name, value in headers.items()]
        return b"\r\n".join([*lines, b"", b""])


class RequestBody:
    """Body of a request, as far as it has arrived.

    Args:
        connections: account of the bytes that all connections hold.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._content = bytearray()
        self.num_bytes = 0
        """Bytes until now, kept or not."""
        self.num_announced_bytes = 0
        """Length of the body; 0 for a chunked one."""
        self._num_counted_bytes = self._num_overhead_bytes = 0
        """Bytes of the body until the last piece, and of chunk heads, chunk extensions and trailers."""

    def add(self, part: bytes, *, keep: bool) -> None:
        """Add a part.

        Args:
            part: the bytes.
            keep: whether they are needed; else they are only counted.

        Raises:
            Problem: 413, the body is too large; 503, all connections hold too many bytes.
        """
        self.num_bytes += len(part)
        if self.num_bytes > MAX_BODY_BYTES:
            raise body_too_large()
        if keep:
            self._content += part
            self._connections.num_body_bytes += len(part)
            if self._connections.num_body_bytes > MAX_BODY_BYTES_HELD and len(self._content) > SMALL_BYTES:
                raise MEMORY_FULL.with_traceback(None)

    def check_overhead(self, num_bytes: int) -> None:
        """Raise Problem 400 for too many bytes that are no body; ``num_bytes`` were parsed since the last call."""
        self._num_overhead_bytes += max(0, num_bytes - (self.num_bytes - self._num_counted_bytes))
        self._num_counted_bytes = self.num_bytes
        if self._num_overhead_bytes > MAX_HEAD_BYTES:
            raise Problem(400, f"The chunk heads and trailers of the body are larger than {MAX_HEAD_BYTES} bytes.")

    def take(self) -> bytes:
        """Return the content; its bytes stay in the account until the request is answered."""
        content, self._content = bytes(self._content), bytearray()
        return content

    def drop(self) -> None:
        """Forget the content."""
        self._connections.num_body_bytes -= len(self._content)
        self._content = bytearray()


def head_too_large() -> Problem:
    """Return the refusal of a head over ``MAX_HEAD_BYTES``."""
    return Problem(431, f"The headers are larger than {MAX_HEAD_BYTES} bytes.")


def _split_absolute(target: bytes) -> tuple[bytes, str]:
    """Return host and path with query of an absolute target (RFC 9112, section 3.2.2). Problem 400 where it is none."""
    try:
        url: Any = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        url = None
    if url is None or not url.host:
        raise Problem(400, "The request target must be a path that begins with '/', or a whole URL.")
    host = b"[" + url.host + b"]" if b":" in url.host else url.host
    host += b":%d" % url.port if url.port else b""
    path: bytes = (url.path or b"/") + (b"?" + url.query if url.query else b"")
    return host, path.decode("latin-1")
