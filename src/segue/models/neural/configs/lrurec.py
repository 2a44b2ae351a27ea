"""Settings of LRURec, layers of linear recurrence (Yue et al. 2024, after Orvieto et al. 2023)."""

from dataclasses import dataclass
from typing import Annotated

from segue.config.ranges import Range
from segue.models.neural.configs.shared import TimedNetworkConfig


@dataclass(frozen=True)
class LRURecConfig(TimedNetworkConfig):
    """Size of the network."""

    num_layers: Annotated[int, Range(ge=1)] = 2
    """Number of blocks, each a linear recurrence and a feed-forward layer."""
    expansion: Annotated[int, Range(ge=1)] = 1
    """Number of complex state dimensions of a recurrence for each dimension of the embedding."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the embedded input and on both branches of each block."""
