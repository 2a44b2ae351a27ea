"""Message channel between the primary process and a worker: msgpack messages over a socket pair.

Messages are framed as ``multiprocessing.connection.Connection`` frames them, and its ``recv_bytes`` reads them, which
never unpickles. A message has no maximum size: both ends are processes of one server, and the size of a request body is
limited where it is received.
"""

import contextlib
import os
import socket
import struct
import threading
import time
from collections import deque
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

import msgspec
from msgspec import Struct

from segue.serving.workers.messages import T, WorkerMessage

MAX_BACKLOG_BYTES = 64_000_000
"""Bytes that wait for a process which does not read; further messages fail."""
_BUFFER_BYTES = 1 << 22
_LENGTH = struct.Struct("!i")


class MessageChannel:
    """One end of a socket pair. Any thread may send and never waits for the other end; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        """Take over a blocking socket."""
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._socket = end
        self._connection = Connection(os.dup(end.fileno()))
        self._sending = threading.Lock()
        self._backlog: deque[memoryview] = deque()
        """Frames, or the rest of one, that the socket did not take. A thread sends them while there are any."""
        self.num_backlog_bytes = 0
        """Bytes that wait until the socket takes them."""
        self._is_closed = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Any = msgspec.msgpack.Decoder(WorkerMessage).decode

    def send(self, message: Struct) -> None:
        """Send a message, or queue it while the other end does not read.

        Raises:
            OSError: the channel is closed, or ``MAX_BACKLOG_BYTES`` wait. The message is not sent.
        """
        content = self._encode(message)
        frame = memoryview(_LENGTH.pack(len(content)) + content)
        with self._sending:
            if self._is_closed:
                raise BrokenPipeError("The channel is closed.")
            if self._backlog:
                if self.num_backlog_bytes + len(frame) > MAX_BACKLOG_BYTES:
                    raise BlockingIOError("The other process does not read.")
                self._append(frame)
                return
            if rest := self._send_now(frame):
                self._append(rest)
                threading.Thread(target=self._send_backlog, name="segue-backlog", daemon=True).start()

    def receive(self) -> WorkerMessage | None:
        """Return the next message; None after the other end, or this one, is closed."""
        try:
            content = self._connection.recv_bytes()
        except (EOFError, OSError):
            self._connection.close()  # in the only thread that reads: its descriptor could be reused under a read
            return None
        message: WorkerMessage = self._decode(content)
        return message

    def close(self) -> None:
        """Shut the channel down; wakes the receiving threads of both ends. Messages of the backlog are lost."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._sending:
            self._is_closed = True
            if not self._backlog:  # else the thread of the backlog still uses it
                self._socket.close()

    def _append(self, frame: memoryview) -> None:
        self._backlog.append(frame)
        self.num_backlog_bytes += len(frame)

    def _send_now(self, frame: memoryview) -> memoryview:
        """Send the part of a frame that the socket takes at once, and return the rest."""
        while frame:
            try:
                frame = frame[self._socket.send(frame, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                break
        return frame

    def _send_backlog(self) -> None:
        """Send the backlog to its end, at the pace of the other end."""
        is_open = True
        while True:
            try:
                if is_open:
                    self._socket.sendall(self._backlog[0])
            except OSError:
                is_open = False
            with self._sending:
                self.num_backlog_bytes -= len(self._backlog.popleft())
                if not self._backlog:
                    if self._is_closed:
                        self._socket.close()
                    return


class PendingReplies:
    """Requests on a channel whose replies are awaited, by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._pending: dict[int, tuple[Any, float]] = {}
        """Number -> future, and the time of the request."""

    def open(self, future: T) -> tuple[int, T]:
        """Register a future; return its number and the future."""
        with self._lock:
            self._last += 1
            self._pending[self._last] = (future, time.monotonic())
            return self._last, future

    def pop(self, number: int) -> Any:
        """Remove and return the future of a number; None if there is none."""
        with self._lock:
            return self._pending.pop(number, (None, 0.0))[0]

    def resolve(self, number: int, reply: Any) -> None:
        """Set the result of a future, if it is still awaited.

        Args:
            number: number of the request.
            reply: the result.
        """
        future: Future[Any] | None = self.pop(number)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(reply)

    def fail(self, error: Exception, *, older_than_s: float = 0.0) -> None:
        """Raise an error in all futures that are old enough, and forget them.

        Args:
            error: the error.
            older_than_s: smallest age, seconds.
        """
        before_s = time.monotonic() - older_than_s
        with self._lock:
            old = [number for number, (_, since_s) in self._pending.items() if since_s <= before_s]
            futures = [self._pending.pop(number)[0] for number in old]
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
