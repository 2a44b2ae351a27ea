"""The whole way from a history to a list: sources, blend, rank; a scorer like any other, so that it is judged as one.

Shape letters: B batch, C candidates, F signals, V catalog size with PAD.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.models.top_k import order_by_score_then_index
from segue.pipeline.blending.blend import Blend
from segue.pipeline.blending.boosted_trees import BoostedTrees
from segue.pipeline.blending.cold_start import ColdStartScorer, is_cold
from segue.pipeline.blending.features import ScoreScales, blend_features
from segue.pipeline.blending.second_stage import SecondStageRanker
from segue.pipeline.candidates.candidate_set import CandidateSet, generate_candidates
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.config import PipelineConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.ranked_list import PlacementReason, RankedList

BATCH_SIZE = 64
"""Histories that are answered at once: every source's scores of the whole catalog are in memory for so many."""


@dataclass(frozen=True)
class CandidateScorer:
    """What validation taught: how signals become one score, and what the score is worth."""

    scales: ScoreScales
    blend: Blend
    trees: BoostedTrees | None = None
    temperature: float = 1.0
    """A score divided by it is a log-probability, up to a constant for each history."""
    coverage: float = 1.0
    """How often what came next was among the candidates, on validation."""
    cold_start: ColdStartScorer | None = None
    """How items without any event are weighed; None: like all others."""

    def scores(self, candidates: CandidateSet, features_BCF: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]; -inf at PAD."""
        scores_BC = self.blend.scores(candidates, features_BCF, lengths_B)
        if self.trees is not None and len(self.trees):
            is_candidate_BC = candidates.items_BC != PAD
            scores_BC[is_candidate_BC] += self.trees.scores(features_BCF[is_candidate_BC])
        if self.cold_start is not None:
            is_cold_BC = is_cold(features_BCF, len(candidates.sources)) & (candidates.items_BC != PAD)
            if is_cold_BC.any():
                scores_BC = np.where(is_cold_BC, self.cold_start.scores(features_BCF), scores_BC)
        return scores_BC

    def probabilities(self, scores_BC: np.ndarray) -> np.ndarray:
        """float64 [B, C]: of being what comes next, for scores that ``scores`` gave; 0 at PAD."""
        scaled_BC = (scores_BC - scores_BC.max(axis=1, keepdims=True)) / self.temperature
        probabilities_BC = np.exp(scaled_BC)
        probabilities_BC *= self.coverage / probabilities_BC.sum(axis=1, keepdims=True)
        return probabilities_BC


class Pipeline:
    """Sources -> candidates -> blend -> rank, for raw histories of anybody. Numpy alone, but for what a network's own
    scorer needs."""

    name: ClassVar[str] = "pipeline"

    def __init__(
        self,
        sources: Sequence[CandidateSource],
        scoring: CandidateScorer,
        item_statistics: ItemStatistics,
        config: PipelineConfig,
        *,
        exclude_seen: bool,
        second_stage: SecondStageRanker | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.scoring = scoring
        self.item_statistics = item_statistics
        self.config = config
        self.exclude_seen = exclude_seen
        """Whether ``scores`` looks for candidates among unseen items alone, as the protocol does that judges it."""
        self.second_stage = second_stage
        """A model of click probability that has the last word."""

    @property
    def size(self) -> int:
        return len(self.item_statistics.popularity_V)

    def generate_candidates(
        self,
        histories: Sequences,
        *,
        exclude: Sequences | None = None,
        allowed_V: np.ndarray | None = None,
        include: Sequences | None = None,
    ) -> tuple[CandidateSet, np.ndarray]:
        """(candidates, their signals float32 [B, C, F]); arguments as ``candidates.gather``."""
        most = self.config.blend.num_candidates
        candidates = generate_candidates(
            self.sources, histories, most, exclude=exclude, allowed_V=allowed_V, include=include
        )
        return candidates, blend_features(candidates, histories, self.item_statistics, self.scoring.scales)

    def score_candidates(
        self,
        histories: Sequences,
        *,
        exclude: Sequences | None = None,
        allowed_V: np.ndarray | None = None,
        include: Sequences | None = None,
    ) -> tuple[CandidateSet, np.ndarray]:
        """(candidates, their scores float64 [B, C]; -inf at PAD)."""
        candidates, features_BCF = self.generate_candidates(
            histories, exclude=exclude, allowed_V=allowed_V, include=include
        )
        known = histories.drop_unknown()
        scores_BC = self.scoring.scores(candidates, features_BCF, known.lengths)
        if self.second_stage is not None:
            scores_BC = self.second_stage.scores(known, candidates.items_BC, scores_BC)
        return candidates, scores_BC

    def with_second_stage(self, second_stage: SecondStageRanker) -> "Pipeline":
        """The same pipeline with a ranker that has the last word."""
        parts = (self.sources, self.scoring, self.item_statistics, self.config)
        return Pipeline(*parts, exclude_seen=self.exclude_seen, second_stage=second_stage)

    def recommend(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude: Sequences | None = None,
        allowed_V: np.ndarray | None = None,
    ) -> list[RankedList]:
        """Each history's candidates, best first; where there are fewer than k, popular allowed items behind them."""
        lists = []
        for b, candidates, scores_BC in self._scored_batches(histories, exclude, allowed_V):
            for i in range(len(candidates)):
                ranked = candidates.ranked_list(i, scores_BC[i])
                if len(ranked) < k:
                    ranked = ranked.followed_by(self._popular_items(k, exclude, b + i, allowed_V))
                lists.append(ranked)
        return lists

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]: 1 for the best candidate, evenly less for the others down to 0; below -1 all other items, by
        popularity."""
        popularity_V = self.item_statistics.popularity_V / (self.item_statistics.popularity_V.max(initial=0) + 1) - 2
        scores_BV = np.tile(popularity_V.astype(np.float32), (len(histories), 1))
        seen = histories.drop_unknown() if self.exclude_seen else None
        for b, candidates, scores_BC in self._scored_batches(histories, seen, None):
            order_BC = order_by_score_then_index(scores_BC)
            width = order_BC.shape[1]
            rows = np.arange(b, b + len(candidates))[:, None]
            items_BC = np.take_along_axis(candidates.items_BC, order_BC, axis=1)
            scores_BV[rows, items_BC] = 1.0 - np.arange(width, dtype=np.float32) / width
        scores_BV[:, PAD] = 0.0
        return scores_BV

    def probabilities(self, histories: Sequences, items: Sequences) -> list[np.ndarray]:
        """For each history, the probability that each of its ``items`` (row b for row b) is the very next one taken,
        float64; 0 for PAD. Items that no source would give are judged like all others."""
        out = []
        for b, candidates, scores_BC in self._scored_batches(histories, None, None, include=items):
            probabilities_BC = self.scoring.probabilities(scores_BC)
            for i in range(len(candidates)):
                of = dict(zip(candidates.items_BC[i].tolist(), probabilities_BC[i].tolist(), strict=True))
                asked = items.items[items.starts[b + i] : items.stops[b + i]].tolist()
                out.append(np.array([0.0 if item == PAD else of[item] for item in asked]))
        return out

    def _scored_batches(
        self,
        histories: Sequences,
        exclude: Sequences | None,
        allowed_V: np.ndarray | None,
        include: Sequences | None = None,
    ) -> Iterator[tuple[int, CandidateSet, np.ndarray]]:
        """(first row, candidates, scores) of a few histories at a time."""
        for start in range(0, len(histories), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            candidates, scores_BC = self.score_candidates(
                histories.take(rows),
                exclude=None if exclude is None else exclude.take(rows),
                allowed_V=allowed_V,
                include=None if include is None else include.take(rows),
            )
            yield start, candidates, scores_BC

    def _popular_items(self, k: int, exclude: Sequences | None, row: int, allowed_V: np.ndarray | None) -> RankedList:
        """Enough popular items that none of the history's candidates can use up."""
        free_V = np.ones(self.size, dtype=bool) if allowed_V is None else allowed_V.copy()
        if exclude is not None:
            free_V[exclude.items[exclude.starts[row] : exclude.stops[row]]] = False
        found = RankedList.top_k(self.item_statistics.popularity_V, 2 * k, source="popularity", allowed_V=free_V)
        return RankedList.from_items(
            found.items_C, found.scores_C, sources=found.sources, reason=PlacementReason.FILLED
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save but the settings, by name; a model that several sources ask is there once."""
        pass

        return pipeline_arrays(self)


def pipeline_arrays(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """Every array by name: 'model.0.', 'index.2', 'blend.', 'trees.', 'newcomers.', 'ranker.', 'shelf.', 'scales.'
    before its own."""
    weighing = pipeline.scoring
    parts = {f"model.{m}": scorer.arrays() for m, scorer in enumerate(distinct_sources(pipeline)[0])}
    parts |= {"blend": weighing.blend.arrays(), "shelf": pipeline.item_statistics.arrays()}
    parts["scales"] = {"log": weighing.scales.log_S, "spread": weighing.scales.spread_S}
    if weighing.trees is not None:
        parts["trees"] = weighing.trees.arrays()
    if weighing.cold_start is not None:
        parts["newcomers"] = weighing.cold_start.arrays()
    if pipeline.second_stage is not None:
        parts["ranker"] = pipeline.second_stage.ranker.arrays()
    out = {f"{part}.{name}": array for part, own in parts.items() for name, array in own.items()}
    indices = enumerate(source.index for source in pipeline.sources)
    return out | {f"index.{s}": index.to_array() for s, index in indices if index is not None}


def distinct_sources(pipeline: Pipeline) -> tuple[list[Scorer], list[int]]:
    """(each model once, in the order of the sources; the number of each source's model)."""
    scorers: list[Scorer] = []
    numbers = []
    for source in pipeline.sources:
        number = next((m for m, one in enumerate(scorers) if one is source.scorer), len(scorers))
        if number == len(scorers):
            scorers.append(source.scorer)
        numbers.append(number)
    return scorers, numbers
