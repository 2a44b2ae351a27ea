"""How a server behaves, besides where it listens."""

import re
from dataclasses import dataclass, field

from segue.serving.schemas.requests import (
    Durability,
)


@dataclass(frozen=True)
class BatchingConfig:
    """How long anybody waits."""

    most: int = 32
    """Questions that are scored together; the event loop looks at its connections again behind so many."""
    waiting: int = 2048
    """Questions that may wait; more are refused."""
    age_ms: float = 250.0
    """Questions are refused (503, Retry-After) that would wait longer, at the pace of the latest batches, and while the
    oldest one has waited so long."""
    slow_ms: float = 500.0
    """Whoever has no answer by then gets the last one, or what is popular, and is told so."""

    def __post_init__(self) -> None:
        if self.most < 1 or self.waiting < 1:
            raise ValueError(f"most and waiting must be at least 1, got {self.most} and {self.waiting}.")
        if self.age_ms <= 0 or self.slow_ms <= 0:
            raise ValueError(f"age_ms and slow_ms must be above 0, got {self.age_ms:g} and {self.slow_ms:g}.")


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

    length: int = 200
    """Newest events of a key; older ones stay in the store but are not part of a history."""
    keys: int = 100_000
    """Users and sessions in memory; the one that was asked for least recently makes room."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.keys < 1:
            raise ValueError(f"length and keys must be at least 1, got {self.length} and {self.keys}.")


@dataclass(frozen=True)
class ServingConfig:
    """How a server behaves, besides where it listens."""

    rate: float | None = None
    """Requests a second for each key; nothing: as many as it can."""
    origins: tuple[str, ...] = ()
    """Web sites whose pages may ask from a browser, as https://shop.example."""
    watch_s: float = 1.0
    """How often the server looks whether another version should be at work."""
    json_logs: bool = False
    """Log lines as JSON."""
    log_requests: bool = False
    """A line for each request."""
    measure: bool = True
    """Keep which lists were shown and what came of them."""
    demo: bool = False
    """Show a small shop at /."""
    approximate: bool = False
    """Search large catalogues through an index that may miss an item in a hundred, where it is seen to find the others;
    it needs faiss."""
    workers: int = 1
    """Processes that answer on the one port."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """How answers are made and events are kept."""

    def __post_init__(self) -> None:
        if self.watch_s <= 0:
            raise ValueError(f"watch_s must be above 0, got {self.watch_s:g}.")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}.")
        for origin in self.origins:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"'{origin}' is no origin: write it like https://shop.example.")
