"""Settings that all rankers share."""

from dataclasses import dataclass
from typing import Annotated

from segue.config.ranges import Range, check_ranges


@dataclass(frozen=True)
class RankerConfig:
    """Sizes, dropout and initialization of a ranker's network.

    Raises:
        ValueError: a setting lies outside its range.
    """

    embedding_dim: Annotated[int, Range(ge=1)] = 32
    """Width of item embeddings."""
    max_length: Annotated[int, Range(ge=1)] = 20
    """Number of newest events of a history that are read."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the input of the last layers."""
    spectral_init: bool = True
    """Initialize item embeddings by the SVD of the log's windowed co-occurrence instead of at random."""

    def __post_init__(self) -> None:
        check_ranges(self)
