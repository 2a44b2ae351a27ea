"""SASRec: a causal transformer over the history (Kang & McAuley 2018); settings."""

from dataclasses import dataclass
from typing import Literal

from segue.models.neural.configs.shared import TimeConfig


@dataclass(frozen=True)
class SASRecConfig(TimeConfig):
    """The shape of the network."""

    embedding_dim: int = 64
    """Width of item vectors and hidden states."""
    num_layers: int = 2
    """Transformer blocks."""
    num_heads: int = 2
    """Attention heads; must divide embedding_dim."""
    max_length: int = 50
    """The newest events that are read; older ones are not seen."""
    position_encoding: Literal["learned", "reversed", "rotary", "none"] = "learned"
    """A vector for each place, counted from the oldest event or (reversed) from the newest; rotary: attention sees
    distances; none: only that older comes before newer."""
    block_type: Literal["prenorm", "ligr"] = "prenorm"
    """ligr: each branch passes a gate, and the feed-forward is a SwiGLU (eSASRec's block)."""
    dropout: float = 0.2
    """On the embedded input and on each block's two branches."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; nothing: a plain dot product."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; nothing: chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim < 1 or self.num_layers < 1 or self.max_length < 1:
            raise ValueError(
                "embedding_dim, num_layers and max_length must be at least 1, "
                f"got {self.embedding_dim}, {self.num_layers}, {self.max_length}."
            )
        if self.num_heads < 1 or self.embedding_dim % self.num_heads:
            raise ValueError(f"num_heads must divide embedding_dim, got {self.num_heads} and {self.embedding_dim}.")
        if self.position_encoding == "rotary" and self.embedding_dim // self.num_heads % 2:
            raise ValueError(
                "Rotary position encoding rotates pairs: embedding_dim / num_heads must be even, "
                f"got {self.embedding_dim} / {self.num_heads}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
