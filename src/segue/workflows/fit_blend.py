"""What validation teaches a pipeline: how much each opinion counts, whether trees correct it, what a score is worth.

Shape letters: B batch, N cases, C candidates, F signals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.evaluation.metrics import ndcg
from segue.evaluation.ranks import has_rankable_target
from segue.models.top_k import half_tie_rank
from segue.pipeline.blending.blend import Blend, LearnedBlend, fit_learned_blend, unlearned_blend
from segue.pipeline.blending.boosted_trees import BoostedTrees
from segue.pipeline.blending.cold_start import ColdStartScorer, cold_start_offset, is_cold, sources_with_item_features
from segue.pipeline.blending.cold_start import fit_cold_start_scorer as learn_newcomers
from segue.pipeline.blending.features import ScoreScales, blend_features, feature_names
from segue.pipeline.blending.second_stage import fit_boosted_trees
from segue.pipeline.candidates.candidate_set import generate_candidates
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.config import PipelineConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.pipeline import BLOCK, LearnedScoring

HELD_OUT = 0.25
"""The share of people among the validation cases that weights do not learn from: it judges them."""
MIN_CASES = 50
"""With fewer cases whose target is among the candidates nothing is learned; places decide."""
TEMPERATURES = 2.0 ** np.arange(-12, 3.01, 0.25)
DEFAULT_TEMPERATURES = {"reciprocal-rank": 0.005, "weighted": 0.2, "learned": 0.005}
"""Temperatures where nothing can be learned, by the blend's method (then learned goes by places too)."""


@dataclass(frozen=True)
class BlendCases:
    """Validation cases whose target is among the candidates, with everything that weights are learned from."""

    signals_NCF: np.ndarray
    there_NC: np.ndarray
    """bool: a candidate, not PAD."""
    target_N: np.ndarray
    """The target's place among the candidates."""
    lengths_N: np.ndarray
    groups_N: np.ndarray
    fused_NC: np.ndarray
    """The scores of the blend that needs no learning."""

    def take(self, rows_N: np.ndarray) -> "BlendCases":
        """Some of the cases, by mask."""
        return BlendCases(
            self.signals_NCF[rows_N],
            self.there_NC[rows_N],
            self.target_N[rows_N],
            self.lengths_N[rows_N],
            self.groups_N[rows_N],
            self.fused_NC[rows_N],
        )

    def without_cold_items(self, sources: int) -> "BlendCases":
        """Without newcomers: they are not there, and cases whose target is one are left out."""
        there_NC = self.there_NC & ~is_cold(self.signals_NCF, sources)
        rows_N = there_NC[np.arange(len(self.target_N)), self.target_N]
        return replace(self, there_NC=there_NC).take(rows_N)

    def scores(self, blend: Blend, trees: BoostedTrees | None) -> np.ndarray:
        """float64 [N, C]: what the blend and the trees make of the signals; PAD gets anything."""
        scores_NC = self.fused_NC.copy()
        if isinstance(blend, LearnedBlend):
            scores_NC = blend.linear(self.signals_NCF, self.lengths_N)
        if trees is not None:
            scores_NC[self.there_NC] += trees.scores(self.signals_NCF[self.there_NC])
        return scores_NC

    def learn(self, config: PipelineConfig) -> LearnedBlend:
        """The blend that these cases make likeliest."""
        return fit_learned_blend(self.signals_NCF, self.there_NC, self.target_N, self.lengths_N, config.blend)

    def quality(self, scores_NC: np.ndarray) -> float:
        """NDCG@10, ties half; 0 where there is no case."""
        if len(self.target_N) == 0:
            return 0.0
        return float(case_ndcg(self.there_NC, self.target_N, scores_NC).mean())


def case_ndcg(there_NC: np.ndarray, target_N: np.ndarray, scores_NC: np.ndarray) -> np.ndarray:
    """float64 [N]: NDCG@10 of each case, ties half."""
    scores_NC = np.where(there_NC, scores_NC, -np.inf)
    gain_N: np.ndarray = ndcg(half_tie_rank(scores_NC, target_N), 10)
    return gain_N


def fit_blend(
    sources: Sequence[CandidateSource], shelf: ItemStatistics, split: Split, config: PipelineConfig, seed: int
) -> tuple[LearnedScoring, dict[str, Any]]:
    """(what the split's validation cases teach, what was measured on the way): three quarters of the people teach,
    the others stop the trees and judge them."""
    called = tuple(source.name for source in sources)
    cases = sample_cases(split.validation, split.exclude_seen, config.rank.max_cases, seed)
    blend: Blend
    scales, asked = blend_cases(sources, shelf, cases, split.exclude_seen, config)
    whole = asked
    if asked is not None and len(sources_with_item_features(sources)):
        asked = asked.without_cold_items(len(sources))
    if whole is None or asked is None or len(asked.target_N) < MIN_CASES:
        blend = unlearned_blend(config.blend, called)
        return LearnedScoring(scales, blend, temperature=DEFAULT_TEMPERATURES[config.blend.method]), {
            "learned_from_cases": 0
        }
    blend, learning_N = unlearned_blend(config.blend, called), training_mask(asked.groups_N, seed)
    teach, judge = asked.take(learning_N), asked.take(~learning_N)
    quality = {"places": judge.quality(judge.fused_NC)}
    scores = teach.fused_NC, judge.fused_NC
    if config.blend.method == "learned":
        blend = learned = teach.learn(config)
        scores = learned.linear(teach.signals_NCF, teach.lengths_N), learned.linear(judge.signals_NCF, judge.lengths_N)
        quality["learned"] = judge.quality(scores[1])
    trees = None
    if config.rank.method != "none":
        trees, scores, quality["trees"] = _corrected(teach, judge, scores, config, seed)
    if trees is None and isinstance(blend, LearnedBlend):
        blend = asked.learn(config)
    coverage = len(whole.target_N) / len(cases)
    notes = {
        "learned_from_cases": len(teach.target_N),
        "held_out_cases": len(judge.target_N),
        "held_out_ndcg@10": {name: round(value, 5) for name, value in quality.items()},
        "trees": 0 if trees is None else len(trees),
        "coverage": round(coverage, 4),
        "signals": feature_names(called),
    }
    divisor = fit_temperature(judge.there_NC, judge.target_N, scores[1])
    told = learn_newcomers((judge.signals_NCF, judge.there_NC, judge.target_N), scores[1] / divisor, sources, seed)
    if told is not None:
        told = match_cold_start_rate(told, whole, whole.scores(blend, trees) / divisor, len(sources)).rescaled(divisor)
    return LearnedScoring(scales, blend, trees, divisor, coverage, told), notes


