"""Messages between the processes of one server, encoded with msgpack and delivered in order.

The primary process owns everything that is kept: the event log, the attribution file, the erasure list. Workers score
requests with session caches of their own, which receive every commit before its client gets the response.
"""

from typing import TypeVar

from msgspec import Struct

from segue.serving.config import ServingConfig
from segue.serving.experiments.attribution_queue import QueuedList
from segue.serving.schemas.requests import Durability, EventIn, HistoryKey
from segue.serving.store.event_reader import StoredEventRow

HEARTBEAT_S = 0.25
"""Interval of the heartbeats, in seconds."""
SILENCE_S = 1.0
"""Time without a message of the primary process after which the workers answer for it with 503, in seconds."""
MAX_STALL_S = 2.0
"""Time without a message, or without the acknowledgement of a commit, after which a worker is killed, in seconds."""
CATALOG_S = 1.0
"""Longest wait for the workers to apply a change of the catalog, in seconds."""


class StartWorker(Struct, tag=True):
    """Primary process: number, model, data directory, sockets and options of a new worker."""

    number: int
    model_path: str
    data_dir: str
    host: str
    sockets: list[list[int]]
    """Inherited file descriptors: the listening sockets of each process."""
    config: ServingConfig
    examined: list[str] = []
    """Versions that the primary process has examined at its start."""


class Heartbeat(Struct, tag=True):
    """Primary process, to every worker; the worker returns one. A thread sends it, whatever the event loop does."""

    lag_s: float
    """Delay of the sender's event loop, in seconds."""
    is_listening: bool = True
    """Whether the sender accepts connections."""


class AppendEvents(Struct, tag=True):
    """Worker: events to store."""

    number: int
    events: list[EventIn]
    durability: Durability | None
    sent_s: float
    """Monotonic time, the same in all processes: older requests are refused, as the worker has refused them."""


class EventsAppended(Struct, tag=True):
    """Primary process: the events are stored."""

    number: int
    accepted: int
    duplicates: int
    erased: int = 0


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


class CatalogChanged(Struct, tag=True):
    """Primary process: the event store holds changes of items or placements. The worker reads and applies them."""

    number: int


class Ack(Struct, tag=True):
    """Worker: a commit, an erasure or a change of the catalog is applied."""

    number: int


class RecordImpression(Struct, tag=True):
    """Worker: a list that was sent."""

    entry: QueuedList


class ForwardedRequest(Struct, tag=True):
    """Worker: an HTTP request that only the primary process can answer."""

    number: int
    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes
    sent_s: float
    """See ``AppendEvents``."""


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

    grace_s: float
    """Time until all processes must have ended, in seconds."""


class WorkerReady(Struct, tag=True):
    """Worker: the models are loaded."""


class StartServing(Struct, tag=True):
    """Primary process: request to accept connections. Every later commit is sent to this worker."""


WorkerMessage = (
    StartWorker
    | Heartbeat
    | AppendEvents
    | EventsAppended
    | RequestRefused
    | EventsCommitted
    | EraseKeys
    | CatalogChanged
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
