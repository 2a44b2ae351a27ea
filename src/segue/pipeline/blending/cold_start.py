"""Scores of cold items among the candidates, from the sources that score items without events.

A source that counts events gives a cold item its lowest level. That is no evidence, and weights that were fitted on
items with events must not use it. Shape letters: N cases, C candidates, F features, S sources, K sources that score
cold items.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from segue.models.probabilities.temperature_mixture import TemperatureMixture
from segue.pipeline.blending.blend import fit_conditional_logit
from segue.pipeline.blending.features import MAX_ABS_Z
from segue.pipeline.blending.ranking_cases import RankingCases
from segue.pipeline.candidates.source import CandidateSource

RIDGE = 1.0
"""L2 penalty of the weights; levels have a spread of 1 during the fit."""
MIN_CASES = 20
"""Smallest number of cases that weights are fitted on."""


class ColdStartScorer:
    """Linear scorer of cold items: score(j) = level + weights . levels of j at the sources that score cold items.

    Its scores are log weights beside the probabilities of the items with events, which sum to 1. So the share of the
    cold items does not depend on the temperatures of the others.
    """

    def __init__(self, sources_K: np.ndarray, weights_K: np.ndarray, level: float, mixture: TemperatureMixture) -> None:
        self.sources_K = sources_K
        self.weights_K = weights_K
        self.level = level
        self.mixture = mixture
        """Temperatures that make the scores of items with events log-probabilities."""

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "ColdStartScorer":
        """Return the scorer that ``arrays`` saved."""
        mixture = TemperatureMixture(*(float(value) for value in arrays["mixture"]))
        return cls(arrays["sources"], arrays["weights"], float(arrays["level"][0]), mixture)

    def scores(self, features_NCF: np.ndarray) -> np.ndarray:
        """Return the scores of the candidates, float64 [N, C]; meaningful for cold items only."""
        scores_NC: np.ndarray = _levels(features_NCF, self.sources_K) @ self.weights_K + self.level
        return scores_NC

    def join(self, scores_NC: np.ndarray, is_cold_NC: np.ndarray, features_NCF: np.ndarray) -> np.ndarray:
        """Return the log-probabilities of the candidates with events, and the scores of the cold ones, float64 [N, C].

        Args:
            scores_NC: scores of the blend; -inf for PAD. Those of cold items are not used.
            is_cold_NC: bool, cold candidates, without PAD.
            features_NCF: features of ``blend_features``.
        """
        logs_NC = self.mixture.log_probabilities(np.where(is_cold_NC, -np.inf, scores_NC))
        return np.where(is_cold_NC, self.scores(features_NCF), logs_NC) if is_cold_NC.any() else logs_NC

    def shifted(self, offset: float) -> "ColdStartScorer":
        """Return the scorer with ``scores + offset``."""
        return ColdStartScorer(self.sources_K, self.weights_K, self.level + offset, self.mixture)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name."""
        mixture = np.array(list(self.mixture.to_dict().values()))
        return {
            "sources": self.sources_K,
            "weights": self.weights_K,
            "level": np.array([self.level]),
            "mixture": mixture,
        }


def is_cold(features_NCF: np.ndarray, num_sources: int) -> np.ndarray:
    """Return the mask of candidates without events, bool [N, C]; True for PAD.

    Args:
        features_NCF: features of ``blend_features``; a popularity of 0 marks a cold item.
        num_sources: number of sources of the pipeline.
    """
    is_cold_NC: np.ndarray = features_NCF[:, :, 2 * num_sources] == 0
    return is_cold_NC


def sources_with_item_features(sources: Sequence[CandidateSource]) -> np.ndarray:
    """Return the numbers of the sources that score items without events, int64 [K]."""
    return np.array([s for s, source in enumerate(sources) if source.uses_item_features], dtype=np.int64)


def _levels(features_NCF: np.ndarray, sources_K: np.ndarray) -> np.ndarray:
    """Return the level of the candidates at each source, float32 [N, C, K].

    The lowest level stands for users that the source does not serve: all its features are 0 there.
    """
    is_unserved_N1K = (features_NCF[:, :, 2 * sources_K + 1] == 0).all(axis=1, keepdims=True)
    levels_NCK: np.ndarray = np.where(is_unserved_N1K, -MAX_ABS_Z, features_NCF[:, :, 2 * sources_K])
    return levels_NCK


def fit_cold_start_scorer(
    cases: RankingCases, sources: Sequence[CandidateSource], mixture: TemperatureMixture, seed: int
) -> ColdStartScorer | None:
    """Fit the scorer on items with events, of which half are treated as cold ones.

    This half is drawn anew in each case. Its items keep only their levels at the sources that score cold items, and are
    no candidates if none of those gave them. The other half keeps its base scores. The weights maximize the likelihood
    of the targets.

    Args:
        cases: cases of items with events; base scores are log-probabilities of ``mixture``.
        sources: every source of the pipeline.
        mixture: temperatures of the items with events.
        seed: random seed of the halves.

    Returns:
        The scorer; None where no source scores cold items, or with fewer than MIN_CASES cases.
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
    return ColdStartScorer(sources_K, weights_K[:-1] / scale_K, float(weights_K[-1]), mixture)


def _is_given(features_NCF: np.ndarray, sources: Sequence[CandidateSource], sources_K: np.ndarray) -> np.ndarray:
    """Return the mask of candidates in the list of at least one of these sources, bool [N, C]."""
    last_rank_K = np.array([sources[k].config.num_candidates + 0.5 for k in sources_K.tolist()])
    is_given_NC: np.ndarray = (features_NCF[:, :, 2 * sources_K + 1] > -np.log(last_rank_K)).any(axis=2)
    return is_given_NC


def cold_start_offset(
    is_cold_NC: np.ndarray, is_candidate_NC: np.ndarray, scores_NC: np.ndarray, num_targets: int
) -> float:
    """Return the offset of the cold items' scores under which they are expected as often as they are targets.

    Two more cases, in which cold items and others are equally likely and are the target once each, keep it finite
    (Laplace 1814).

    Args:
        is_cold_NC: bool, cold candidates.
        is_candidate_NC: bool, False for PAD.
        scores_NC: scores in natural logarithms, those of cold items included.
        num_targets: number of cases with a cold target.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    parts_N = [
        np.logaddexp.reduce(np.where(mask_NC & is_candidate_NC, scores_NC, -np.inf), axis=1)
        for mask_NC in (is_cold_NC, ~is_cold_NC)
    ]
    has_cold_N = np.isfinite(parts_N[0])
    log_odds_N = parts_N[0][has_cold_N] - np.maximum(parts_N[1][has_cold_N], -1000.0)

    def excess(offset: float) -> float:
        return float(expit(log_odds_N + offset).sum() + 2 * expit(offset)) - num_targets - 1

    return float(brentq(excess, -100.0, 100.0))
