"""DIN: each candidate weighs the person's events by itself (Zhou et al. 2018), served by numpy; for comparison.

Shape letters: B cases, C candidates, L events of a history, D width of item vectors.
"""

from dataclasses import dataclass

import numpy as np

from segue.models.rankers.layers_numpy import Weights, encode_history, linear
from segue.models.rankers.pooled import check_shape, pooled_log_odds
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class DINConfig:
    """The shape of the network."""

    embedding_dim: int = 32
    """Width of item vectors."""
    max_length: int = 20
    """The newest events of a history that are read."""
    attention_units: int = 36
    """Units of the network that weighs an event."""
    dropout: float = 0.2
    """On what enters the last layers."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""

    def __post_init__(self) -> None:
        check_shape(self.embedding_dim, self.max_length, self.dropout)
        if self.attention_units < 1:
            raise ValueError(f"attention_units must be at least 1, got {self.attention_units}.")


class NumpyDIN:
    """The trained network in numpy: v = sum over events of w(e_l, e_c) e_l, weights not normalized (eq. 3).

    w is a network of one hidden layer on both vectors, their difference and their product; rectified units stand where
    the paper has Dice.
    """

    width = 0

    def __init__(self, weights: Weights, config: DINConfig) -> None:
        self.weights = weights
        self.length = config.max_length

    def log_odds(self, seen: RankerInput) -> np.ndarray:
        """[B, C]."""
        weights, x_BLD = self.weights, encode_history(self.weights, seen)
        asked_BCD = weights["reader.table"][seen.candidates_BC]
        x_BCLD, asked_BCLD = np.broadcast_arrays(x_BLD[:, None], asked_BCD[:, :, None])
        pairs = np.concatenate([x_BCLD, asked_BCLD, x_BCLD - asked_BCLD, x_BCLD * asked_BCLD], axis=3)
        weight_BCL = linear(weights, "weigh", np.maximum(linear(weights, "compare", pairs), 0.0))[..., 0]
        return pooled_log_odds(weights, seen, (weight_BCL * seen.inside[:, None]) @ x_BLD)
