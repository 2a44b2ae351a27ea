"""SASRec: a causal transformer over the history (Kang & McAuley 2018); settings."""

from dataclasses import dataclass
from typing import Literal

from segue.models.neural.configs.shared import TimeConfig


@dataclass(frozen=True)
class SASRecConfig(TimeConfig):
    """The shape of the network."""

    dim: int = 64
    """Width of item vectors and hidden states."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 2
    """Attention heads; must divide dim."""
    length: int = 50
    """The newest events that are read; older ones are not seen."""
    positions: Literal["learned", "reversed", "rotary", "none"] = "learned"
    """A vector for each place, counted from the oldest event or (reversed) from the newest; rotary: attention sees
    distances; none: only that older comes before newer."""
    block: Literal["prenorm", "ligr"] = "prenorm"
    """ligr: each branch passes a gate, and the feed-forward is a SwiGLU (eSASRec's block)."""
    dropout: float = 0.2
    """On the embedded input and on each block's two branches."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; nothing: a plain dot product."""
    spectral_start: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    prior: float | None = None
    """Weight of the co-visit rule added to the scores; nothing: chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim < 1 or self.layers < 1 or self.length < 1:
            raise ValueError(
                f"dim, layers and length must be at least 1, got {self.dim}, {self.layers}, {self.length}."
            )
        if self.heads < 1 or self.dim % self.heads:
            raise ValueError(f"heads must divide dim, got {self.heads} heads for dim {self.dim}.")
        if self.positions == "rotary" and self.dim // self.heads % 2:
            raise ValueError(f"Rotary positions turn pairs: dim / heads must be even, got {self.dim} / {self.heads}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
