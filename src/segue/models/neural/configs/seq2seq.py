"""Settings of Seq2SeqRec."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Seq2SeqConfig:
    """The shape of the network."""

    architecture: Literal["gru", "transformer", "gru-transformer", "transformer-gru"] = "gru"
    """What reads the history, and behind the dash what writes; one word: both. A GRU writes with Luong's attention."""
    embedding_dim: int = 64
    """Width of item vectors and of all states; a transformer has a head for every 32 of it."""
    num_layers: int = 1
    """Layers that read, and as many that write."""
    max_length: int = 50
    """The newest events that are read; older ones are not seen."""
    horizon: int = 10
    """The steps that it learns to write from one place; more can be asked."""
    dropout: float = 0.2
    """On each layer's states or branches."""
    scheduled_sampling: float = 0.2
    """The share of what the writer is given that is its own, at the end of training; it rises from 0."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; nothing: a dot product and a bias for each item."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; nothing: chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "num_layers", "max_length", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(f"scheduled_sampling must be between 0 and 1, got {self.scheduled_sampling}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")

    @property
    def reader(self) -> str:
        """gru or transformer."""
        return self.architecture.partition("-")[0]

    @property
    def writer(self) -> str:
        """gru or transformer."""
        return self.architecture.rpartition("-")[2]

    @property
    def num_heads(self) -> int:
        """Attention heads: one for every 32 of the width, as near as divides it."""
        return next(h for h in range(max(1, self.embedding_dim // 32), 0, -1) if self.embedding_dim % h == 0)
