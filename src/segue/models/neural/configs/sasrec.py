"""Settings of SASRec, a causal transformer over the history (Kang & McAuley 2018)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from segue.config.ranges import Range
from segue.models.neural.configs.shared import TimedNetworkConfig, check_heads


@dataclass(frozen=True)
class SASRecConfig(TimedNetworkConfig):
    """Size of the network, its position encoding and its blocks.

    Raises:
        ValueError: a setting lies outside its range, ``num_heads`` does not divide ``embedding_dim``, or rotary
            position encoding has an odd width for each head.
    """

    num_layers: Annotated[int, Range(ge=1)] = 2
    """Number of transformer blocks."""
    num_heads: Annotated[int, Range(ge=1)] = 2
    """Number of attention heads; must divide embedding_dim."""
    position_encoding: Literal["learned", "reversed", "rotary", "none"] = "learned"
    """Embedding of each position, counted from the oldest event (learned) or from the newest one (reversed); rotary:
    relative distances in the attention; none: order by the causal mask alone."""
    block_type: Literal["prenorm", "ligr"] = "prenorm"
    """Type of the transformer blocks; ligr: gated branches and a SwiGLU feed-forward layer (the block of eSASRec)."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the embedded input and on both branches of each block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.num_heads)
        if self.position_encoding == "rotary" and self.embedding_dim // self.num_heads % 2:
            raise ValueError(
                "Rotary position encoding rotates pairs: embedding_dim / num_heads must be even, "
                f"got {self.embedding_dim} / {self.num_heads}."
            )
