"""DIEN: a GRU over the user's events, and a second one steered by each candidate (Zhou et al. 2019); for comparison.

Shape letters: B examples, C candidates, L events of a history, D width of item embeddings and states, P = B C pairs.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from segue.config.ranges import Range
from segue.models.numpy_layers import Weights, linear, masked_softmax
from segue.models.rankers.layers_numpy import embed_history, gru_scan
from segue.models.rankers.pooled import pooled_log_odds
from segue.models.rankers.ranker_config import RankerConfig
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class DIENConfig(RankerConfig):
    """Size of the network; ``embedding_dim`` is also the width of the states."""

    auxiliary_loss_weight: Annotated[float, Range(ge=0)] = 1.0
    """Weight of the auxiliary loss, which predicts the next event from each state (eq. 7)."""


class NumpyDIEN:
    """Trained DIEN in numpy.

    States h_l of a GRU, attention a_l = softmax of h_l W e_c (eq. 8), and the last state of an AUGRU over the h_l
    (eqs. 15-16).
    """

    item_history_length = 0

    def __init__(self, weights: Weights, config: DIENConfig) -> None:
        self.weights = weights
        self.max_length = config.max_length

    def log_odds(self, features: RankerInput) -> np.ndarray:
        """See ``ClickNet.log_odds``."""
        weights = self.weights
        state_BLD = gru_scan(weights, "interest", embed_history(weights, features)) * features.is_event[..., None]
        candidate_BCD = weights["reader.table"][features.candidates_BC]
        batch, count, dim = candidate_BCD.shape
        score_BCL = candidate_BCD @ linear(weights, "match", state_BLD).transpose(0, 2, 1)
        attention_BCL = masked_softmax(score_BCL, features.is_event[:, None])
        length = state_BLD.shape[1]
        repeated = np.broadcast_to(state_BLD[:, None], (batch, count, length, dim)).reshape(-1, length, dim)
        evolved_PLD = gru_scan(weights, "evolve", repeated, attention_BCL.reshape(-1, length))
        # Attention 0 keeps the state, so the last column is the last state also behind padding.
        return pooled_log_odds(weights, features, evolved_PLD[:, -1].reshape(batch, count, dim))
