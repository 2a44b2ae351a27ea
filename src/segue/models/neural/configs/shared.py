"""Settings that several networks share: sizes, output layer, initialization, time features, recurrent cells."""

from dataclasses import dataclass
from typing import Annotated, Literal

from segue.config.ranges import Range, check_ranges

CellName = Literal["gru", "lstm", "rnn"]
GATES: dict[CellName, int] = {"gru": 3, "lstm": 4, "rnn": 1}
"""Rows of a layer's gate matrix, in multiples of the hidden size (G / D)."""

TimeInput = Literal["gap", "daypart", "weekday"]


@dataclass(frozen=True)
class NetworkConfig:
    """Settings of every network that scores items by their embeddings.

    Raises:
        ValueError: a setting lies outside its range.
    """

    embedding_dim: Annotated[int, Range(ge=1)] = 64
    """Width of item embeddings and hidden states."""
    max_length: Annotated[int, Range(ge=1)] = 50
    """Number of newest events of a history that the network reads; also the longest training window."""
    temperature: Annotated[float | None, Range(gt=0)] = 0.07
    """Divisor of the cosine between query and item embedding; 'none': a dot product and a bias for each item."""
    spectral_init: bool = True
    """Initialize item embeddings by the SVD of the log's windowed co-occurrence instead of at random."""
    covisitation_weight: Annotated[float | None, Range(ge=0)] = None
    """Weight of the co-visitation model that is added to the scores; 'none': chosen on validation (0 without one)."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class TimeConfig:
    """Time features of events, for networks that can read them.

    Raises:
        ValueError: an input is named twice.
    """

    time_inputs: tuple[TimeInput, ...] = ()
    """Any of gap (time since the event before), daypart (hour) and weekday, all in UTC. Each adds its embedding to the
    item embedding of the event."""

    def __post_init__(self) -> None:
        if len(set(self.time_inputs)) < len(self.time_inputs):
            raise ValueError(f"time_inputs must not name an input twice, got {', '.join(self.time_inputs)}.")


@dataclass(frozen=True)
class TimedNetworkConfig(TimeConfig, NetworkConfig):
    """Settings of every network that can read the times of events."""

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        TimeConfig.__post_init__(self)


def check_heads(embedding_dim: int, num_heads: int) -> None:
    """Check that every attention head gets the same part of the embedding.

    Args:
        embedding_dim: width of the hidden states.
        num_heads: number of attention heads, at least 1.

    Raises:
        ValueError: the width is no multiple of the number of heads.
    """
    if embedding_dim % num_heads:
        raise ValueError(f"num_heads must divide embedding_dim, got {num_heads} and {embedding_dim}.")
