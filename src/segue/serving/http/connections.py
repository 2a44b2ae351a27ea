"""Open connections of a listener: the states of a connection with a deadline each, eviction, bytes of requests held."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from segue.serving.schemas.problems import unavailable


@dataclass(frozen=True)
class Deadline:
    """Largest time of a connection in one state."""

    after_s: float
    """Seconds."""
    since: str
    """Start of the time."""
    outcome: str = "closed"
    """Treatment of a connection that misses the deadline."""


DEADLINES = {
    "connected": Deadline(8.0, "the connection was made"),
    "head": Deadline(8.0, "the first byte of the head; of a first request, since the connection was made"),
    "body": Deadline(10.0, "the head was complete", "408, closed"),
    "refused body": Deadline(3.0, "the head was complete"),
    "responding": Deadline(300.0, "the request was complete"),
    "responding without key": Deadline(8.0, "the request was complete"),
    "waiting without key": Deadline(8.0, "more requests without a key had come than there are turns for"),
    "writing": Deadline(8.0, "the client took 65,536 bytes, or the rest, of what it was sent"),
    "closing": Deadline(2.0, "the last byte was sent"),
    "idle": Deadline(5.0, "the last response"),
    "idle with key": Deadline(75.0, "the last response"),
}
"""State -> its deadline. Every state is here, and no other module has a time limit of a connection.

A connection is always in one reading state (connected, head, body, refused body, idle, idle with key). While a response
is due or is being taken, responding, waiting, writing or closing apply besides. "With key": a request of the connection
was admitted to an endpoint that needs a role.
"""
MIN_TAKEN_BYTES = 65_536
"""Bytes that a client must take for a new writing deadline."""
MAX_REFUSED = 100
"""Responses in a row without a success of an endpoint that needs a role. Behind the last one the connection is closed:
a megabyte holds 40,000 requests, whose refusals would take half a second of the processor."""
FREE_REFUSED, MAX_FREE = 2, 100
"""Of these responses, the number that are sent at once on each connection, and on all within ``FREE_S``."""
FREE_S = 0.1
"""Time after which ``MAX_FREE`` more may be sent at once, in seconds."""
TURN_S, TURN_SHARE = 0.001, 0.1
"""Shortest time from one further one to the next, over all connections, in seconds, and largest share of the event
loop's time for them: thousands of clients that send requests without a key, each a hundred in one packet, leave the
others their share of the processor. A large response to a client that does not read takes more than a millisecond. The
newest goes first: a probe that comes behind a flood does not wait for it."""
CROWD = 1024
"""Number of connections above which those without a key are read only in their slice of each round of checks (a new one
until its first such slice): thousands that send a byte at the same time would keep the event loop from the others."""
SMALL_BYTES = 1024
"""Bytes of one request that are held whatever the others hold."""
MAX_HEAD_BYTES_HELD = 8_000_000
"""Sum of the bytes of incomplete heads, over all connections."""
MAX_BODY_BYTES_HELD = 64_000_000
"""Sum of the bytes of bodies whose response is due, over all connections."""
MEMORY_FULL = unavailable("The server holds as many large requests as it can: try again in a moment.")
_READING_RANKS = {"idle": 0, "idle with key": 0, "refused body": 0, "connected": 1, "head": 1, "body": 2}
_IDLE, _HEAD, _RESPONDING = 0, 1, 3
_WITH_KEY = 4


class OpenConnection(Protocol):
    """Connection of a client, as its listener treats it."""

    def check(self, now_s: float) -> None:
        """Enforce the deadlines; ``now_s`` is the event loop's time."""

    def pause_until_check(self) -> None:
        """Read nothing before the next check, unless a request was admitted with a key."""

    def close_if_idle(self) -> None:
        """Close a connection on which nothing is due."""

    def abort(self) -> None:
        """Close at once."""

    def take_turn(self) -> None:
        """Answer requests that waited for their turn."""


