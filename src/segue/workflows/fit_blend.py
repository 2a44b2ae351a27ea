"""Fit of the blend on validation cases: source weights, optional boosted trees, and the temperature of the scores.

Shape letters: B batch, N cases, C candidates, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.evaluation.metrics import ndcg
from segue.evaluation.ranks import has_rankable_target
from segue.models.top_k import column_ranks
from segue.pipeline.blending.blend import Blend, LearnedBlend, fit_learned_blend, unlearned_blend
from segue.pipeline.blending.boosted_trees import BoostedTrees, fit_boosted_trees
from segue.pipeline.blending.candidate_scorer import CandidateScorer
from segue.pipeline.blending.cold_start import is_cold, sources_with_item_features
from segue.pipeline.blending.features import ScoreScales, blend_features, feature_names
from segue.pipeline.blending.ranking_cases import RankingCases
from segue.pipeline.candidates.candidate_set import generate_candidates
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.config import PipelineConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.pipeline import BATCH_SIZE
from segue.workflows.probabilities.fit_cold_start import fit_cold_start
from segue.workflows.probabilities.fit_temperature import fit_temperatures

HELD_OUT = 0.25
"""Share of the validation users whose cases are held out: they stop the trees and evaluate the blend."""
MIN_CASES = 50
"""Smallest number of cases with a target among the candidates; with fewer the unlearned blend is used."""
DEFAULT_TEMPERATURES = {"reciprocal-rank": 0.005, "weighted": 0.2, "learned": 0.005}
"""Temperature of the unlearned blend, by the blend's method."""


@dataclass(frozen=True)
class BlendCases:
    """Validation cases whose target is among the candidates, with the features of all candidates."""

    features_NCF: np.ndarray
    """float32: features of each candidate, see ``blend_features``."""
    is_candidate_NC: np.ndarray
    """bool: False for PAD."""
    target_N: np.ndarray
    """Column of the target."""
    lengths_N: np.ndarray
    """Number of known events of each history."""
    groups_N: np.ndarray
    """User or session of each case."""
    base_scores_NC: np.ndarray
    """Scores of the unlearned blend."""

    def take(self, rows_N: np.ndarray) -> "BlendCases":
        """Select cases by a boolean mask."""
        return BlendCases(*(getattr(self, field.name)[rows_N] for field in fields(self)))

    def without_cold_items(self, num_sources: int) -> "BlendCases":
        """Remove cold items from the candidates, and cases whose target is cold."""
        is_candidate_NC = self.is_candidate_NC & ~is_cold(self.features_NCF, num_sources)
        rows_N = is_candidate_NC[np.arange(len(self.target_N)), self.target_N]
        return replace(self, is_candidate_NC=is_candidate_NC).take(rows_N)

    def scores(self, blend: Blend, trees: BoostedTrees | None) -> np.ndarray:
        """Return the scores of the blend plus those of the trees, float64 [N, C]; PAD has an arbitrary score.

        Args:
            blend: the blend; an unlearned one gives ``base_scores_NC``.
            trees: boosted trees to add; None: none.
        """
        scores_NC = self.base_scores_NC.copy()
        if isinstance(blend, LearnedBlend):
            scores_NC = blend.linear(self.features_NCF, self.lengths_N)
        if trees is not None:
            scores_NC[self.is_candidate_NC] += trees.scores(self.features_NCF[self.is_candidate_NC])
        return scores_NC

    def ranking(self, scoring: CandidateScorer) -> RankingCases:
        """Return the cases with the scores of blend and trees."""
        scores_NC = self.scores(scoring.blend, scoring.trees)
        return RankingCases(self.features_NCF, self.is_candidate_NC, self.target_N, scores_NC)

    def fit(self, config: PipelineConfig) -> LearnedBlend:
        """Fit the blend of maximum likelihood."""
        return fit_learned_blend(self.features_NCF, self.is_candidate_NC, self.target_N, self.lengths_N, config.blend)

    def quality(self, scores_NC: np.ndarray) -> float:
        """Return the mean NDCG@10 over the orders of equal scores; 0 without cases."""
        if len(self.target_N) == 0:
            return 0.0
        return float(case_ndcg(self.is_candidate_NC, self.target_N, scores_NC).mean())


