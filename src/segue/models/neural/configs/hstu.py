"""Settings of HSTU, gated layers of pointwise attention over distances and times (Zhai et al. 2024)."""

from dataclasses import dataclass
from typing import Annotated

from segue.config.ranges import Range
from segue.models.neural.configs.shared import TimedNetworkConfig, check_heads


@dataclass(frozen=True)
class HSTUConfig(TimedNetworkConfig):
    """Size of the network, and its use of the target's time.

    Raises:
        ValueError: a setting lies outside its range, or ``num_heads`` does not divide ``embedding_dim``.
    """

    num_layers: Annotated[int, Range(ge=1)] = 2
    """Number of HSTU layers."""
    num_heads: Annotated[int, Range(ge=1)] = 2
    """Number of attention heads; must divide embedding_dim."""
    target_time: bool = False
    """Use the time of the event to predict: the time of a request, and in an evaluation the target's own timestamp.
    Metrics of such a model are therefore reported apart."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the embedded input and on the output of each layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.num_heads)
