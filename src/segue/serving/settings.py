"""How a server behaves, besides where it listens."""

import re
from dataclasses import dataclass, field

from segue.serving.engine import EngineConfig


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
