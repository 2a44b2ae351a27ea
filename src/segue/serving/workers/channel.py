"""Message channel between the primary process and a worker."""

import contextlib
import socket
import struct
import threading
from concurrent.futures import Future
from typing import Any

import msgspec
from msgspec import Struct

from segue.serving.workers.messages import MAX_STALL_S, WorkerMessage, T

_HEAD = struct.Struct(">I")
_BUFFER = 1 << 22


class MessageChannel:
    """One end of a socket pair. Anybody may send; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Any = msgspec.msgpack.Decoder(WorkerMessage).decode
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", MAX_STALL_S, 0))

    def send(self, frame: Struct) -> None:
        """OSError where nobody reads any more."""
        text = self._encode(frame)
        with self._sending:
            self._socket.sendall(_HEAD.pack(len(text)) + text)

    def receive(self) -> WorkerMessage | None:
        """The next frame; None where the other end is gone."""
        try:
            head = self._read(_HEAD.size)
            text = None if head is None else self._read(_HEAD.unpack(head)[0])
        except OSError:
            return None
        frame: WorkerMessage | None = None if text is None else self._decode(text)
        return frame

    def close(self) -> None:
        """Wakes whoever receives, here and at the other end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self, size: int) -> bytes | None:
        got = bytearray()
        while len(got) < size:
            part = self._socket.recv(size - len(got))
            if not part:
                return None
            got += part
        return bytes(got)


class PendingReplies:
    """Questions on a line whose answers are awaited, by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._open: dict[int, Any] = {}

    def open(self, waiting: T) -> tuple[int, T]:
        """(its number, what waits for it)."""
        with self._lock:
            self._next += 1
            self._open[self._next] = waiting
            return self._next, waiting

    def pop(self, number: int) -> Any:
        """What waited for it; None where nobody does any more."""
        with self._lock:
            return self._open.pop(number, None)

    def resolve(self, number: int, said: Any) -> None:
        """Tells whoever waits for it, a future, if anybody still does."""
        future: Future[Any] | None = self.pop(number)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(said)

    def pop_all(self) -> list[Any]:
        """Everything that waits."""
        with self._lock:
            waiting, self._open = list(self._open.values()), {}
            return waiting
