"""HSTU: gated layers of pointwise attention that see distances and times (Zhai et al. 2024); settings."""

from dataclasses import dataclass

from segue.models.neural.configs.shared import TimeConfig


@dataclass(frozen=True)
class HSTUConfig(TimeConfig):
    """The shape of the network."""

    embedding_dim: int = 64
    """Width of item vectors and hidden states."""
    num_layers: int = 2
    """HSTU layers."""
    num_heads: int = 2
    """Attention heads; must divide embedding_dim."""
    max_length: int = 50
    """The newest events that are read; older ones are not seen."""
    target_time: bool = False
    """Whether it is told when the next event is asked for: the moment of a request, and in an evaluation the target's
    own time, so that its numbers are reported apart."""
    dropout: float = 0.2
    """On the embedded input and on what each layer adds."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim < 1 or self.num_layers < 1 or self.max_length < 1:
            raise ValueError(
                "embedding_dim, num_layers and max_length must be at least 1, "
                f"got {self.embedding_dim}, {self.num_layers}, {self.max_length}."
            )
        if self.num_heads < 1 or self.embedding_dim % self.num_heads:
            raise ValueError(f"num_heads must divide embedding_dim, got {self.num_heads} and {self.embedding_dim}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
