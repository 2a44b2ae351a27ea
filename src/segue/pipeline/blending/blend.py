"""Many sources' opinions of a candidate -> one score: by places, by scores, or with weights learned on validation.

Shape letters: B batch, C candidates, S sources, F signals, G cohorts of people.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.pipeline.blending.features import CONTEXT_FEATURES
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.config import BlendConfig


class Blend(Protocol):
    """Scores candidates; higher is better, PAD gets -inf."""

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]; ``lengths_B``: how many events each history has."""
        ...

    def arrays(self) -> dict[str, np.ndarray]: ...


class ReciprocalRankBlend:
    """score(j) = sum over sources of weight / (constant + place of j) (Cormack, Clarke & Buettcher 2009, eq. 1)."""

    def __init__(self, weights_S: np.ndarray, constant: float) -> None:
        self.weights_S = weights_S
        self.constant = constant

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]; looks at places alone."""
        given_BCS = np.where(candidates.ranks_BCS > 0, 1.0 / (self.constant + candidates.ranks_BCS), 0.0)
        return _mask_padding(candidates, given_BCS @ self.weights_S)

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing is learned."""
        return {}


class WeightedBlend:
    """score(j) = sum over sources of weight * the source's score of j, scaled so that a history's candidates span 0
    to 1."""

    def __init__(self, weights_S: np.ndarray) -> None:
        self.weights_S = weights_S

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]; an item of which a source has no opinion gets its 0."""
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
        """Nothing is learned."""
        return {}


class LearnedBlend:
    """score(j) = weights of the person's cohort . signals of j: softmax of it over the candidates is the probability
    that j is what comes next, the conditional logit of McFadden (1974).

    A signal beyond what was learned from (``bounds_2F``: least and most) counts as the nearest that was: an item that
    nobody ever took must not profit from a slope that was fitted to popular ones.
    """

    def __init__(self, weights_GF: np.ndarray, edges_G: np.ndarray, bounds_2F: np.ndarray) -> None:
        self.weights_GF = weights_GF
        self.edges_G = edges_G
        self.bounds_2F = bounds_2F

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "LearnedBlend":
        """What ``arrays`` gave."""
        return cls(arrays["weights"], arrays["edges"], arrays["bounds"])

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]."""
        return _mask_padding(candidates, self.linear(features_BCF, lengths_B))

    def linear(self, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]; PAD gets anything."""
        own_BF = self.weights_GF[np.searchsorted(self.edges_G, lengths_B, side="right") - 1].astype(np.float32)
        linear_BC1 = np.matmul(self.clip(features_BCF), own_BF[:, :, None])
        return linear_BC1[:, :, 0].astype(np.float64)

    def clip(self, features_BCF: np.ndarray) -> np.ndarray:
        """float32 [B, C, weighed signals]: what is weighed."""
        clipped_BCF: np.ndarray = np.clip(features_BCF[:, :, : self.weights_GF.shape[1]], *self.bounds_2F)
        return clipped_BCF

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"weights": self.weights_GF, "edges": self.edges_G, "bounds": self.bounds_2F}


def fit_learned_blend(
    features_BCF: np.ndarray,
    is_candidate_BC: np.ndarray,
    target_B: np.ndarray,
    lengths_B: np.ndarray,
    config: BlendConfig,
) -> LearnedBlend:
    """The weights under which the items that came next are likeliest.

    ``target_B``: the place of each case's target among its candidates. First everybody's weights, pulled towards
    zero by ``ridge``; then each cohort's, pulled towards everybody's by ``cohort_ridge``: a cohort of few cases keeps
    theirs. Signals are scaled meanwhile, so that the pull is the same for each.
    """
    x_BCF = features_BCF[:, :, : features_BCF.shape[2] - len(CONTEXT_FEATURES)]
    real_NF = x_BCF[is_candidate_BC]
    bounds_2F = np.stack([real_NF.min(axis=0), real_NF.max(axis=0)])
    scale_F = np.maximum(real_NF.std(axis=0, dtype=np.float64), 1e-3)
    x_BCF = (x_BCF / scale_F).astype(np.float32)
    everybody_F = fit_conditional_logit(x_BCF, is_candidate_BC, target_B, np.zeros(x_BCF.shape[2]), config.ridge)
    edges_G = np.array(config.cohorts, dtype=np.int64)
    group_B = np.searchsorted(edges_G, lengths_B, side="right") - 1
    weights_GF = np.tile(everybody_F, (len(edges_G), 1))
    for g in range(len(edges_G)):
        own_B = group_B == g
        if own_B.any():
            part = (x_BCF[own_B], is_candidate_BC[own_B], target_B[own_B])
            weights_GF[g] = fit_conditional_logit(*part, everybody_F, config.cohort_ridge)
    return LearnedBlend(weights_GF / scale_F, edges_G, bounds_2F)


def fit_conditional_logit(
    x_BCF: np.ndarray,
    is_candidate_BC: np.ndarray,
    target_B: np.ndarray,
    towards_F: np.ndarray,
    ridge: float,
    base_BC: np.ndarray | None = None,
) -> np.ndarray:
    """float64 [F]: minimises -sum log softmax(base + x w)[target] + ridge / 2 * |w - towards|^2, by L-BFGS; without a
    ``base_BC`` there is none."""
    from scipy.optimize import minimize

    batch, width, count = x_BCF.shape
    flat_NF = x_BCF.reshape(batch * width, count)
    aim_F = x_BCF[np.arange(batch), target_B].sum(axis=0, dtype=np.float64)

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
        own_B = scores_BC[np.arange(batch), target_B]
        loss = float((np.log(total_B1) + top_B1).sum() - own_B.sum() + 0.5 * ridge * away_F @ away_F)
        slope_F = probabilities_BC.astype(np.float32).ravel() @ flat_NF - aim_F + ridge * away_F
        return loss, slope_F.astype(np.float64)

    found: Any = minimize(value, towards_F, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    weights_F: np.ndarray = found.x
    return weights_F


def unlearned_blend(config: BlendConfig, sources: Sequence[str]) -> ReciprocalRankBlend | WeightedBlend:
    """The blend that needs no learning; reciprocal-rank also stands in before weights are learned."""
    weights_S = np.array([float(config.weights.get(name, 1.0)) for name in sources])
    if config.method == "weighted":
        return WeightedBlend(weights_S)
    return ReciprocalRankBlend(weights_S, config.constant)


def _mask_padding(candidates: CandidateSet, scores_BC: np.ndarray) -> np.ndarray:
    """The scores with -inf at PAD."""
    return np.where(candidates.items_BC == PAD, -np.inf, scores_BC)
