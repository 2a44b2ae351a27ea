"""BERT4Rec: a transformer that sees both sides of what it is to guess (Sun et al. 2019); settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BERT4RecConfig:
    """The shape of the network, and what is hidden from it in training."""

    dim: int = 64
    """Width of item vectors and hidden states."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 2
    """Attention heads; each gets dim / heads numbers, which must be even."""
    length: int = 50
    """The newest events that are read, beside the mask behind them; older ones are not seen."""
    mask: float = 0.2
    """Each event of a training window is hidden, and asked for, with this probability; at least one is."""
    mask_last: float = 0.5
    """In this share of the windows only the newest event is hidden, as when a history is scored."""
    dropout: float = 0.2
    """On the embedded input and on each block's two branches."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item."""
    spectral_start: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    prior: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        if self.dim < 1 or self.layers < 1 or self.length < 1:
            raise ValueError(
                f"dim, layers and length must be at least 1, got {self.dim}, {self.layers}, {self.length}."
            )
        if self.heads < 1 or self.dim % (2 * self.heads):
            raise ValueError(f"dim must be an even multiple of heads, got {self.heads} heads for dim {self.dim}.")
        if not 0 < self.mask < 1:
            raise ValueError(f"mask must be above 0 and below 1, got {self.mask}.")
        if not 0 <= self.mask_last <= 1:
            raise ValueError(f"mask_last must be in [0, 1], got {self.mask_last}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