def match_cold_start_rate(
    told: ColdStartScorer, whole: BlendCases, scores_NC: np.ndarray, sources: int
) -> ColdStartScorer:
    """With the level at which newcomers are expected as often as they came in the cases."""
    new_NC = is_cold(whole.signals_NCF, sources) & whole.there_NC
    scores_NC = np.where(new_NC, told.scores(whole.signals_NCF), scores_NC)
    came = int(new_NC[np.arange(len(whole.target_N)), whole.target_N].sum())
    return told.rescaled(plus=cold_start_offset(new_NC, whole.there_NC, scores_NC, came))


def _corrected(
    teach: BlendCases, judge: BlendCases, scores: tuple[np.ndarray, np.ndarray], config: PipelineConfig, seed: int
) -> tuple[BoostedTrees | None, tuple[np.ndarray, np.ndarray], float]:
    """(the trees, None where they do not help; the scores with them; their quality on the held-out cases)."""
    parts = [
        (part.signals_NCF, part.there_NC, part.target_N, own_NC)
        for part, own_NC in zip((teach, judge), scores, strict=True)
    ]
    trees = fit_boosted_trees(parts[0], parts[1], config.rank, seed)
    corrected_NC = scores[1].copy()
    corrected_NC[judge.there_NC] += trees.scores(judge.signals_NCF[judge.there_NC])
    quality = judge.quality(corrected_NC)
    if config.rank.method == "auto" and quality <= judge.quality(scores[1]):
        return None, scores, quality
    return trees, (scores[0], corrected_NC), quality


def sample_cases(cases: EvaluationCases, exclude_seen: bool, most: int, seed: int) -> EvaluationCases:
    """At most so many of the cases that can be ranked, drawn without replacement."""
    if exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    if len(cases) <= most:
        return cases
    rows = np.random.default_rng((seed, 5)).choice(len(cases), most, replace=False)
    return cases.take(np.sort(rows))


def blend_cases(
    sources: Sequence[CandidateSource],
    shelf: ItemStatistics,
    cases: EvaluationCases,
    exclude_seen: bool,
    config: PipelineConfig,
) -> tuple[ScoreScales, BlendCases | None]:
    """(the scales; the cases whose target is among the candidates, None where there is none)."""
    fusion = unlearned_blend(config.blend, [source.name for source in sources])
    scales: ScoreScales | None = None
    kept: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(cases), BLOCK):
        part = cases.take(slice(start, start + BLOCK))
        histories = part.histories
        seen = histories.drop_unknown() if exclude_seen else None
        found = generate_candidates(sources, histories, config.blend.num_candidates, exclude=seen)
        scales = scales or ScoreScales.fit(found)
        hit_BC = (found.items_BC == part.targets[:, None]) & (found.items_BC != PAD)
        hit_B = hit_BC.any(axis=1)
        lengths_B = histories.drop_unknown().lengths
        signals_BCF = blend_features(found, histories, shelf, scales)
        columns = (signals_BCF, found.items_BC != PAD, hit_BC.argmax(axis=1), lengths_B, part.groups)
        kept.append(tuple(column[hit_B] for column in (*columns, fusion.scores(found, signals_BCF, lengths_B))))
    if scales is None:
        scales = ScoreScales(np.zeros(len(sources), dtype=bool), np.ones(len(sources), dtype=np.float32))
    if not kept:
        return scales, None
    return scales, BlendCases(*[concat_cases(column) for column in zip(*kept, strict=True)])


def concat_cases(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Blocks one under the other; where they have a second axis, it is filled up with zeros to the widest."""
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
    """bool [N]: the cases of the people that weights learn from; a person is never on both sides."""
    people, own_N = np.unique(groups_N, return_inverse=True)
    mask_N: np.ndarray = (np.random.default_rng((seed, 7)).random(len(people)) >= HELD_OUT)[own_N]
    return mask_N


def fit_temperature(there_NC: np.ndarray, target_N: np.ndarray, scores_NC: np.ndarray) -> float:
    """The divisor of the scores under which the targets are likeliest (Guo et al. 2017)."""
    rows_N = np.arange(len(target_N))
    losses = []
    for divisor in TEMPERATURES:
        scaled_NC = np.where(there_NC, scores_NC, -np.inf) / divisor
        top_N = scaled_NC.max(axis=1, initial=-np.inf)
        total_N = np.log(np.exp(scaled_NC - top_N[:, None]).sum(axis=1)) + top_N
        losses.append(float((total_N - scaled_NC[rows_N, target_N]).sum()))
    return float(TEMPERATURES[int(np.argmin(losses))])
