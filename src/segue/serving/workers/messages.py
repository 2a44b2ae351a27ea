"""What the processes of one server say to each other: frames on a socket pair, in msgpack, in order.

The keeper owns everything that is kept: the event log, the measurements, the list of the erased. Branches answer beside
it, from histories of their own that hear of every commit before anybody is told of it.
"""

from typing import TypeVar

from msgspec import Struct

from segue.serving.config import ServingConfig, SessionsConfig
from segue.serving.schemas.requests import Durability, EventIn, HistoryKey, RecommendResponse
from segue.serving.store.event_reader import StoredEventRow

MAX_STALL_S = 5
"""Whoever does not read for so long is gone."""


class StartWorker(Struct, tag=True):
    """Keeper: what a branch is to serve."""

    model_path: str
    data_dir: str
    host: str
    port: int
    config: ServingConfig
    sessions: SessionsConfig


class AppendEvents(Struct, tag=True):
    """Branch: events to be stored."""

    number: int
    events: list[EventIn]
    durability: Durability | None


class EventsAppended(Struct, tag=True):
    """Keeper: they are stored."""

    number: int
    accepted: int
    duplicates: int


class RequestRefused(Struct, tag=True):
    """Keeper: they are not."""

    number: int
    status: int
    detail: str
    headers: dict[str, str]


class EventsCommitted(Struct, tag=True):
    """Keeper: what a commit added; whoever waits for it is told only behind the branches' ``Done``."""

    number: int
    stored: list[StoredEventRow]


class EraseKeys(Struct, tag=True):
    """Keeper: people who were erased."""

    number: int
    keys: list[HistoryKey]


class Ack(Struct, tag=True):
    """Branch: a commit, or an erasure, is taken up."""

    number: int


class RecordImpression(Struct, tag=True):
    """Branch: a list that was sent."""

    response: RecommendResponse
    placement: str | None
    key: HistoryKey | None
    experiment: str | None


class ForwardedRequest(Struct, tag=True):
    """Branch: a request that only the keeper can answer."""

    number: int
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


class ForwardedResponse(Struct, tag=True):
    """Keeper: its answer."""

    number: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class MetricsRequest(Struct, tag=True):
    """Keeper: what do your counters say?"""

    number: int


class MetricsResponse(Struct, tag=True):
    """Branch: this, as Prometheus reads it."""

    number: int
    text: bytes


class ReloadModels(Struct, tag=True):
    """Keeper: another version may be at work."""


class StopServing(Struct, tag=True):
    """Keeper: finish what is under way, and end."""


class WorkerReady(Struct, tag=True):
    """Branch: everything is loaded."""


class StartServing(Struct, tag=True):
    """Keeper: from here on you hear of everything, so answer."""


WorkerMessage = (
    StartWorker
    | AppendEvents
    | EventsAppended
    | RequestRefused
    | EventsCommitted
    | EraseKeys
    | Ack
    | RecordImpression
    | ForwardedRequest
    | ForwardedResponse
    | MetricsRequest
    | MetricsResponse
    | ReloadModels
    | StopServing
    | WorkerReady
    | StartServing
)


T = TypeVar("T")
