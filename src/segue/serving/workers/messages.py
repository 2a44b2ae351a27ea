"""Messages between the processes of one server, encoded with msgpack and delivered in order.

The primary process owns everything that is kept: the event log, the attribution file, the erasure list. Workers score
requests with session caches of their own, which receive every commit before its client gets the response.
"""

from typing import TypeVar

from msgspec import Struct

from segue.serving.config import ServingConfig
from segue.serving.schemas.requests import Durability, EventIn, HistoryKey, RecommendResponse
from segue.serving.store.event_reader import StoredEventRow

MAX_STALL_S = 5
"""Seconds after which a process that does not read its messages is taken as failed."""


class StartWorker(Struct, tag=True):
    """Primary process: model, data directory, address and options of a new worker."""

    model_path: str
    data_dir: str
    host: str
    port: int
    config: ServingConfig


class AppendEvents(Struct, tag=True):
    """Worker: events to store."""

    number: int
    events: list[EventIn]
    durability: Durability | None


class EventsAppended(Struct, tag=True):
    """Primary process: the events are stored."""

    number: int
    accepted: int
    duplicates: int


class RequestRefused(Struct, tag=True):
    """Primary process: the events are refused with a Problem."""

    number: int
    status: int
    detail: str
    headers: dict[str, str]


class EventsCommitted(Struct, tag=True):
    """Primary process: new events of a commit. Its clients get their responses after the ``Ack`` of every worker."""

    number: int
    stored: list[StoredEventRow]


class EraseKeys(Struct, tag=True):
    """Primary process: users and sessions that were erased."""

    number: int
    keys: list[HistoryKey]


class Ack(Struct, tag=True):
    """Worker: a commit or an erasure is applied."""

    number: int


class RecordImpression(Struct, tag=True):
    """Worker: a list that was sent."""

    response: RecommendResponse
    placement: str | None
    key: HistoryKey | None
    experiment: str | None


class ForwardedRequest(Struct, tag=True):
    """Worker: an HTTP request that only the primary process can answer."""

    number: int
    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes


class ForwardedResponse(Struct, tag=True):
    """Primary process: response to a forwarded request."""

    number: int
    body: bytes
    status: int
    media_type: str
    headers: dict[str, str]


class MetricsRequest(Struct, tag=True):
    """Primary process: request for the metrics of a worker."""

    number: int


class MetricsResponse(Struct, tag=True):
    """Worker: its metrics in the Prometheus text format."""

    number: int
    text: bytes


class ReloadModels(Struct, tag=True):
    """Primary process: request to check for another deployment."""


class StopServing(Struct, tag=True):
    """Primary process: request to finish the open requests and end."""


class WorkerReady(Struct, tag=True):
    """Worker: the models are loaded."""


class StartServing(Struct, tag=True):
    """Primary process: request to accept connections. Every later commit is sent to this worker."""


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