class Connections:
    """Open connections by their rank: those of rank 0 are closed first for a new one.

    Ranks are idle, head due, body due, response due, each without and then with a key. In a rank, the connection that
    has been there longest comes first. A connection changes rank in O(1).
    """

    def __init__(self) -> None:
        self.date = ""
        """Current value of the ``date`` header."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Responses under way: the event loop itself keeps only weak references."""
        self.num_head_bytes = 0
        """Bytes of incomplete heads."""
        self.num_body_bytes = 0
        """Bytes of bodies whose response is due."""
        self._deferred: deque[OpenConnection] = deque()
        """Connections whose next refusal waits for a turn."""
        self._is_turn_due = False
        self._num_free, self._free_until_s = 0, -math.inf
        self._ranks: list[dict[OpenConnection, None]] = [{} for _ in range(2 * _WITH_KEY)]

    def __len__(self) -> int:
        return sum(map(len, self._ranks))

    def __iter__(self) -> Iterator[OpenConnection]:
        for rank in self._ranks:
            yield from rank

    def move(self, connection: OpenConnection, before: int | None, rank: int) -> None:
        """Move a connection to the end of a rank.

        Args:
            connection: the connection.
            before: its rank until now; None: it is new.
            rank: its new rank.
        """
        if before is not None:
            if connection not in self._ranks[before]:
                return  # it was closed to make room
            del self._ranks[before][connection]
        self._ranks[rank][connection] = None

    def remove(self, connection: OpenConnection, rank: int) -> None:
        """Remove a connection of a rank; one that is gone already is no error."""
        self._ranks[rank].pop(connection, None)

    @property
    def is_crowded(self) -> bool:
        """Return whether connections without a key are read once in each round of checks."""
        return len(self) > CROWD

    def take_free(self, num_refused: int) -> bool:
        """Return whether a response without a key may be sent at once, and count it.

        Args:
            num_refused: number of such responses on the connection until now.
        """
        now_s = asyncio.get_running_loop().time()
        if num_refused >= FREE_REFUSED or self.is_crowded:
            return False
        if now_s >= self._free_until_s:
            self._num_free, self._free_until_s = 0, now_s + FREE_S
        self._num_free += 1
        return self._num_free <= MAX_FREE

    def defer(self, connection: OpenConnection, *, again: bool) -> None:
        """Let a connection wait for a turn.

        Args:
            connection: the connection.
            again: it has had a turn, so that the others go first.
        """
        if again:
            self._deferred.appendleft(connection)
        else:
            self._deferred.append(connection)
        if not self._is_turn_due:
            self._is_turn_due = True
            asyncio.get_running_loop().call_later(TURN_S, self._take_turns)

    def _take_turns(self) -> None:
        started_s = time.perf_counter()
        try:
            if self._deferred:
                self._deferred.pop().take_turn()
        finally:  # behind the task that makes the response; a turn that fails must not end those of the others
            asyncio.get_running_loop().call_soon(self._rest, started_s)

    def _rest(self, started_s: float) -> None:
        """Wait for the next turn, the longer the more time the last one took."""
        self._is_turn_due = bool(self._deferred)
        if self._is_turn_due:
            rest_s = (time.perf_counter() - started_s) * (1 / TURN_SHARE - 1)
            asyncio.get_running_loop().call_later(max(TURN_S, rest_s), self._take_turns)

    def make_room(self, limit: int) -> None:
        """Close the idlest connections, down to ``limit``."""
        while len(self) > limit:
            rank = self._idlest_rank(limit)
            idlest = next(iter(rank))
            del rank[idlest]  # the event loop reports its end later, behind other new connections
            idlest.abort()

    def _idlest_rank(self, limit: int) -> dict[OpenConnection, None]:
        """Return the rank whose first connection is closed next.

        A new connection is the last of the heads without a key. Where they are few, they are new clients whose first
        bytes are on their way, and an idle connection with a key goes first. Many connections without a key that send a
        body or wait for a response are no such clients.
        """
        idle, heads = self._ranks[_IDLE], self._ranks[_HEAD]
        keyed_idle = self._ranks[_WITH_KEY + _IDLE]
        if idle:
            return idle
        many = max(1, limit // 8)
        if len(heads) > many or (len(heads) > 1 and not keyed_idle):
            return heads
        busy = max(self._ranks[_HEAD + 1 : _WITH_KEY], key=len)
        if len(busy) > many:
            return busy
        return keyed_idle or next(rank for rank in [*self._ranks[_HEAD + 1 :], heads] if rank)


class WriteProgress:
    """Deadline of a client that does not take its responses."""

    def __init__(self) -> None:
        self.num_written_bytes = 0
        """Bytes of all responses."""
        self._num_taken_bytes = 0
        self.due_s = math.inf

    def start(self, now_s: float, num_waiting_bytes: int) -> None:
        """Start the deadline.

        Args:
            now_s: the event loop's time.
            num_waiting_bytes: written bytes that the client has not taken.
        """
        self._num_taken_bytes = self.num_written_bytes - num_waiting_bytes
        self.due_s = now_s + DEADLINES["writing"].after_s

    def stop(self) -> None:
        """Stop the deadline: the client has taken everything."""
        self.due_s = math.inf

    def check(self, now_s: float, num_waiting_bytes: int) -> None:
        """Start a missed deadline again where the client has taken enough. See ``start``."""
        num_taken_bytes = self.num_written_bytes - num_waiting_bytes
        if now_s >= self.due_s and num_taken_bytes - self._num_taken_bytes >= MIN_TAKEN_BYTES:
            self.start(now_s, num_waiting_bytes)


def rank_of(state: str, *, has_key: bool, is_responding: bool) -> int:
    """Return the rank of a connection.

    Args:
        state: its reading state.
        has_key: whether a request of it was admitted with a key.
        is_responding: whether a response is due.
    """
    return _WITH_KEY * has_key + (_RESPONDING if is_responding else _READING_RANKS[state])
