"""DIN: each candidate weighs the user's events by itself (Zhou et al. 2018); for comparison.

Shape letters: B examples, C candidates, L events of a history, D width of item embeddings.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from segue.config.ranges import Range
from segue.models.numpy_layers import Weights, linear
from segue.models.rankers.layers_numpy import embed_history
from segue.models.rankers.pooled import pooled_log_odds
from segue.models.rankers.ranker_config import RankerConfig
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class DINConfig(RankerConfig):
    """Size of the network."""

    attention_units: Annotated[int, Range(ge=1)] = 36
    """Number of hidden units of the network that weighs an event."""


class NumpyDIN:
    """Trained DIN in numpy: v = sum over events of w(e_l, e_c) e_l, weights not normalized (eq. 3).

    w is a network with one hidden layer on both embeddings, their difference and their product; differs from the
    paper: rectified units instead of Dice.
    """

    item_history_length = 0

    def __init__(self, weights: Weights, config: DINConfig) -> None:
        self.weights = weights
        self.max_length = config.max_length

    def log_odds(self, features: RankerInput) -> np.ndarray:
        """See ``ClickNet.log_odds``."""
        weights, x_BLD = self.weights, embed_history(self.weights, features)
        candidate_BCD = weights["reader.table"][features.candidates_BC]
        x_BCLD, candidate_BCLD = np.broadcast_arrays(x_BLD[:, None], candidate_BCD[:, :, None])
        pairs = np.concatenate([x_BCLD, candidate_BCLD, x_BCLD - candidate_BCLD, x_BCLD * candidate_BCLD], axis=3)
        weight_BCL = linear(weights, "weigh", np.maximum(linear(weights, "compare", pairs), 0.0))[..., 0]
        return pooled_log_odds(weights, features, (weight_BCL * features.is_event[:, None]) @ x_BLD)
