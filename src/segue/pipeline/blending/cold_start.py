"""Items that nobody has taken yet, among candidates: weighed by the sources that can know of them, not by silence.

A source that counts events gives such an item its lowest level. That is no verdict, and weights learned on items with
a past must not take it for one. Shape letters: N cases, C candidates, F signals, S sources, K of them that can
know of newcomers.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from segue.pipeline.blending.blend import fit_conditional_logit
from segue.pipeline.blending.features import MAX_ABS_Z
from segue.pipeline.blending.ranking_cases import RankingCases
from segue.pipeline.candidates.source import CandidateSource

RIDGE = 1.0
"""How strongly weights are pulled towards zero; levels are scaled to a spread of 1 meanwhile."""
MIN_CASES = 20
"""With fewer cases nothing is learned."""


class ColdStartScorer:
    """score(j) = level + weights . the levels of j at the sources that can know of it, on the scale of the pipeline's
    other scores."""

    def __init__(self, sources_K: np.ndarray, weights_K: np.ndarray, level: float) -> None:
        self.sources_K = sources_K
        self.weights_K = weights_K
        self.level = level

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "ColdStartScorer":
        """What ``arrays`` gave."""
        return cls(arrays["sources"], arrays["weights"], float(arrays["level"][0]))

    def scores(self, features_NCF: np.ndarray) -> np.ndarray:
        """float64 [N, C]; means something for newcomers alone."""
        scores_NC: np.ndarray = _levels(features_NCF, self.sources_K) @ self.weights_K + self.level
        return scores_NC

    def rescaled(self, scale: float = 1.0, offset: float = 0.0) -> "ColdStartScorer":
        """With scores ``times`` as wide, and then all of them so much higher."""
        return ColdStartScorer(self.sources_K, self.weights_K * scale, self.level * scale + offset)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"sources": self.sources_K, "weights": self.weights_K, "level": np.array([self.level])}


def is_cold(features_NCF: np.ndarray, num_sources: int) -> np.ndarray:
    """bool [N, C]: candidates without any event, which is where their popularity is 0; true at PAD too."""
    is_cold_NC: np.ndarray = features_NCF[:, :, 2 * num_sources] == 0
    return is_cold_NC


def sources_with_item_features(sources: Sequence[CandidateSource]) -> np.ndarray:
    """int64 [K]: the numbers of the sources that can know of an item without events."""
    return np.array([s for s, source in enumerate(sources) if source.uses_item_features], dtype=np.int64)


def _levels(features_NCF: np.ndarray, sources_K: np.ndarray) -> np.ndarray:
    """float32 [N, C, K]: how far below its best each source sees the candidates; as far as can be for people whom it
    does not serve, of whom it says 0 throughout."""
    is_unserved_N1K = (features_NCF[:, :, 2 * sources_K + 1] == 0).all(axis=1, keepdims=True)
    levels_NCK: np.ndarray = np.where(is_unserved_N1K, -MAX_ABS_Z, features_NCF[:, :, 2 * sources_K])
    return levels_NCK


def fit_cold_start_scorer(cases: RankingCases, sources: Sequence[CandidateSource], seed: int) -> ColdStartScorer | None:
    """From cases (signals [N, C, F], who is there [N, C], the target's place [N]) of items that have a past.

    Half of the candidates, drawn anew in each case, pose as newcomers: they keep the levels of ``telling`` sources,
    and are not there where none of those gave them. Under the weights that are found the targets are likeliest while
    the other half keeps its ``scores_NC`` (in natural logarithms). None where no source can know of newcomers, or too
    few cases are left.
    """
    features_NCF, is_candidate_NC, target_N = cases.features_NCF, cases.is_candidate_NC, cases.target_N
    sources_K = sources_with_item_features(sources)
    if not len(sources_K):
        return None
    masked_NC = np.random.default_rng((seed, 13)).random(is_candidate_NC.shape) < 0.5
    is_candidate_NC = is_candidate_NC & (_is_given(features_NCF, sources, sources_K) | ~masked_NC)
    rows_N = is_candidate_NC[np.arange(len(target_N)), target_N]
    if rows_N.sum() < MIN_CASES:
        return None
    masked_NC, is_candidate_NC, target_N = masked_NC[rows_N], is_candidate_NC[rows_N], target_N[rows_N]
    levels_NCK = _levels(features_NCF[rows_N], sources_K)
    scale_K = np.maximum(levels_NCK[is_candidate_NC].std(axis=0, dtype=np.float64), 1e-3)
    x_NCK = np.concatenate([levels_NCK / scale_K, np.ones((*masked_NC.shape, 1))], axis=2) * masked_NC[:, :, None]
    base_NC = np.where(masked_NC, 0.0, cases.base_scores_NC[rows_N])
    zeros_K = np.zeros(x_NCK.shape[2])
    weights_K = fit_conditional_logit(x_NCK.astype(np.float32), is_candidate_NC, target_N, zeros_K, RIDGE, base_NC)
    return ColdStartScorer(sources_K, weights_K[:-1] / scale_K, float(weights_K[-1]))


def _is_given(features_NCF: np.ndarray, sources: Sequence[CandidateSource], sources_K: np.ndarray) -> np.ndarray:
    """bool [N, C]: whether one of those sources has the candidate in its list."""
    last_rank_K = np.array([sources[k].config.num_candidates + 0.5 for k in sources_K.tolist()])
    is_given_NC: np.ndarray = (features_NCF[:, :, 2 * sources_K + 1] > -np.log(last_rank_K)).any(axis=2)
    return is_given_NC


def cold_start_offset(
    is_cold_NC: np.ndarray, is_candidate_NC: np.ndarray, scores_NC: np.ndarray, num_targets: int
) -> float:
    """What raises all newcomers' scores so that they are expected about as often as they ``came`` in these N cases:
    the logarithm of the ratio, each with one more. ``scores_NC``: natural logarithms, newcomers' among them."""
    scores_NC = np.where(is_candidate_NC, scores_NC, -np.inf)
    probabilities_NC = np.exp(scores_NC - scores_NC.max(axis=1, keepdims=True))
    expected = float(
        (np.where(is_cold_NC & is_candidate_NC, probabilities_NC, 0.0).sum(axis=1) / probabilities_NC.sum(axis=1)).sum()
    )
    return math.log((num_targets + 1) / (expected + 1))
