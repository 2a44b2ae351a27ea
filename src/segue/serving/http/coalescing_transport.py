"""How an answer leaves: in one piece."""

from typing import Any


class CoalescingTransport:
    """A transport that sends the head of an answer together with the first piece of its body: one system call, one
    packet, one waking of whoever waits for it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Holds a head back, sends all else at once."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Sends a head that has no body."""
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def close(self) -> None:
        """Sends what is held, then closes."""
        self.flush()
        self._transport.close()
