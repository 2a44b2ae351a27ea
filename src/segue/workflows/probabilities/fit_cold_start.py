"""Fit of the cold items' share of the probabilities, apart from the temperatures of the items with events."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segue.pipeline.blending.candidate_scorer import CandidateScorer
from segue.pipeline.blending.cold_start import ColdStartScorer, cold_start_offset, fit_cold_start_scorer, is_cold
from segue.pipeline.blending.ranking_cases import RankingCases
from segue.pipeline.candidates.source import CandidateSource


def fit_cold_start(
    scoring: CandidateScorer,
    held_out: RankingCases,
    all_cases: RankingCases,
    sources: Sequence[CandidateSource],
    seed: int,
) -> CandidateScorer:
    """Add scores of cold items to a scoring, whose scores become log-probabilities; unchanged where none can be fitted.

    Args:
        scoring: scoring of the items with events, with its mixture of temperatures.
        held_out: held-out cases without cold items, with the scores of blend and trees.
        all_cases: all cases, those with a cold target included, with the same scores.
        sources: candidate sources.
        seed: random seed.
    """
    mixture = scoring.mixture
    if mixture is None:
        return scoring
    logs_NC = mixture.log_probabilities(_masked(held_out))
    cases = replace(held_out, base_scores_NC=np.where(held_out.is_candidate_NC, logs_NC, 0.0))
    cold_start = fit_cold_start_scorer(cases, sources, mixture, seed)
    if cold_start is None:
        return scoring
    return replace(
        scoring, temperature=1.0, mixture=None, cold_start=match_cold_start_rate(cold_start, all_cases, len(sources))
    )


def match_cold_start_rate(cold_start: ColdStartScorer, cases: RankingCases, num_sources: int) -> ColdStartScorer:
    """Shift the cold-start scores until cold items are expected as often as they are targets of the cases.

    Args:
        cold_start: scorer of the cold items.
        cases: all cases, those with a cold target included, with the scores of blend and trees.
        num_sources: number of candidate sources.
    """
    is_cold_NC = is_cold(cases.features_NCF, num_sources) & cases.is_candidate_NC
    scores_NC = cold_start.join(_masked(cases), is_cold_NC, cases.features_NCF)
    num_cold_targets = int(is_cold_NC[np.arange(len(cases.target_N)), cases.target_N].sum())
    return cold_start.shifted(cold_start_offset(is_cold_NC, cases.is_candidate_NC, scores_NC, num_cold_targets))


def _masked(cases: RankingCases) -> np.ndarray:
    """Return the base scores with -inf for PAD."""
    return np.where(cases.is_candidate_NC, cases.base_scores_NC, -np.inf)
