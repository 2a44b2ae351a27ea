"""Settings that several networks share: time features, recurrent cells."""

from dataclasses import dataclass
from typing import Literal

CellName = Literal["gru", "lstm", "rnn"]
GATES: dict[CellName, int] = {"gru": 3, "lstm": 4, "rnn": 1}
"""Rows of a layer's gate matrix, in multiples of the hidden size (G / D)."""

TimeInput = Literal["gap", "daypart", "weekday"]


@dataclass(frozen=True)
class TimeConfig:
    """What a network is told of when each event happened."""

    time_inputs: tuple[TimeInput, ...] = ()
    """Of gap (since the event before), daypart (the hour) and weekday, each adds a vector to the event's own."""

    def __post_init__(self) -> None:
        if len(set(self.time_inputs)) < len(self.time_inputs):
            raise ValueError(f"time_inputs must not name an input twice, got {', '.join(self.time_inputs)}.")
