"""SASRec: a causal transformer over the history (Kang & McAuley 2018); settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SASRecConfig:
    """The shape of the network."""

    dim: int = 64
    """Width of item vectors and hidden states."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 2
    """Attention heads; must divide dim."""
    length: int = 50
    """The newest events that are read; older ones are not seen."""
    dropout: float = 0.2
    """On the embedded input and on each block's two branches."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; nothing: a plain dot product."""
    spectral_start: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    prior: float | None = None
    """Weight of the co-visit rule added to the scores; nothing: chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        if self.dim < 1 or self.layers < 1 or self.length < 1:
            raise ValueError(
                f"dim, layers and length must be at least 1, got {self.dim}, {self.layers}, {self.length}."
            )
        if self.heads < 1 or self.dim % self.heads:
            raise ValueError(f"heads must divide dim, got {self.heads} heads for dim {self.dim}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
