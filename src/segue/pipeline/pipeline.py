"""Pipeline of candidate sources, blend and ranker: a scorer like any other, evaluated like any other.

Shape letters: B batch, C candidates, F features, V catalog size with PAD.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.models.top_k import order_by_score_then_index
from segue.pipeline.blending.candidate_scorer import CandidateScorer
from segue.pipeline.blending.features import blend_features
from segue.pipeline.blending.second_stage import SecondStageRanker
from segue.pipeline.candidates.candidate_set import CandidateSet, generate_candidates
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.config import PipelineConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.ranked_list import PlacementReason, RankedList

BATCH_SIZE = 64
"""Histories that are scored at once, each with the scores of every source for the whole catalog."""


class Pipeline:
    """Scorer of candidate sources, blend and ranker for raw histories of any user.

    It needs numpy alone, besides the requirements of a network among its sources.
    """

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
        """True: ``scores`` generates candidates among unseen items only, as the protocol of its evaluation does."""
        self.second_stage = second_stage
        """Click ranker behind the blend; None: none."""

    @property
    def size(self) -> int:
        """Return the catalog size with PAD."""
        return len(self.item_statistics.popularity_V)

    def generate_candidates(
        self,
        histories: Sequences,
        *,
        exclude: Sequences | None = None,
        allowed_V: np.ndarray | None = None,
        include: Sequences | None = None,
    ) -> tuple[CandidateSet, np.ndarray]:
        """Generate candidates with their features; the arguments are those of ``candidate_set.generate_candidates``.

        Args:
            histories: B histories.
            exclude: items that are no candidates, row b for row b.
            allowed_V: bool, items that may be candidates; None: all.
            include: items that are candidates in any case, row b for row b.

        Returns:
            (candidates, features float32 [B, C, F]).
        """
        max_candidates = self.config.blend.num_candidates
        candidates = generate_candidates(
            self.sources, histories, max_candidates, exclude=exclude, allowed_V=allowed_V, include=include
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
        """Generate candidates and score them.

        Args:
            histories: B histories.
            exclude: items that are no candidates, row b for row b.
            allowed_V: bool, items that may be candidates; None: all.
            include: items that are candidates in any case, row b for row b.

        Returns:
            (candidates, scores float64 [B, C], -inf for PAD).
        """
        candidates, features_BCF = self.generate_candidates(
            histories, exclude=exclude, allowed_V=allowed_V, include=include
        )
        known = histories.drop_unknown()
        scores_BC = self.scoring.scores(candidates, features_BCF, known.lengths)
        if self.second_stage is not None:
            scores_BC = self.second_stage.scores(known, candidates.items_BC, scores_BC)
        return candidates, scores_BC

    def with_second_stage(self, second_stage: SecondStageRanker) -> "Pipeline":
        """Return the same pipeline with a click ranker behind the blend."""
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
        """Return the ranked candidates of each history, followed by popular allowed items where they are fewer than k.

        Args:
            histories: B histories.
            k: smallest length of a list, as long as enough items are allowed.
            exclude: items that are not recommended, row b for row b.
            allowed_V: bool, items that may be recommended; None: all.
        """
        lists = []
        for b, candidates, scores_BC in self._scored_batches(histories, exclude, allowed_V):
            for i in range(len(candidates)):
                ranked = candidates.ranked_list(i, scores_BC[i])
                if len(ranked) < k:
                    ranked = ranked.followed_by(self._popular_items(k, exclude, b + i, allowed_V))
                lists.append(ranked)
        return lists

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return the scores of all items, float32 [B, V].

        Candidates score from 1, the best one, down to 0 in equal steps. All other items lie below -1, by popularity.
        """
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
        """Return the probability of given items to be the next one.

        Args:
            histories: B histories.
            items: items to score, row b for row b; an item that no source gives is scored like the others.

        Returns:
            One float64 array per history, in the order of its items; 0 for PAD.
        """
        out = []
        for b, candidates, probabilities_BC in self.iter_probabilities(histories, include=items):
            for i in range(len(candidates)):
                by_item = dict(zip(candidates.items_BC[i].tolist(), probabilities_BC[i].tolist(), strict=True))
                requested = items.items[items.starts[b + i] : items.stops[b + i]].tolist()
                out.append(np.array([0.0 if item == PAD else by_item[item] for item in requested]))
        return out

    def iter_probabilities(
        self, histories: Sequences, *, include: Sequences | None = None
    ) -> Iterator[tuple[int, CandidateSet, np.ndarray]]:
        """Yield (first row, candidates, their probabilities float64 [B, C]) of BATCH_SIZE histories at a time.

        Args:
            histories: B histories.
            include: items that are candidates in any case, row b for row b; None: none.
        """
        lengths = histories.drop_unknown().lengths
        for b, candidates, scores_BC in self._scored_batches(histories, None, None, include=include):
            yield b, candidates, self.scoring.probabilities(scores_BC, lengths[b : b + len(candidates)])

    def _scored_batches(
        self,
        histories: Sequences,
        exclude: Sequences | None,
        allowed_V: np.ndarray | None,
        include: Sequences | None = None,
    ) -> Iterator[tuple[int, CandidateSet, np.ndarray]]:
        """Yield (first row, candidates, scores) of BATCH_SIZE histories at a time."""
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
        """Return popular items for a row, twice as many as the list can need."""
        free_V = np.ones(self.size, dtype=bool) if allowed_V is None else allowed_V.copy()
        if exclude is not None:
            free_V[exclude.items[exclude.starts[row] : exclude.stops[row]]] = False
        popular = RankedList.top_k(self.item_statistics.popularity_V, 2 * k, source="popularity", allowed_V=free_V)
        return RankedList.from_items(
            popular.items_C, popular.scores_C, sources=popular.sources, reason=PlacementReason.FILLED
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name; a model that several sources share is saved once."""
        return pipeline_arrays(self)


def pipeline_arrays(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """Return the arrays of a pipeline by name, with the prefixes 'model.0.', 'index.2', 'blend.', 'trees.',
    'cold_start.', 'ranker.', 'item_statistics.' and 'scales.'."""
    scoring = pipeline.scoring
    parts = {f"model.{m}": scorer.arrays() for m, scorer in enumerate(distinct_sources(pipeline)[0])}
    parts |= {"blend": scoring.blend.arrays(), "item_statistics": pipeline.item_statistics.arrays()}
    parts["scales"] = {"log": scoring.scales.log_S, "spread": scoring.scales.spread_S}
    if scoring.trees is not None:
        parts["trees"] = scoring.trees.arrays()
    if scoring.cold_start is not None:
        parts["cold_start"] = scoring.cold_start.arrays()
    if pipeline.second_stage is not None:
        parts["ranker"] = pipeline.second_stage.ranker.arrays()
    out = {f"{part}.{name}": array for part, part_arrays in parts.items() for name, array in part_arrays.items()}
    indices = enumerate(source.index for source in pipeline.sources)
    return out | {f"index.{s}": index.to_array() for s, index in indices if index is not None}


def distinct_sources(pipeline: Pipeline) -> tuple[list[Scorer], list[int]]:
    """Return (each model once, in the order of the sources; number of each source's model)."""
    scorers: list[Scorer] = []
    numbers = []
    for source in pipeline.sources:
        number = next((m for m, scorer in enumerate(scorers) if scorer is source.scorer), len(scorers))
        if number == len(scorers):
            scorers.append(source.scorer)
        numbers.append(number)
    return scorers, numbers
