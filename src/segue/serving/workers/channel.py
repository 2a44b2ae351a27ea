"""Message channel between the primary process and a worker: msgpack messages over a socket pair.

``multiprocessing.connection.Connection`` frames the messages. Only ``send_bytes`` and ``recv_bytes`` are used, which
never unpickle. A message has no maximum size: both ends are processes of one server, and the size of a request body is
limited where it is received.
"""

import contextlib
import os
import socket
import struct
import threading
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

import msgspec
from msgspec import Struct

from segue.serving.workers.messages import MAX_STALL_S, T, WorkerMessage

_BUFFER_BYTES = 1 << 22


class MessageChannel:
    """One end of a socket pair. Any thread may send; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        """Take over a blocking socket; a send that makes no progress for ``MAX_STALL_S`` fails."""
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", MAX_STALL_S, 0))
        self._socket = end  # for the shutdown, which wakes a thread in ``receive``; ``Connection`` can only close
        self._connection = Connection(os.dup(end.fileno()))
        self._sending = threading.Lock()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Any = msgspec.msgpack.Decoder(WorkerMessage).decode

    def send(self, message: Struct) -> None:
        """Send a message.

        Raises:
            OSError: the other end is closed, or does not read for ``MAX_STALL_S``. The channel must be closed then,
                because a part of the message may be sent.
        """
        content = self._encode(message)
        with self._sending:
            self._connection.send_bytes(content)

    def receive(self) -> WorkerMessage | None:
        """Return the next message; None after the other end, or this one, is closed."""
        try:
            content = self._connection.recv_bytes()
        except (EOFError, OSError):
            # Closed here, in the only thread that reads: elsewhere the descriptor could be reused under a read.
            with self._sending:
                self._connection.close()
            return None
        message: WorkerMessage = self._decode(content)
        return message

    def close(self) -> None:
        """Shut the channel down; wakes the receiving threads of both ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class PendingReplies:
    """Requests on a channel whose replies are awaited, by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._pending: dict[int, Any] = {}

    def open(self, future: T) -> tuple[int, T]:
        """Register a future; return its number and the future."""
        with self._lock:
            self._last += 1
            self._pending[self._last] = future
            return self._last, future

    def pop(self, number: int) -> Any:
        """Remove and return the future of a number; None if there is none."""
        with self._lock:
            return self._pending.pop(number, None)

    def resolve(self, number: int, reply: Any) -> None:
        """Set the result of a future, if it is still awaited.

        Args:
            number: number of the request.
            reply: the result.
        """
        future: Future[Any] | None = self.pop(number)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(reply)

    def pop_all(self) -> list[Any]:
        """Remove and return all futures."""
        with self._lock:
            futures, self._pending = list(self._pending.values()), {}
            return futures
