"""Options of the server: every setting with its range, unit and default.

``ServingConfig`` is the whole page. ``serve()`` receives it, the command line fills it, and each worker process gets a
copy. A time has its unit in its name: ``_s`` seconds, ``_ms`` milliseconds.
"""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from typing import Annotated

from segue.config.history_events import ALL, HistoryEvents
from segue.config.purchase_events import CLICK_EVENTS, PURCHASE_EVENTS
from segue.config.ranges import Range, check_ranges
from segue.serving.schemas.requests import Durability


@dataclass(frozen=True)
class BatchingConfig:
    """Micro-batching of requests for a list, and the deadlines of a waiting request."""

    max_batch_size: Annotated[int, Range(ge=1)] = 32
    """Requests scored together. The event loop serves its connections again after each batch."""
    queue_size: Annotated[int, Range(ge=1)] = 2048
    """Requests that may wait. Further requests are refused with 503 and Retry-After."""
    max_queue_delay_ms: Annotated[float, Range(gt=0)] = 250.0
    """Longest expected wait of a new request, in milliseconds, at the pace of the latest batches. New requests are
    refused with 503 above it, and while the oldest waiting request is older."""
    timeout_ms: Annotated[float, Range(gt=0)] = 500.0
    """Time from arrival to the fallback response, in milliseconds. The response then holds the cached last list of the
    user, or popular items, and its field ``fallback`` names which."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class SessionsConfig:
    """Size of the session cache: the histories of users and sessions in memory."""

    max_length: Annotated[int, Range(ge=1)] = 200
    """Newest events of a history. Older events stay in the event store but are not part of the history."""
    max_histories: Annotated[int, Range(ge=1)] = 100_000
    """Histories in memory. The least recently requested one is evicted, and read from the event store when it is
    requested again. At most as many last lists are kept for fallbacks (and never more than 10,000 a version)."""
    history_events: tuple[str, ...] | None = None
    """Event types that enter the histories. Events of other types are stored, and count for placements that leave out
    seen items by their event type. ("all",): every type. none: the types that the log of the model's training kept."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.history_events == () or (len(self.history_events or ()) > 1 and ALL in (self.history_events or ())):
            raise ValueError(f"history_events names event types, or '{ALL}' alone, got {self.history_events!r}.")

    def events_of(self, trained: HistoryEvents | None) -> HistoryEvents | None:
        """Return the event types that enter the histories of a model; None: all.

        Args:
            trained: event types that the log of its training kept; None: all.
        """
        if self.history_events is None:
            return trained
        return None if self.history_events == (ALL,) else HistoryEvents(self.history_events)


@dataclass(frozen=True)
class EngineConfig:
    """Scoring of requests, histories in memory and durability of events, for each process."""

    batching: BatchingConfig = field(default_factory=BatchingConfig)
    """Micro-batching and deadlines."""
    sessions: SessionsConfig = field(default_factory=SessionsConfig)
    """Size of the session cache."""
    durability: Durability = "fsync"
    """Durability of events whose request has no ``durability``: "fsync" (forced to disk before the response) or
    "memory" (handed to the operating system, forced to disk within a second)."""


