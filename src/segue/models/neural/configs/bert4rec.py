"""BERT4Rec: a transformer that sees both sides of what it is to guess (Sun et al. 2019); settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BERT4RecConfig:
    """The shape of the network, and what is hidden from it in training."""

    embedding_dim: int = 64
    """Width of item vectors and hidden states."""
    num_layers: int = 2
    """Transformer blocks."""
    num_heads: int = 2
    """Attention heads; each gets dim / heads numbers, which must be even."""
    max_length: int = 50
    """The newest events that are read, beside the mask behind them; older ones are not seen."""
    mask_probability: float = 0.2
    """Each event of a training window is hidden, and asked for, with this probability; at least one is."""
    last_mask_probability: float = 0.5
    """In this share of the windows only the newest event is hidden, as when a history is scored."""
    dropout: float = 0.2
    """On the embedded input and on each block's two branches."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        if self.embedding_dim < 1 or self.num_layers < 1 or self.max_length < 1:
            raise ValueError(
                "embedding_dim, num_layers and max_length must be at least 1, "
                f"got {self.embedding_dim}, {self.num_layers}, {self.max_length}."
            )
        if self.num_heads < 1 or self.embedding_dim % (2 * self.num_heads):
            raise ValueError(
                f"embedding_dim must be an even multiple of num_heads, got {self.embedding_dim} and {self.num_heads}."
            )
        if not 0 < self.mask_probability < 1:
            raise ValueError(f"mask_probability must be above 0 and below 1, got {self.mask_probability}.")
        if not 0 <= self.last_mask_probability <= 1:
            raise ValueError(f"last_mask_probability must be in [0, 1], got {self.last_mask_probability}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
