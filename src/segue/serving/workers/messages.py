"""What the processes of one server say to each other: frames on a socket pair, in msgpack, in order.

The keeper owns everything that is kept: the event log, the measurements, the list of the erased. Branches answer beside
it, from histories of their own that hear of every commit before anybody is told of it.
"""

from typing import TypeVar

from msgspec import Struct

from segue.serving.config import ServingConfig, SessionsConfig
from segue.serving.schemas.requests import Durability, EventIn, Key, RecommendAnswer
from segue.serving.store.event_reader import Stored

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


T = TypeVar("T")
