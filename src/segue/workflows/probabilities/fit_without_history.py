"""Fit of the probabilities that a pipeline states for users without events."""

from dataclasses import replace

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.pipeline.blending.candidate_scorer import CandidateScorer
from segue.pipeline.pipeline import Pipeline
from segue.workflows.probabilities.fit_temperature import MIN_CASES, best_temperature


def fit_without_history(pipeline: Pipeline, cases: EvaluationCases) -> CandidateScorer:
    """Return the scoring of a pipeline with temperature and coverage for users without known events.

    Both are fitted to the targets of validation cases, each after an empty history: without events of a user, the
    share of an item among all next items is the best estimate of its probability. The other temperature belongs to the
    order of users with events, which a pipeline knows far better.

    Args:
        pipeline: a pipeline whose sources were fitted without the cases.
        cases: validation cases; with fewer than ``MIN_CASES`` the scoring stays as it is.
    """
    candidates, scores_1C = pipeline.score_candidates(Sequences.from_lists([[]]))
    column_V = np.full(pipeline.size, -1)
    column_V[candidates.items_BC[0]] = np.arange(candidates.items_BC.shape[1])
    column_V[PAD] = -1
    target_N = column_V[cases.targets]
    target_N = target_N[target_N >= 0]
    if len(target_N) < MIN_CASES:
        return pipeline.scoring
    temperature, _ = best_temperature(np.where(candidates.items_BC != PAD, scores_1C, -np.inf), target_N)
    coverage = len(target_N) / len(cases)
    return replace(pipeline.scoring, temperature_without_history=temperature, coverage_without_history=coverage)
