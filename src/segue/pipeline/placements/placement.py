"""Placements of a pipeline: candidates under rules, diversified, explored; k items while k are allowed.

Shape letters: B batch, C candidates, D embedding size, V catalog size with PAD.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.models.top_k import SeenRule, default_seen_rule
from segue.pipeline.config import PlacementConfig
from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.diversification import Diversifier
from segue.pipeline.placements.exploration import Explorer, Feedback
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.fallback_scores import fallback_scores
from segue.pipeline.placements.item_embeddings import item_embeddings
from segue.pipeline.placements.list_builder import SlotPolicy
from segue.pipeline.placements.rules import Rules
from segue.pipeline.ranked_list import RankedList

DEFAULT_PLACEMENT = "default"
"""Placement of a request that names none."""
GENERATED = "generated"
"""Source of an item of a generated sequence."""


@dataclass(frozen=True)
class PlacementRequest:
    """Request to a placement, besides the history and the number of items."""

    placement: str = DEFAULT_PLACEMENT
    """Name of the placement."""
    exclude: Sequence[int] = ()
    """Item indices to leave out."""
    impressions: Sequence[int] = ()
    """Items recently recommended to the user, for placements that leave them out."""
    exclude_seen: SeenRule | None = None
    """Items of the history to leave out; None: as the placement's rules state."""
    filter: str = ""
    """Filter expression, in addition to the placement's own."""
    allowed_V: np.ndarray | None = None
    """bool [V]: items that may be recommended; None: all."""
    seen: Sequences | None = None
    """One row with the events of all types, for a rule on event types where the history lacks some of them; None: the
    history."""

    def seen_history(self, history: Sequences, rules: Rules) -> Sequences:
        """Return the row whose items the rule for seen items reads.

        Args:
            history: one row, the history of the model.
            rules: rules of the placement.
        """
        rule = rules.config.exclude_seen if self.exclude_seen is None else self.exclude_seen
        return self.seen if self.seen is not None and isinstance(rule, tuple) else history


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
        item_data: ItemData | None = None,
    ) -> None:
        """Compile the rules of all placements.

        Args:
            pipeline: the fitted pipeline.
            catalog: its items.
            items: item id -> feature -> value, as in an artifact.
            placements: settings in place of the pipeline's own; None: the pipeline's.
            feedback: impressions and clicks for Thompson exploration; None: none.
            item_data: columns and statistics after a change, in place of those of ``items``; None: those of ``items``.

        Raises:
            ValueError: a rule with an unknown column or a wrong filter.
        """
        statistics = pipeline.item_statistics
        item_data = item_data or ItemData(
            catalog, ItemColumns.from_items(items, catalog), statistics.counts_V, statistics.first_us_V
        )
        self.pipeline = pipeline
        self.item_data = item_data
        """Columns and statistics that the rules read."""
        self._filters, vectors_VD = Filters(item_data.columns), self._item_embeddings()
        self.settings = settings = {
            placement.name: placement for placement in (pipeline.config.placement if placements is None else placements)
        }
        if DEFAULT_PLACEMENT not in settings:
            default = PlacementConfig(DEFAULT_PLACEMENT)
            settings[DEFAULT_PLACEMENT] = replace(
                default, rules=replace(default.rules, exclude_seen=default_seen_rule(pipeline.exclude_seen))
            )
        self._placements: dict[str, CompiledPlacement] = {}
        for name, placement in settings.items():
            try:
                self._placements[name] = CompiledPlacement(
                    Rules(placement.rules, item_data, self._filters),
                    Diversifier(placement.rerank, item_data.columns, vectors_VD),
                    Explorer(placement.explore, feedback),
                )
            except ValueError as error:
                raise ValueError(f"Placement '{name}': {error}") from None
        rules = [stages.rules.config for stages in self._placements.values()]
        self.reads_event_types = any(isinstance(config.exclude_seen, tuple) for config in rules)
        """True if a placement leaves out items of some event types."""
        self.reads_impressions = any(config.exclude_shown for config in rules)
        """True if a placement leaves out items that were recently recommended."""
        self.refresh_fallback()

    def allowing(self, item: int) -> list[str]:
        """Return the placements whose filter, exclusions and stock allow an item of this index."""
        return [name for name, stages in self._placements.items() if stages.rules.always_allowed_V[item]]

    def notes_of(self, name: str) -> list[str]:
        """Return the sentences about suspicious rules of a placement."""
        return list(self.stages_of(name).rules.notes)

    def refresh_fallback(self) -> None:
        """Sort the fallback items anew, after the trend source got other scores."""
        self._fallback = FallbackChain(fallback_scores(self.pipeline), self.item_data.columns.size)

    def _item_embeddings(self) -> np.ndarray | None:
        """Return the embeddings that lists are diversified by, float32 [V, D]; None without any."""
        return item_embeddings(self.pipeline)

    @property
    def fallback(self) -> FallbackChain:
        """Items that fill short lists."""
        return self._fallback

    @property
    def names(self) -> list[str]:
        """Names of the placements."""
        return list(self._placements)

    @property
    def notes(self) -> list[str]:
        """Sentences about suspicious rules."""
        return [f"Placement {name}: {note}" for name, stages in self._placements.items() for note in stages.rules.notes]

    def pipeline_history(self, history: Sequences) -> Sequences:
        """Return a history for the pipeline's own scorers, which know no item that joined after their training."""
        return history

    def fit_mask(self, allowed_V: np.ndarray) -> np.ndarray:
        """Return a mask of items at the present size; items that joined after it was made are not allowed."""
        missing = self.item_data.columns.size - len(allowed_V)
        return np.concatenate([allowed_V, np.zeros(missing, dtype=bool)]) if missing > 0 else allowed_V

    def allowed_items(self, history: Sequences, request: PlacementRequest) -> np.ndarray:
        """Return the items that may be recommended to one user, bool [V].

        Args:
            history: one row.
            request: the request.

        Raises:
            ValueError: an unknown placement or a wrong filter.
        """
        rules = self.stages_of(request.placement).rules
        allowed_V = rules.allowed_items(
            request.seen_history(history, rules),
            exclude_seen=request.exclude_seen,
            impressions=request.impressions,
            exclude=request.exclude,
            filter=request.filter,
        )
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
        policy: Callable[[Explorer], SlotPolicy] | None = None,
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
            policy: selection of each item by the placement's exploration, such as ``Explorer.replay_policy``; None:
                draws of ``rng``.

        Raises:
            ValueError: an unknown placement or a wrong filter.
        """
        request = request or PlacementRequest()
        rules, _, explorer = self.stages_of(request.placement)
        if allowed_V is None:
            allowed_V = self.allowed_items(history, request)
        ranked = self.rank_candidates(history, k, request.placement, allowed_V, now_us)[-1]
        if policy is not None:
            selection = policy(explorer)
        elif rng is not None:
            selection = explorer.policy(rng)
        else:
            return rules.build_list(ranked, k, allowed_V, fallback=self._fallback)
        if explorer.config.method == "thompson":  # a boost may lift a probability above 1
            ranked = replace(ranked, scores_C=np.minimum(ranked.scores_C, 1.0))
        return rules.build_list(ranked, k, allowed_V, fallback=self._fallback, policy=selection)

    def rank_candidates(
        self, history: Sequences, k: int, placement: str, allowed_V: np.ndarray, now_us: int | None = None
    ) -> tuple[RankedList, RankedList, RankedList]:
        """Return the candidates by probability, after boosts and other factors, and after the diversification.

        Args:
            history: one row.
            k: number of items of the list.
            placement: name of the placement.
            allowed_V: result of ``allowed_items``.
            now_us: time of the request, UTC microseconds; None: the clock.
        """
        rules, diversifier, _ = self.stages_of(placement)
        known = history.drop_unknown()
        ranked = self._ranked_candidates(known, allowed_V)
        rescored = rules.rescore(ranked, now_us=time.time_ns() // 1000 if now_us is None else now_us)
        return ranked, rescored, diversifier.apply(rescored, k, known.items[known.starts[0] : known.stops[0]])

    def _ranked_candidates(self, known: Sequences, allowed_V: np.ndarray) -> RankedList:
        """Return the allowed candidates of one history by their probability to be the next item."""
        candidates, scores_BC = self.pipeline.score_candidates(known, allowed_V=allowed_V)
        return candidates.ranked_list(0, self.pipeline.scoring.probabilities(scores_BC, known.lengths)[0])

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
        return self.stages_of(request.placement).rules.build_list(ranked, k, allowed_V, fallback=self._fallback)

    def arrange(
        self, items_K: np.ndarray, scores_K: np.ndarray, k: int, request: PlacementRequest, allowed_V: np.ndarray
    ) -> RankedList:
        """Return given items under the pins and quotas of a placement, as those of a generated sequence.

        Args:
            items_K: item indices in order; PAD is skipped.
            scores_K: their scores.
            k: number of items.
            request: placement of the list.
            allowed_V: result of ``allowed_items`` for this request.

        Raises:
            ValueError: an unknown placement.
        """
        is_item_K = items_K != PAD
        ranked = RankedList.from_items(items_K[is_item_K], scores_K[is_item_K], sources=(GENERATED,))
        return self.list_without_scoring(ranked, k, request, allowed_V)

    def stages_of(self, name: str) -> CompiledPlacement:
        """Return the compiled stages of a placement. ValueError for an unknown one."""
        if name not in self._placements:
            raise ValueError(f"There is no placement '{name}'. The placements: {', '.join(self._placements)}.")
        return self._placements[name]
