"""LRURec: layers of linear recurrence and feed-forward (Yue et al. 2024, after Orvieto et al. 2023); settings."""

from dataclasses import dataclass

from segue.models.neural.configs.shared import TimeConfig


@dataclass(frozen=True)
class LRURecConfig(TimeConfig):
    """The shape of the network."""

    embedding_dim: int = 64
    """Width of item vectors and hidden states."""
    num_layers: int = 2
    """Blocks of recurrence and feed-forward."""
    expansion: int = 1
    """Complex numbers of a recurrence's state for each unit of width."""
    max_length: int = 50
    """The newest events that are read; older ones are not seen."""
    dropout: float = 0.2
    """On the embedded input and on what each part of a block adds."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embedding_dim", "num_layers", "expansion", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
