"""Caser: convolutions over the last few events (Tang & Wang 2018), without a vector for each user; settings."""

from dataclasses import dataclass

from segue.models.neural.configs.shared import TimeConfig


@dataclass(frozen=True)
class CaserConfig(TimeConfig):
    """The shape of the network.

    Published Caser adds a learned vector for each user to what the filters find. Here people are their histories, new
    and anonymous ones alike, so there is none; and the newest event's own vector is added to the answer.
    """

    embedding_dim: int = 64
    """Width of item vectors and states."""
    window: int = 5
    """L: the newest events that the filters look at."""
    num_horizontal_filters: int = 16
    """Filters of each height from 1 to window events."""
    num_vertical_filters: int = 4
    """Filters that weigh the events of the window."""
    max_length: int = 50
    """The longest training window; a state depends on its last ``window`` events alone."""
    dropout: float = 0.2
    """On what the filters found."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embedding_dim", "window", "num_horizontal_filters", "num_vertical_filters", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
