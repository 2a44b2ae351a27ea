"""Settings of BERT4Rec, a bidirectional transformer that predicts masked events (Sun et al. 2019)."""

from dataclasses import dataclass
from typing import Annotated

from segue.config.ranges import Range
from segue.models.neural.configs.shared import NetworkConfig


@dataclass(frozen=True)
class BERT4RecConfig(NetworkConfig):
    """Size of the network, and the masking of its training windows.

    Raises:
        ValueError: a setting lies outside its range, or ``embedding_dim`` is no even multiple of ``num_heads``.
    """

    num_layers: Annotated[int, Range(ge=1)] = 2
    """Number of transformer blocks."""
    num_heads: Annotated[int, Range(ge=1)] = 2
    """Number of attention heads; each gets embedding_dim / num_heads dimensions, which must be even."""
    mask_probability: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """Probability that an event of a training window is masked and predicted; at least one event always is."""
    last_mask_probability: Annotated[float, Range(ge=0, le=1)] = 0.5
    """Share of the training windows in which only the newest event is masked, as when a history is scored."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the embedded input and on both branches of each block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim % (2 * self.num_heads):
            raise ValueError(
                f"embedding_dim must be an even multiple of num_heads, got {self.embedding_dim} and {self.num_heads}."
            )