@dataclass(frozen=True)
class AttributionConfig:
    """Attribution of clicks and purchases to recommended lists."""

    click_events: tuple[str, ...] = CLICK_EVENTS
    """Event types that count as a click, whatever their case, spaces, hyphens and underscores. They count only for the
    list that they name in ``recommendation_id``."""
    purchase_events: tuple[str, ...] = PURCHASE_EVENTS
    """Event types that count as a purchase, likewise; cancellations and refunds are none of them. Without
    ``recommendation_id`` a purchase counts for the list of the user's last click on the item."""
    window_s: Annotated[float, Range(gt=0)] = 86_400.0
    """Time after a click in which a purchase without ``recommendation_id`` counts for it, in seconds."""
    max_lists: Annotated[int, Range(ge=1)] = 1_000_000
    """Lists kept in the attribution file, about 500 bytes each. The oldest are removed first."""
    queue_size: Annotated[int, Range(ge=1)] = 20_000
    """Lists and events that may wait to be written. Further ones are dropped and counted."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class StorageConfig:
    """Space for the event log. Events are refused with 507 beyond it, and recommendations go on."""

    min_free_mb: Annotated[int, Range(ge=0)] = 200
    """Space of the log's disk that stays free, in megabytes, at most a twentieth of the disk. 0: the disk may be
    filled."""
    max_log_mb: Annotated[int, Range(ge=1)] | None = None
    """Largest size of the event log, in megabytes; 1,000,000 events take about 250. none: no limit."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class ExaminationConfig:
    """Limits of the process that loads and tests a version before the server loads it."""

    time_s: Annotated[float, Range(gt=0)] = 60.0
    """Longest time of an examination, in seconds."""
    time_s_per_gb: Annotated[float, Range(ge=0)] = 300.0
    """Further time for each gigabyte of the artifact, in seconds; an approximate index takes most of it."""
    memory_mb: Annotated[float, Range(gt=0)] = 4096.0
    """Address space of an examination, in megabytes, besides that of the program."""
    memory_factor: Annotated[float, Range(ge=0)] = 8.0
    """Further address space, as a multiple of the size of the artifact."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def memory_bytes(self, artifact_bytes: int) -> int:
        """Return the limit of an artifact, at most the memory of the machine."""
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return int(min(self.memory_mb * 1e6 + self.memory_factor * artifact_bytes, machine))


@dataclass(frozen=True)
class AccessConfig:
    """Limits of clients, the proxies before the server, and the pages that browsers load."""

    requests_per_s: Annotated[float, Range(gt=0)] | None = None
    """Requests per second and API key, summed over all workers; more are refused with 429. none: no limit."""
    requests_per_s_per_client: Annotated[float, Range(gt=0)] | None = None
    """Requests per second and client with a public key, summed over all workers; twice as many at once. A public key
    has no other roles than ingest and serve. A client is an IPv4 address or an IPv6 network of 64 bits. none: no
    limit."""
    items_per_h_per_client: Annotated[float, Range(ge=1)] | None = None
    """Items in lists per hour and client with a public key, summed over all workers: a bound of the catalog that one
    client can copy. none: no limit."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For header names the client, such as 10.0.0.0/8. Default:
    none; the client is the other end of the connection."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may send requests from a browser, such as https://shop.example. Default: none."""
    show_demo: bool = False
    """Serve the demo page at /."""

    def __post_init__(self) -> None:
        check_ranges(self)
        for origin in self.cors_origins:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"'{origin}' is no origin: write it like https://shop.example.")
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(f"'{proxy}' is no proxy's address: write it like 10.0.0.5 or 10.0.0.0/8.") from None


@dataclass(frozen=True)
class LoggingConfig:
    """Log lines of a server."""

    as_json: bool = False
    """Write log lines as JSON objects instead of plain text."""
    requests: bool = False
    """Write one log line per request."""


@dataclass(frozen=True)
class ServingConfig:
    """Options of a server, besides the model, the data directory and the address."""

    access: AccessConfig = field(default_factory=AccessConfig)
    """Limits of clients, proxies, and pages of browsers."""
    logs: LoggingConfig = field(default_factory=LoggingConfig)
    """Log lines."""
    grace_s: Annotated[float, Range(gt=0, le=3600)] = 15.0
    """Time from SIGTERM or Ctrl-C to the end of all processes, in seconds. Requests under way have 70 % of it; the rest
    is for closing the event store."""
    reload_interval_s: Annotated[float, Range(gt=0)] = 1.0
    """Seconds between two checks for another model version."""
    approximate: bool = False
    """Search large catalogs through an approximate index (needs faiss). A version whose measured recall of the exact
    top 20 is below 99 % is searched exactly all the same."""
    workers: Annotated[int, Range(ge=1)] = 1
    """Processes that serve requests on the one port: the primary process and ``workers - 1`` worker processes."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """Scoring of requests, histories in memory and durability of events."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Space for the event log."""
    examination: ExaminationConfig = field(default_factory=ExaminationConfig)
    """Limits of the process that examines a version before the server loads it."""
    attribution: AttributionConfig | None = field(default_factory=AttributionConfig)
    """Recording of lists, clicks and purchases for the report. none: nothing is recorded."""

    def __post_init__(self) -> None:
        check_ranges(self)
