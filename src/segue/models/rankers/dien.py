"""DIEN: a recurrence over the person's events, and a second one that each candidate steers (Zhou et al. 2019), served
by numpy; for comparison.

Shape letters: B cases, C candidates, L events of a history, D width of item vectors and states.
"""

from dataclasses import dataclass

import numpy as np

from segue.models.rankers.layers_numpy import Weights, encode_history, gru_scan, linear, masked_softmax
from segue.models.rankers.pooled import check_shape, pooled_log_odds
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class DIENConfig:
    """The shape of the network."""

    embedding_dim: int = 32
    """Width of item vectors and of the states."""
    max_length: int = 20
    """The newest events of a history that are read."""
    auxiliary_loss_weight: float = 1.0
    """Weight of the auxiliary loss, which asks each state for the next event (eq. 7)."""
    dropout: float = 0.2
    """On what enters the last layers."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""

    def __post_init__(self) -> None:
        check_shape(self.embedding_dim, self.max_length, self.dropout)
        if self.auxiliary_loss_weight < 0:
            raise ValueError(f"auxiliary_loss_weight must not be negative, got {self.auxiliary_loss_weight}.")


class NumpyDIEN:
    """The trained network in numpy: states h_l of a GRU, shares a_l = softmax of h_l W e_c (eq. 8), and the last state
    of an AUGRU over the h_l (eqs. 15-16)."""

    width = 0

    def __init__(self, weights: Weights, config: DIENConfig) -> None:
        self.weights = weights
        self.length = config.max_length

    def log_odds(self, seen: RankerInput) -> np.ndarray:
        """[B, C]."""
        weights = self.weights
        state_BLD = gru_scan(weights, "interest", encode_history(weights, seen)) * seen.inside[..., None]
        asked_BCD = weights["reader.table"][seen.candidates_BC]
        batch, count, dim = asked_BCD.shape
        score_BCL = asked_BCD @ linear(weights, "match", state_BLD).transpose(0, 2, 1)
        share_BCL = masked_softmax(score_BCL, seen.inside[:, None])
        length = state_BLD.shape[1]
        repeated = np.broadcast_to(state_BLD[:, None], (batch, count, length, dim)).reshape(-1, length, dim)
        evolved_PLD = gru_scan(weights, "evolve", repeated, share_BCL.reshape(-1, length))
        # A share of zero keeps the state, so that the last column holds it behind any padding.
        return pooled_log_odds(weights, seen, evolved_PLD[:, -1].reshape(batch, count, dim))
