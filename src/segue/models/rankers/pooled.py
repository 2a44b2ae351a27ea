"""The pooled baseline: a person is the mean of their events, whatever is asked; "base model" of Zhou et al. 2018.

Shape letters: B cases, C candidates, L events of a history, D width of item vectors.
"""

from dataclasses import dataclass

import numpy as np

from segue.models.rankers.layers_numpy import Weights, embed_buckets, encode_history, head
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class PooledRankerConfig:
    """The shape of the network."""

    embedding_dim: int = 32
    """Width of item vectors."""
    max_length: int = 20
    """The newest events of a history that are read."""
    dropout: float = 0.2
    """On what enters the last layers."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""

    def __post_init__(self) -> None:
        check_shape(self.embedding_dim, self.max_length, self.dropout)


def check_shape(dim: int, length: int, dropout: float) -> None:
    """ValueError for a width or length below 1, or a dropout outside [0, 1)."""
    if dim < 1 or length < 1:
        raise ValueError(f"embedding_dim and max_length must be at least 1, got {dim} and {length}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}.")


class NumpyPooled:
    """The trained network in numpy."""

    width = 0

    def __init__(self, weights: Weights, config: PooledRankerConfig) -> None:
        self.weights = weights
        self.length = config.max_length

    def log_odds(self, seen: RankerInput) -> np.ndarray:
        """[B, C]."""
        weights = self.weights
        x_BLD = encode_history(weights, seen)
        person_BD = x_BLD.sum(axis=1) / np.maximum(seen.lengths_B, 1).astype(np.float32)[:, None]
        return pooled_log_odds(
            weights, seen, np.broadcast_to(person_BD[:, None], (*seen.candidates_BC.shape, x_BLD.shape[2]))
        )


def pooled_log_odds(weights: Weights, seen: RankerInput, person_BCD: np.ndarray) -> np.ndarray:
    """Log-odds [B, C] from the person as each candidate sees them, the candidate, their product, and the facts."""
    asked_BCD = weights["reader.table"][seen.candidates_BC]
    facts_BX = embed_buckets(weights["reader.facts"], seen.facts_BX)
    told_BCX = np.broadcast_to(facts_BX[:, None], (*asked_BCD.shape[:2], facts_BX.shape[1]))
    return head(weights, [person_BCD, asked_BCD, person_BCD * asked_BCD, told_BCX])
