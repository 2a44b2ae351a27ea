"""A pipeline in a shop: candidates under a placement's rules, weighed, varied, explored; k answers while k are allowed.

Shape letters: B batch, C candidates, D width, V catalog size with PAD.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.models.scorer import EmbeddingScorer
from segue.pipeline.config import PlacementConfig
from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.diversification import Diversifier
from segue.pipeline.placements.exploration import Explorer, Feedback
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.rules import Rules
from segue.pipeline.ranked_list import RankedList

DEFAULT_PLACEMENT = "default"
"""The placement of a request that names none."""


@dataclass(frozen=True)
class PlacementRequest:
    """What one request asks besides its history and how many items."""

    placement: str = DEFAULT_PLACEMENT
    exclude: Sequence[int] = ()
    """Items that are left out."""
    impressions: Sequence[int] = ()
    """Items that were lately shown to the person, for placements that leave them out."""
    exclude_seen: bool | None = None
    """Whether the history's items are left out; None: as the placement says."""
    filter: str = ""
    """In the language of ``filters``; besides the placement's own."""
    allowed_V: np.ndarray | None = None
    """bool [V]: only these items."""


class PlacementEngine:
    """Answers requests by the rules of the place where the list is shown."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: Catalog,
        items: Mapping[str, Mapping[str, Any]],
        *,
        placements: Sequence[PlacementConfig] | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        """``items``: what is known of them, as an artifact keeps it. ``placements`` in place of the pipeline's own.
        ValueError for a rule that names what there is not."""
        shelf = pipeline.item_statistics
        facts = ItemData(catalog, ItemColumns.from_items(items, catalog), shelf.counts_V, shelf.first_us_V)
        self.pipeline = pipeline
        self._filters, vectors_VD = Filters(facts.columns), item_embeddings(pipeline)
        given = {one.name: one for one in (pipeline.config.placement if placements is None else placements)}
        if DEFAULT_PLACEMENT not in given:
            plain = PlacementConfig(DEFAULT_PLACEMENT)
            given[DEFAULT_PLACEMENT] = replace(plain, rules=replace(plain.rules, exclude_seen=pipeline.exclude_seen))
        self._placements = {
            name: (
                Rules(one.rules, facts, self._filters),
                Diversifier(one.rerank, facts.columns, vectors_VD),
                Explorer(one.explore, feedback),
            )
            for name, one in given.items()
        }
        self._fallback = FallbackChain(_fallback_scores(pipeline), pipeline.size)

    @property
    def names(self) -> list[str]:
        """Of the placements there are."""
        return list(self._placements)

    @property
    def notes(self) -> list[str]:
        """What is suspicious about the rules, as sentences."""
        return [f"Placement {name}: {note}" for name, (rules, _, _) in self._placements.items() for note in rules.notes]

    def allowed_items(self, history: Sequences, request: PlacementRequest) -> np.ndarray:
        """bool [V]: what may be shown to the one person. ValueError for an unknown placement or a wrong filter."""
        rules, _, _ = self._placement(request.placement)
        seen = history.drop_unknown().to_lists()[0]
        exclude = list(request.exclude)
        if request.exclude_seen is False and rules.config.exclude_seen:
            seen = []
        elif request.exclude_seen:
            exclude += seen
        allowed_V = rules.allowed_items(seen, impressions=request.impressions, exclude=exclude, filter=request.filter)
        return allowed_V if request.allowed_V is None else allowed_V & request.allowed_V

    def recommend(
        self,
        history: Sequences,
        k: int,
        request: PlacementRequest | None = None,
        *,
        rng: np.random.Generator | None = None,
        now_us: int | None = None,
    ) -> RankedList:
        """The list for the one row of ``history``: k items, or all that are allowed where these are fewer. Scores are
        probabilities of being what comes next, times the rules' factors. Without ``rng`` nothing is drawn."""
        request = request or PlacementRequest()
        rules, reranker, explorer = self._placement(request.placement)
        allowed_V = self.allowed_items(history, request)
        known = history.drop_unknown()
        found, scores_BC = self.pipeline.score_candidates(known, allowed_V=allowed_V)
        ranked = found.ranked_list(0, self.pipeline.scoring.probabilities(scores_BC)[0])
        ranked = rules.rescore(ranked, now_us=time.time_ns() // 1000 if now_us is None else now_us)
        ranked = reranker.apply(ranked, k, known.items[known.starts[0] : known.stops[0]])
        if rng is None:
            return rules.build_list(ranked, k, allowed_V, fallback=self._fallback)
        return rules.build_list(ranked, k, allowed_V, fallback=self._fallback, policy=explorer.policy(rng))

    def _placement(self, name: str) -> tuple[Rules, Diversifier, Explorer]:
        if name not in self._placements:
            raise ValueError(f"There is no placement '{name}'. The placements: {', '.join(self._placements)}.")
        return self._placements[name]


class PlacementScorer:
    """One placement as a scorer, so that an evaluation judges the list that is shown, with its rules and variety."""

    name = Pipeline.name

    def __init__(
        self, engine: PlacementEngine, placement: str = DEFAULT_PLACEMENT, *, k: int = 50, now_us: int = 0
    ) -> None:
        self.engine = engine
        self.request = PlacementRequest(placement)
        self.k = k
        self.now_us = now_us

    @property
    def size(self) -> int:
        return self.engine.pipeline.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]: 1 for the first of the k items shown, evenly less for the others, 0 for what is not."""
        scores_BV = np.zeros((len(histories), self.size), dtype=np.float32)
        for b in range(len(histories)):
            row = histories.take(slice(b, b + 1))
            shown = self.engine.recommend(row, self.k, self.request, now_us=self.now_us).items_C
            scores_BV[b, shown] = 1.0 - np.arange(len(shown), dtype=np.float32) / self.k
        return scores_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """The pipeline's."""
        return self.engine.pipeline.arrays()


def item_embeddings(pipeline: Pipeline) -> np.ndarray | None:
    """Return the item embeddings of the first source that has some, float32 [V, D]; None without such a source."""
    for source in pipeline.sources:
        scorer = source.scorer
        if isinstance(scorer, EmbeddingScorer) and scorer.item_embeddings is not None:
            return scorer.item_embeddings
    return None


def _fallback_scores(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """The fallback's steps: what is rising where a source knows it, then all-time popularity."""
    nobody = Sequences.from_lists([[]])
    demand = {}
    for source in pipeline.sources:
        if source.config.model == "trend":
            demand[source.name] = source.scorer.scores(nobody)[0]
            demand[source.name][PAD] = 0.0
            break
    return demand | {"popularity": pipeline.item_statistics.counts_V}
