"""What the processes of one server say to each other: frames on a socket pair, in msgpack, in order.

The keeper owns everything that is kept: the event log, the measurements, the list of the erased. Branches answer beside
it, from histories of their own that hear of every commit before anybody is told of it.
"""

import contextlib
import socket
import struct
import threading
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from segue.serving.reading import Stored
from segue.serving.schema import Durability, EventIn, RecommendAnswer
from segue.serving.sessions import Key, SessionsConfig
from segue.serving.settings import ServingConfig

_HEAD = struct.Struct(">I")
_BUFFER = 1 << 22
STUCK_S = 5
"""Whoever does not read for so long is gone."""


class Hello(Struct, tag=True):
    """Keeper: what a branch is to serve."""

    run: str
    data: str
    host: str
    port: int
    config: ServingConfig
    sessions: SessionsConfig


class Store(Struct, tag=True):
    """Branch: events to be stored."""

    number: int
    events: list[EventIn]
    durability: Durability | None


class Accepted(Struct, tag=True):
    """Keeper: they are stored."""

    number: int
    accepted: int
    duplicates: int


class Refused(Struct, tag=True):
    """Keeper: they are not."""

    number: int
    status: int
    detail: str
    headers: dict[str, str]


class Committed(Struct, tag=True):
    """Keeper: what a commit added; whoever waits for it is told only behind the branches' ``Done``."""

    number: int
    stored: list[Stored]


class Forget(Struct, tag=True):
    """Keeper: people who were erased."""

    number: int
    keys: list[Key]


class Done(Struct, tag=True):
    """Branch: a commit, or an erasure, is taken up."""

    number: int


class Shown(Struct, tag=True):
    """Branch: a list that was sent."""

    answer: RecommendAnswer
    placement: str | None
    key: Key | None
    experiment: str | None


class Ask(Struct, tag=True):
    """Branch: a request that only the keeper can answer."""

    number: int
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Page(Struct, tag=True):
    """Keeper: its answer."""

    number: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Count(Struct, tag=True):
    """Keeper: what do your counters say?"""

    number: int


class Counted(Struct, tag=True):
    """Branch: this, as Prometheus reads it."""

    number: int
    text: bytes


class Look(Struct, tag=True):
    """Keeper: another version may be at work."""


class Drain(Struct, tag=True):
    """Keeper: finish what is under way, and end."""


class Ready(Struct, tag=True):
    """Branch: everything is loaded."""


class Welcome(Struct, tag=True):
    """Keeper: from here on you hear of everything, so answer."""


Frame = (
    Hello | Store | Accepted | Refused | Committed | Forget | Done | Shown | Ask | Page | Count | Counted | Look | Drain
    | Ready | Welcome
)  # fmt: skip


class Line:
    """One end of a socket pair. Anybody may send; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Any = msgspec.msgpack.Decoder(Frame).decode
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", STUCK_S, 0))

    def send(self, frame: Struct) -> None:
        """OSError where nobody reads any more."""
        text = self._encode(frame)
        with self._sending:
            self._socket.sendall(_HEAD.pack(len(text)) + text)

    def receive(self) -> Frame | None:
        """The next frame; None where the other end is gone."""
        try:
            head = self._read(_HEAD.size)
            text = None if head is None else self._read(_HEAD.unpack(head)[0])
        except OSError:
            return None
        frame: Frame | None = None if text is None else self._decode(text)
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


T = TypeVar("T")


class Calls:
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

    def close(self, number: int) -> Any:
        """What waited for it; None where nobody does any more."""
        with self._lock:
            return self._open.pop(number, None)

    def answer(self, number: int, said: Any) -> None:
        """Tells whoever waits for it, a future, if anybody still does."""
        future: Future[Any] | None = self.close(number)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(said)

    def close_all(self) -> list[Any]:
        """Everything that waits."""
        with self._lock:
            waiting, self._open = list(self._open.values()), {}
            return waiting
