"""Scores and probabilities of a pipeline's candidates.

Shape letters: B batch, C candidates, F features.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.models.probabilities.temperature_mixture import TemperatureMixture
from segue.pipeline.blending.blend import Blend
from segue.pipeline.blending.boosted_trees import BoostedTrees
from segue.pipeline.blending.cold_start import ColdStartScorer, is_cold
from segue.pipeline.blending.features import ScoreScales
from segue.pipeline.candidates.candidate_set import CandidateSet


@dataclass(frozen=True)
class CandidateScorer:
    """Scores and probabilities of candidates, fitted on validation: blend, trees, cold-start scores, temperature."""

    scales: ScoreScales
    """Scales of the sources' scores."""
    blend: Blend
    """Score of a candidate from its features."""
    trees: BoostedTrees | None = None
    """Correction of the blend; None: none."""
    temperature: float = 1.0
    """Divisor that makes a score a log probability, up to a constant per history."""
    coverage: float = 1.0
    """Share of validation cases whose target is among the candidates."""
    cold_start: ColdStartScorer | None = None
    """Scorer of items without events, beside the log-probabilities of the others; None: all are scored alike."""
    mixture: TemperatureMixture | None = None
    """Temperatures of the stated probabilities, which keep the order of the scores; None: ``temperature`` alone."""
    temperature_without_history: float | None = None
    """Divisor for users without known events; None: ``temperature``."""
    coverage_without_history: float | None = None
    """Share of validation targets among the candidates of such users; None: ``coverage``."""

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """Return the scores of candidates, float64 [B, C]; -inf for PAD.

        Args:
            candidates: candidates of B histories.
            features_BCF: float32 features of ``blend_features``.
            lengths_B: number of known events of each history.
        """
        scores_BC = self.blend.scores(candidates, features_BCF, lengths_B)
        if self.trees is not None and len(self.trees):
            is_candidate_BC = candidates.items_BC != PAD
            scores_BC[is_candidate_BC] += self.trees.scores(features_BCF[is_candidate_BC])
        if self.cold_start is not None:
            is_cold_BC = is_cold(features_BCF, len(candidates.sources)) & (candidates.items_BC != PAD)
            scores_BC = self.cold_start.join(scores_BC, is_cold_BC, features_BCF)
        return scores_BC

    def probabilities(self, scores_BC: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """Return the probability of each candidate to be the next item, float64 [B, C]; 0 for PAD.

        They sum to ``coverage`` in each row with a candidate, to ``coverage_without_history`` for an empty history.

        Args:
            scores_BC: those of ``scores``.
            lengths_B: number of known events of each history.
        """
        mixture = self.mixture or TemperatureMixture(self.temperature)
        if self.temperature_without_history is None or self.coverage_without_history is None:
            return mixture.probabilities(scores_BC) * self.coverage
        probabilities_BC, has_history_B = np.empty_like(scores_BC), lengths_B > 0
        alone = TemperatureMixture(self.temperature_without_history)
        probabilities_BC[has_history_B] = mixture.probabilities(scores_BC[has_history_B]) * self.coverage
        probabilities_BC[~has_history_B] = (
            alone.probabilities(scores_BC[~has_history_B]) * self.coverage_without_history
        )
        return probabilities_BC
