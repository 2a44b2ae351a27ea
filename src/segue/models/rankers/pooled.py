"""Pooled ranker, the baseline: the user embedding is the mean of the events ("base model" of Zhou et al. 2018).

Shape letters: B examples, C candidates, L events of a history, D width of item embeddings.
"""

from dataclasses import dataclass

import numpy as np

from segue.models.numpy_layers import Weights
from segue.models.rankers.layers_numpy import embed_buckets, embed_history, output_layers
from segue.models.rankers.ranker_config import RankerConfig
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class PooledRankerConfig(RankerConfig):
    """Size of the network."""


class NumpyPooled:
    """Trained pooled ranker in numpy."""

    item_history_length = 0

    def __init__(self, weights: Weights, config: PooledRankerConfig) -> None:
        self.weights = weights
        self.max_length = config.max_length

    def log_odds(self, features: RankerInput) -> np.ndarray:
        """See ``ClickNet.log_odds``."""
        weights = self.weights
        x_BLD = embed_history(weights, features)
        user_BD = x_BLD.sum(axis=1) / np.maximum(features.lengths_B, 1).astype(np.float32)[:, None]
        shape = (*features.candidates_BC.shape, x_BLD.shape[2])
        return pooled_log_odds(weights, features, np.broadcast_to(user_BD[:, None], shape))


def pooled_log_odds(weights: Weights, features: RankerInput, user_BCD: np.ndarray) -> np.ndarray:
    """Return log odds from user embedding, candidate embedding, their product, and the user's features.

    Args:
        weights: parameters of the ranker.
        features: input of the ranker.
        user_BCD: float32 [B, C, D], user embedding with respect to each candidate.

    Returns:
        float32 [B, C].
    """
    candidate_BCD = weights["reader.table"][features.candidates_BC]
    embedded_BX = embed_buckets(weights["reader.features"], features.features_BX)
    embedded_BCX = np.broadcast_to(embedded_BX[:, None], (*candidate_BCD.shape[:2], embedded_BX.shape[1]))
    return output_layers(weights, [user_BCD, candidate_BCD, user_BCD * candidate_BCD, embedded_BCX])