def case_ndcg(is_candidate_NC: np.ndarray, target_N: np.ndarray, scores_NC: np.ndarray) -> np.ndarray:
    """Return NDCG@10 of each case, the mean over the orders of equal scores, float64 [N].

    Args:
        is_candidate_NC: bool, False for PAD.
        target_N: column of each target.
        scores_NC: scores of the candidates.
    """
    scores_NC = np.where(is_candidate_NC, scores_NC, -np.inf)
    ranks = column_ranks(scores_NC, target_N)
    return ndcg(ranks.ranks_N, 10, ranks.ties_N)


def fit_blend(
    sources: Sequence[CandidateSource], item_statistics: ItemStatistics, split: Split, config: PipelineConfig, seed: int
) -> tuple[CandidateScorer, dict[str, Any]]:
    """Fit weights, trees and temperature on validation cases: three quarters of the users train them.

    The others stop the trees, and decide on them. Temperatures are fitted on the others; without trees on all cases.

    Args:
        sources: candidate sources, fitted on training events.
        item_statistics: item counts and ages of the training events.
        split: the validation cases.
        config: settings of the blend and of the trees.
        seed: random seed of the samples and of the trees.

    Returns:
        (fitted scoring, notes with ndcg@10 on the held-out cases).
    """
    names = tuple(source.name for source in sources)
    cases = sample_cases(split.validation, split.exclude_seen, config.rank.max_cases, seed)
    blend: Blend
    scales, cases_with_target = blend_cases(sources, item_statistics, cases, split.exclude_seen, config)
    all_cases = cases_with_target
    if cases_with_target is not None and len(sources_with_item_features(sources)):
        cases_with_target = cases_with_target.without_cold_items(len(sources))
    if all_cases is None or cases_with_target is None or len(cases_with_target.target_N) < MIN_CASES:
        blend = unlearned_blend(config.blend, names)
        return CandidateScorer(scales, blend, temperature=DEFAULT_TEMPERATURES[config.blend.method]), {
            "training_cases": 0
        }
    blend, is_training_N = unlearned_blend(config.blend, names), training_mask(cases_with_target.groups_N, seed)
    training, held_out = cases_with_target.take(is_training_N), cases_with_target.take(~is_training_N)
    quality = {"ranks": held_out.quality(held_out.base_scores_NC)}
    scores = training.base_scores_NC, held_out.base_scores_NC
    if config.blend.method == "learned":
        blend = training.fit(config)
        scores = training.scores(blend, None), held_out.scores(blend, None)
        quality["learned"] = held_out.quality(scores[1])
    trees = None
    if config.rank.method != "none":
        trees, scores, quality["trees"] = _with_trees(training, held_out, scores, config, seed)
    if trees is None and isinstance(blend, LearnedBlend):
        blend = cases_with_target.fit(config)
    coverage = len(all_cases.target_N) / len(cases)
    notes = {
        "training_cases": len(training.target_N),
        "held_out_cases": len(held_out.target_N),
        "held_out_ndcg@10": {name: round(value, 5) for name, value in quality.items()},
        "trees": 0 if trees is None else len(trees),
        "coverage": round(coverage, 4),
        "features": feature_names(names),
    }
    own, own_NC = (held_out, scores[1]) if trees else (cases_with_target, cases_with_target.scores(blend, None))
    divisor, mixture = fit_temperatures(own.is_candidate_NC, own.target_N, own_NC)
    scoring = CandidateScorer(scales, blend, trees, divisor, coverage, mixture=mixture)
    return fit_cold_start(scoring, held_out.ranking(scoring), all_cases.ranking(scoring), sources, seed), notes


