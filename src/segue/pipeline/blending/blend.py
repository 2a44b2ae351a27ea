"""Blends of many sources' candidates into one score: by ranks, by scores, or with weights fitted on validation.

Shape letters: B batch, C candidates, S sources, F features, G cohorts of users.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.pipeline.blending.features import CONTEXT_FEATURES
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.config import BlendConfig


class Blend(Protocol):
    """Protocol of a blend: scores of candidates, higher is better, -inf for PAD."""

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """Return the scores of candidates, float64 [B, C]; -inf for PAD.

        Args:
            candidates: candidates of B histories.
            features_BCF: float32 features of ``blend_features``.
            lengths_B: number of known events of each history.
        """
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name; none for a blend without fitted weights."""
        ...


class ReciprocalRankBlend:
    """Reciprocal rank fusion: score(j) = sum over sources of weight / (constant + rank of j) (Cormack, Clarke &
    Buettcher 2009, eq. 1)."""

    def __init__(self, weights_S: np.ndarray, constant: float) -> None:
        self.weights_S = weights_S
        self.constant = constant

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """See ``Blend.scores``; uses ranks only."""
        reciprocal_BCS = np.where(candidates.ranks_BCS > 0, 1.0 / (self.constant + candidates.ranks_BCS), 0.0)
        return _mask_padding(candidates, reciprocal_BCS @ self.weights_S)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return no arrays: nothing is fitted."""
        return {}


class WeightedBlend:
    """Weighted sum of scores: score(j) = sum over sources of weight * score of j, scaled to [0, 1] over a history's
    candidates."""

    def __init__(self, weights_S: np.ndarray) -> None:
        self.weights_S = weights_S

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """See ``Blend.scores``; an item without a score of a source gets 0 from it."""
        is_scored_BCS = (
            (candidates.items_BC != PAD)[:, :, None]
            & np.isfinite(candidates.source_scores_BCS)
            & candidates.is_served_BS[:, None, :]
        )
        low_B1S = np.where(is_scored_BCS, candidates.source_scores_BCS, np.inf).min(axis=1, keepdims=True)
        high_B1S = np.where(is_scored_BCS, candidates.source_scores_BCS, -np.inf).max(axis=1, keepdims=True)
        span_B1S = np.where(high_B1S > low_B1S, high_B1S - low_B1S, 1.0)
        scaled_BCS = np.where(
            is_scored_BCS, (candidates.source_scores_BCS.astype(np.float64) - low_B1S) / span_B1S, 0.0
        )
        return _mask_padding(candidates, scaled_BCS @ self.weights_S)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return no arrays: nothing is fitted."""
        return {}


