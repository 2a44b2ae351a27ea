"""Ranking cases: candidates with features and one target, the examples that blend, trees and cold-start scores fit.

Shape letters: N cases, C candidates, F features.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RankingCases:
    """Cases of validation whose target is among the candidates."""

    features_NCF: np.ndarray
    """float32: features of each candidate, see ``blend_features``."""
    is_candidate_NC: np.ndarray
    """bool: False for PAD."""
    target_N: np.ndarray
    """int64: column of each target."""
    base_scores_NC: np.ndarray
    """float64: scores to improve on; an arbitrary value for PAD."""
