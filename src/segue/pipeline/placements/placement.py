"""Placements of a pipeline: candidates under rules, diversified, explored; k items while k are allowed.

Shape letters: B batch, C candidates, D embedding size, V catalog size with PAD.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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
"""Placement of a request that names none."""


@dataclass(frozen=True)
class PlacementRequest:
    """Request to a placement, besides the history and the number of items."""

    placement: str = DEFAULT_PLACEMENT
    """Name of the placement."""
    exclude: Sequence[int] = ()
    """Item indices to leave out."""
    impressions: Sequence[int] = ()
    """Items recently recommended to the user, for placements that leave them out."""
    exclude_seen: bool | None = None
    """Leave out the items of the history; None: as the placement's rules state."""
    filter: str = ""
    """Filter expression, in addition to the placement's own."""
    allowed_V: np.ndarray | None = None
    """bool [V]: items that may be recommended; None: all."""


class CompiledPlacement(NamedTuple):
    """Stages of one placement, compiled for a catalog."""

    rules: Rules
    diversifier: Diversifier
    explorer: Explorer


class PlacementEngine:
    """Recommendations of a pipeline under the rules of its placements."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: Catalog,
        items: Mapping[str, Mapping[str, Any]],
        *,
        placements: Sequence[PlacementConfig] | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        """Compile the rules of all placements.

        Args:
            pipeline: the fitted pipeline.
            catalog: its items.
            items: item id -> feature -> value, as in an artifact.
            placements: settings in place of the pipeline's own; None: the pipeline's.
            feedback: impressions and clicks for Thompson exploration; None: none.

        Raises:
            ValueError: a rule with an unknown column or a wrong filter.
        """
        statistics = pipeline.item_statistics
        item_data = ItemData(
            catalog, ItemColumns.from_items(items, catalog), statistics.counts_V, statistics.first_us_V
        )
        self.pipeline = pipeline
        self._filters, vectors_VD = Filters(item_data.columns), item_embeddings(pipeline)
        settings = {
            placement.name: placement for placement in (pipeline.config.placement if placements is None else placements)
        }
        if DEFAULT_PLACEMENT not in settings:
            default = PlacementConfig(DEFAULT_PLACEMENT)
            settings[DEFAULT_PLACEMENT] = replace(
                default, rules=replace(default.rules, exclude_seen=pipeline.exclude_seen)
            )
        self._placements = {
            name: CompiledPlacement(
                Rules(placement.rules, item_data, self._filters),
                Diversifier(placement.rerank, item_data.columns, vectors_VD),
                Explorer(placement.explore, feedback),
            )
            for name, placement in settings.items()
        }
        self._fallback = FallbackChain(_fallback_scores(pipeline), pipeline.size)

    @property
    def names(self) -> list[str]:
        """Names of the placements."""
        return list(self._placements)

    @property
    def notes(self) -> list[str]:
        """Sentences about suspicious rules."""
        return [f"Placement {name}: {note}" for name, stages in self._placements.items() for note in stages.rules.notes]

    def allowed_items(self, history: Sequences, request: PlacementRequest) -> np.ndarray:
        """Return the items that may be recommended to one user, bool [V].

        Args:
            history: one row.
            request: the request.

        Raises:
            ValueError: an unknown placement or a wrong filter.
        """
        rules = self._placement(request.placement).rules
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
        allowed_V: np.ndarray | None = None,
    ) -> RankedList:
        """Return the list for one history: k items, or all allowed ones where these are fewer.

        Scores are probabilities to be the next item, times the factors of the rules.

        Args:
            history: one row.
            k: number of items.
            request: placement, exclusions and filter; None: the default placement.
            rng: generator of the exploration; None: no exploration.
            now_us: time of the request, UTC microseconds; None: the clock.
            allowed_V: result of ``allowed_items`` for this request; None: it is computed.

        Raises:
            ValueError: an unknown placement or a wrong filter.
        """
        request = request or PlacementRequest()
        rules, diversifier, explorer = self._placement(request.placement)
        if allowed_V is None:
            allowed_V = self.allowed_items(history, request)
        known = history.drop_unknown()
        candidates, scores_BC = self.pipeline.score_candidates(known, allowed_V=allowed_V)
        ranked = candidates.ranked_list(0, self.pipeline.scoring.probabilities(scores_BC)[0])
        ranked = rules.rescore(ranked, now_us=time.time_ns() // 1000 if now_us is None else now_us)
        ranked = diversifier.apply(ranked, k, known.items[known.starts[0] : known.stops[0]])
        if rng is None:
            return rules.build_list(ranked, k, allowed_V, fallback=self._fallback)
        if explorer.config.method == "thompson":  # a boost may lift a probability above 1
            ranked = replace(ranked, scores_C=np.minimum(ranked.scores_C, 1.0))
        return rules.build_list(ranked, k, allowed_V, fallback=self._fallback, policy=explorer.policy(rng))

    def list_without_scoring(
        self, ranked: RankedList, k: int, request: PlacementRequest, allowed_V: np.ndarray
    ) -> RankedList:
        """Return a list that no model is evaluated for: given items first, then the fallback, under pins and quotas.

        Args:
            ranked: items to begin with, such as an earlier list of the user.
            k: number of items.
            request: placement of the list.
            allowed_V: result of ``allowed_items`` for this request.

        Raises:
            ValueError: an unknown placement.
        """
        return self._placement(request.placement).rules.build_list(ranked, k, allowed_V, fallback=self._fallback)

    def _placement(self, name: str) -> CompiledPlacement:
        if name not in self._placements:
            raise ValueError(f"There is no placement '{name}'. The placements: {', '.join(self._placements)}.")
        return self._placements[name]


class PlacementScorer:
    """One placement as a scorer, to evaluate its lists with rules and diversification."""

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
        """Return the catalog size with PAD."""
        return self.engine.pipeline.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]: 1 for the first of k items, less in equal steps, 0 for the others."""
        scores_BV = np.zeros((len(histories), self.size), dtype=np.float32)
        for b in range(len(histories)):
            row = histories.take(slice(b, b + 1))
            items = self.engine.recommend(row, self.k, self.request, now_us=self.now_us).items_C
            scores_BV[b, items] = 1.0 - np.arange(len(items), dtype=np.float32) / self.k
        return scores_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the pipeline."""
        return self.engine.pipeline.arrays()


def item_embeddings(pipeline: Pipeline) -> np.ndarray | None:
    """Return the item embeddings of the first source that has some, float32 [V, D]; None without such a source."""
    for source in pipeline.sources:
        scorer = source.scorer
        if isinstance(scorer, EmbeddingScorer) and scorer.item_embeddings is not None:
            return scorer.item_embeddings
    return None


def _fallback_scores(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """Return the scores of the fallback steps: trend where it is a source, then the number of events."""
    no_history = Sequences.from_lists([[]])
    demand = {}
    for source in pipeline.sources:
        if source.config.model == "trend":
            demand[source.name] = source.scorer.scores(no_history)[0]
            demand[source.name][PAD] = 0.0
            break
    return demand | {"popularity": pipeline.item_statistics.counts_V}