class LearnedBlend:
    """Conditional logit (McFadden 1974): score(j) = weights of the user's cohort . features of j.

    The softmax of the scores is the probability that j is the next item. A feature outside the range of training
    (``bounds_2F``: smallest and largest) is clipped: an item without events must not profit from a slope that was
    fitted to popular items.
    """

    def __init__(self, weights_GF: np.ndarray, edges_G: np.ndarray, bounds_2F: np.ndarray) -> None:
        self.weights_GF = weights_GF
        self.edges_G = edges_G
        self.bounds_2F = bounds_2F

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "LearnedBlend":
        """Return the blend that ``arrays`` saved."""
        return cls(arrays["weights"], arrays["edges"], arrays["bounds"])

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """See ``Blend.scores``."""
        return _mask_padding(candidates, self.linear(features_BCF, lengths_B))

    def linear(self, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """Return the scores without a mask, float64 [B, C]; an arbitrary value for PAD.

        Args:
            features_BCF: float32 features of ``blend_features``.
            lengths_B: number of known events of each history.
        """
        weights_BF = self.weights_GF[np.searchsorted(self.edges_G, lengths_B, side="right") - 1].astype(np.float32)
        linear_BC1 = np.matmul(self.clip(features_BCF), weights_BF[:, :, None])
        return linear_BC1[:, :, 0].astype(np.float64)

    def clip(self, features_BCF: np.ndarray) -> np.ndarray:
        """Return the weighted features, clipped to the range of training, float32 [B, C, F without context]."""
        clipped_BCF: np.ndarray = np.clip(features_BCF[:, :, : self.weights_GF.shape[1]], *self.bounds_2F)
        return clipped_BCF

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name."""
        return {"weights": self.weights_GF, "edges": self.edges_G, "bounds": self.bounds_2F}


def fit_learned_blend(
    features_BCF: np.ndarray,
    is_candidate_BC: np.ndarray,
    target_B: np.ndarray,
    lengths_B: np.ndarray,
    config: BlendConfig,
) -> LearnedBlend:
    """Fit the weights of maximum likelihood of the targets.

    First the weights of all users are fitted, pulled to zero by ``ridge``, then those of each cohort, pulled to the
    former by ``cohort_ridge``: a cohort of few cases keeps the former. Features are scaled to a spread of 1, so that
    the penalty is equal for each.

    Args:
        features_BCF: float32 features of the candidates.
        is_candidate_BC: bool, False for PAD.
        target_B: column of each target.
        lengths_B: number of known events of each history.
        config: penalties and cohorts.
    """
    x_BCF = features_BCF[:, :, : features_BCF.shape[2] - len(CONTEXT_FEATURES)]
    real_NF = x_BCF[is_candidate_BC]
    bounds_2F = np.stack([real_NF.min(axis=0), real_NF.max(axis=0)])
    scale_F = np.maximum(real_NF.std(axis=0, dtype=np.float64), 1e-3)
    x_BCF = (x_BCF / scale_F).astype(np.float32)
    all_users_F = fit_conditional_logit(x_BCF, is_candidate_BC, target_B, np.zeros(x_BCF.shape[2]), config.ridge)
    edges_G = np.array(config.cohorts, dtype=np.int64)
    group_B = np.searchsorted(edges_G, lengths_B, side="right") - 1
    weights_GF = np.tile(all_users_F, (len(edges_G), 1))
    for g in range(len(edges_G)):
        in_cohort_B = group_B == g
        if in_cohort_B.any():
            part = (x_BCF[in_cohort_B], is_candidate_BC[in_cohort_B], target_B[in_cohort_B])
            weights_GF[g] = fit_conditional_logit(*part, all_users_F, config.cohort_ridge)
    return LearnedBlend(weights_GF / scale_F, edges_G, bounds_2F)


def fit_conditional_logit(
    x_BCF: np.ndarray,
    is_candidate_BC: np.ndarray,
    target_B: np.ndarray,
    towards_F: np.ndarray,
    ridge: float,
    base_BC: np.ndarray | None = None,
) -> np.ndarray:
    """Minimize -sum log softmax(base + x w)[target] + ridge / 2 * |w - towards|^2 by L-BFGS.

    Args:
        x_BCF: float32 features.
        is_candidate_BC: bool, False for PAD.
        target_B: column of each target.
        towards_F: weights that the penalty pulls to, and the start.
        ridge: strength of the penalty.
        base_BC: scores to add; None: 0.

    Returns:
        Weights w, float64 [F].
    """
    from scipy.optimize import minimize

    batch, width, count = x_BCF.shape
    flat_NF = x_BCF.reshape(batch * width, count)
    target_sum_F = x_BCF[np.arange(batch), target_B].sum(axis=0, dtype=np.float64)

    def value(weights_F: np.ndarray) -> tuple[float, np.ndarray]:
        scores_BC = (flat_NF @ weights_F.astype(np.float32)).reshape(batch, width).astype(np.float64)
        if base_BC is not None:
            scores_BC += base_BC
        scores_BC[~is_candidate_BC] = -np.inf
        top_B1 = scores_BC.max(axis=1, keepdims=True)
        probabilities_BC = np.exp(scores_BC - top_B1)
        total_B1 = probabilities_BC.sum(axis=1, keepdims=True)
        probabilities_BC /= total_B1
        away_F = weights_F - towards_F
        target_scores_B = scores_BC[np.arange(batch), target_B]
        loss = float((np.log(total_B1) + top_B1).sum() - target_scores_B.sum() + 0.5 * ridge * away_F @ away_F)
        slope_F = probabilities_BC.astype(np.float32).ravel() @ flat_NF - target_sum_F + ridge * away_F
        return loss, slope_F.astype(np.float64)

    result: Any = minimize(value, towards_F, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    weights_F: np.ndarray = result.x
    return weights_F


def unlearned_blend(config: BlendConfig, sources: Sequence[str]) -> ReciprocalRankBlend | WeightedBlend:
    """Return the blend without fitted weights; for 'learned' it is reciprocal rank, until weights are fitted.

    Args:
        config: method and weights.
        sources: names of the sources, in order.
    """
    weights_S = np.array([float(config.weights.get(name, 1.0)) for name in sources])
    if config.method == "weighted":
        return WeightedBlend(weights_S)
    return ReciprocalRankBlend(weights_S, config.constant)


def _mask_padding(candidates: CandidateSet, scores_BC: np.ndarray) -> np.ndarray:
    """Return the scores with -inf for PAD."""
    return np.where(candidates.items_BC == PAD, -np.inf, scores_BC)