def _with_trees(
    training: BlendCases, held_out: BlendCases, scores: tuple[np.ndarray, np.ndarray], config: PipelineConfig, seed: int
) -> tuple[BoostedTrees | None, tuple[np.ndarray, np.ndarray], float]:
    """Return (trees or None where they do not help, scores with them, their ndcg@10 on the held-out cases)."""
    parts = [
        RankingCases(part.features_NCF, part.is_candidate_NC, part.target_N, own_NC)
        for part, own_NC in zip((training, held_out), scores, strict=True)
    ]
    trees = fit_boosted_trees(parts[0], parts[1], config.rank, seed)
    corrected_NC = scores[1].copy()
    corrected_NC[held_out.is_candidate_NC] += trees.scores(held_out.features_NCF[held_out.is_candidate_NC])
    quality = held_out.quality(corrected_NC)
    if config.rank.method == "auto" and quality <= held_out.quality(scores[1]):
        return None, scores, quality
    return trees, (scores[0], corrected_NC), quality


def sample_cases(cases: EvaluationCases, exclude_seen: bool, max_cases: int, seed: int) -> EvaluationCases:
    """Sample cases with a rankable target, without replacement.

    Args:
        cases: the cases.
        exclude_seen: a target in its own history is not rankable.
        max_cases: largest number of cases.
        seed: random seed.
    """
    if exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    return cases.sample(max_cases, (seed, 5))


def blend_cases(
    sources: Sequence[CandidateSource],
    item_statistics: ItemStatistics,
    cases: EvaluationCases,
    exclude_seen: bool,
    config: PipelineConfig,
) -> tuple[ScoreScales, BlendCases | None]:
    """Generate candidates of the cases and encode their features.

    Args:
        sources: candidate sources.
        item_statistics: item counts and ages.
        cases: cases to encode.
        exclude_seen: items of the history are not candidates.
        config: settings of the pipeline.

    Returns:
        (score scales of the sources, the cases whose target is a candidate or None without any).
    """
    base_blend = unlearned_blend(config.blend, [source.name for source in sources])
    scales: ScoreScales | None = None
    blocks: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(cases), BATCH_SIZE):
        part = cases.take(slice(start, start + BATCH_SIZE))
        histories = part.histories
        seen = histories.drop_unknown() if exclude_seen else None
        candidates = generate_candidates(sources, histories, config.blend.num_candidates, exclude=seen)
        scales = scales or ScoreScales.fit(candidates)
        hit_BC = (candidates.items_BC == part.targets[:, None]) & (candidates.items_BC != PAD)
        hit_B = hit_BC.any(axis=1)
        lengths_B = histories.drop_unknown().lengths
        features_BCF = blend_features(candidates, histories, item_statistics, scales)
        columns = (features_BCF, candidates.items_BC != PAD, hit_BC.argmax(axis=1), lengths_B, part.groups)
        blocks.append(
            tuple(column[hit_B] for column in (*columns, base_blend.scores(candidates, features_BCF, lengths_B)))
        )
    if scales is None:
        scales = ScoreScales(np.zeros(len(sources), dtype=bool), np.ones(len(sources), dtype=np.float32))
    if not blocks:
        return scales, None
    return scales, BlendCases(*[concat_cases(column) for column in zip(*blocks, strict=True)])


def concat_cases(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Concatenate blocks along the first axis; a second axis is padded with zeros to the widest block."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    out = np.zeros((sum(len(part) for part in parts), width, *parts[0].shape[2:]), dtype=parts[0].dtype)
    row = 0
    for part in parts:
        out[row : row + len(part), : part.shape[1]] = part
        row += len(part)
    return out


def training_mask(groups_N: np.ndarray, seed: int) -> np.ndarray:
    """Return the mask of the cases that train the blend, bool [N]; a user is in one part only.

    Args:
        groups_N: user or session of each case.
        seed: random seed of the assignment.
    """
    users, own_N = np.unique(groups_N, return_inverse=True)
    mask_N: np.ndarray = (np.random.default_rng((seed, 7)).random(len(users)) >= HELD_OUT)[own_N]
    return mask_N
