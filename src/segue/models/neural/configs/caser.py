"""Settings of Caser, convolutions over the newest events (Tang & Wang 2018), without user embeddings."""

from dataclasses import dataclass
from typing import Annotated

from segue.config.ranges import Range
from segue.models.neural.configs.shared import TimedNetworkConfig


@dataclass(frozen=True)
class CaserConfig(TimedNetworkConfig):
    """Size of the network.

    Differs from the paper: there is no user embedding, because known and anonymous users are both represented by their
    history. The embedding of the newest event is added to the hidden state instead.
    """

    window: Annotated[int, Range(ge=1)] = 5
    """L: number of newest events under the filters. A hidden state depends on these alone; ``max_length`` bounds only
    the training window."""
    num_horizontal_filters: Annotated[int, Range(ge=1)] = 16
    """Number of filters of each height from 1 to ``window`` events."""
    num_vertical_filters: Annotated[int, Range(ge=1)] = 4
    """Number of filters that are weighted sums of the window's events."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the output of the filters."""
