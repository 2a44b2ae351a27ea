"""How a server behaves, besides where it listens."""

import re
from dataclasses import dataclass, field

from segue.serving.schemas.requests import (
    Durability,
)


@dataclass(frozen=True)
class BatchingConfig:
    """How long anybody waits."""

    max_batch_size: int = 32
    """Questions that are scored together; the event loop looks at its connections again behind so many."""
    queue_size: int = 2048
    """Questions that may wait; more are refused."""
    max_queue_delay_ms: float = 250.0
    """Questions are refused (503, Retry-After) that would wait longer, at the pace of the latest batches, and while the
    oldest one has waited so long."""
    timeout_ms: float = 500.0
    """Whoever has no answer by then gets the last one, or what is popular, and is told so."""

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or self.queue_size < 1:
            raise ValueError(
                f"max_batch_size and queue_size must be at least 1, got {self.max_batch_size} and {self.queue_size}."
            )
        if self.max_queue_delay_ms <= 0 or self.timeout_ms <= 0:
            raise ValueError(
                "max_queue_delay_ms and timeout_ms must be above 0, "
                f"got {self.max_queue_delay_ms:g} and {self.timeout_ms:g}."
            )


@dataclass(frozen=True)
class EngineConfig:
    """How answers are made and events are kept."""

    batching: BatchingConfig = field(default_factory=BatchingConfig)
    """How long anybody waits."""
    durability: Durability = "fsync"
    """What an acknowledgement is worth where a request does not say."""


@dataclass(frozen=True)
class SessionsConfig:
    """How much of the past is kept at hand."""

    max_length: int = 200
    """Newest events of a key; older ones stay in the store but are not part of a history."""
    max_histories: int = 100_000
    """Users and sessions in memory; the one that was asked for least recently makes room."""

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.max_histories < 1:
            raise ValueError(
                f"max_length and max_histories must be at least 1, got {self.max_length} and {self.max_histories}."
            )


@dataclass(frozen=True)
class ServingConfig:
    """How a server behaves, besides where it listens."""

    requests_per_s: float | None = None
    """Requests a second for each key; nothing: as many as it can."""
    cors_origins: tuple[str, ...] = ()
    """Web sites whose pages may ask from a browser, as https://shop.example."""
    reload_interval_s: float = 1.0
    """How often the server looks whether another version should be at work."""
    json_logs: bool = False
    """Log lines as JSON."""
    log_requests: bool = False
    """A line for each request."""
    record_impressions: bool = True
    """Keep which lists were shown and what came of them."""
    show_demo: bool = False
    """Show a small shop at /."""
    approximate: bool = False
    """Search large catalogs through an index that may miss an item in a hundred, where it is seen to find the others;
    it needs faiss."""
    workers: int = 1
    """Processes that answer on the one port."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """How answers are made and events are kept."""

    def __post_init__(self) -> None:
        if self.reload_interval_s <= 0:
            raise ValueError(f"reload_interval_s must be above 0, got {self.reload_interval_s:g}.")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}.")
        for origin in self.cors_origins:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"'{origin}' is no origin: write it like https://shop.example.")
