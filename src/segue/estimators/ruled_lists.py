"""Lists of a loaded model under the rules of a request: seen items, candidates, and the placements of a pipeline.

Shape letters: B histories, K list length, V catalog size with PAD.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple, TypedDict

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.estimators.histories import check_ids
from segue.models.generation.generate import generate
from segue.models.generation.strategy import Strategy
from segue.models.scorer import Scorer
from segue.models.top_k import default_seen_rule, seen_items, top_k
from segue.pipeline.config import PlacementConfig
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.placement import DEFAULT_PLACEMENT, PlacementEngine, PlacementRequest
from segue.pipeline.ranked_list import RankedList

_NO_HISTORY = Sequences.from_lists([[]])


class ListRules(TypedDict, total=False):
    """Optional rules of a request; ``placement`` and ``filter`` need a pipeline."""

    placement: str | None
    """Name of the placement whose rules hold; None: the default placement."""
    filter: str
    """Filter expression, in addition to the placement's own."""
    exclude: Iterable[str]
    """Ids of items that no list may hold."""


@dataclass(frozen=True)
class ListRequest:
    """Rules of a request for lists, with item indices."""

    exclude_seen: bool | None = None
    """Leave out the items of each history; None: as the placement states, or as in the evaluation of a single model."""
    allowed_V: np.ndarray | None = None
    """bool [V]: items that may be listed; None: all."""
    placement: str | None = None
    """Name of the placement; None: the default placement."""
    filter: str = ""
    """Filter expression."""
    exclude: Sequence[int] = field(default=())
    """Item indices that no list may hold."""

    def for_placement(self) -> PlacementRequest:
        """Return the request to a placement."""
        return PlacementRequest(
            self.placement or DEFAULT_PLACEMENT,
            exclude=self.exclude,
            exclude_seen=self.exclude_seen,
            filter=self.filter,
            allowed_V=self.allowed_V,
        )


def encode_request(
    catalog: Catalog, exclude_seen: bool | None, items: Iterable[str] | None, rules: Mapping[str, Any]
) -> ListRequest:
    """Encode the rules of a request with item indices; ids outside the catalog are skipped.

    Args:
        catalog: the items.
        exclude_seen: see ``ListRequest``.
        items: ids of the candidate items; None: all.
        rules: values of ``ListRules``.

    Raises:
        ValueError: a text in place of a list of ids, or an id that is not text.
        TypeError: an unknown rule.
    """
    if unknown := set(rules) - set(ListRules.__annotations__):
        known = ", ".join(["exclude_seen", "items", *ListRules.__annotations__])
        raise TypeError(f"There is no rule '{min(unknown)}'. The rules of a request: {known}.")
    exclude, allowed_V = rules.get("exclude") or (), None
    for name, ids in (("items", items), ("exclude", exclude)):
        if isinstance(ids, str):
            raise ValueError(f"{name} is a list of item ids, got the text '{ids}': write ['{ids}'].")
    if items is not None:
        allowed_V = np.zeros(catalog.size, dtype=bool)
        allowed_V[catalog.to_indices(check_ids(items, "Item"))] = True
    excluded = catalog.to_indices_list(check_ids(exclude, "Item"))
    return ListRequest(exclude_seen, allowed_V, rules.get("placement"), rules.get("filter") or "", excluded)


class LiveRules(NamedTuple):
    """Items and rules of a server that were changed after the training."""

    engine: PlacementEngine | None = None
    """Placements over the changed items of a pipeline; None: those of the pipeline."""
    hidden: Sequence[int] = ()
    """Indices of items that no list of a single model may hold."""


class RuledLists:
    """Lists of one model. Every list keeps the rules of its request, and of its placement if the model has some."""

    def __init__(
        self,
        scorer: Scorer,
        catalog: Catalog,
        items: Mapping[str, Mapping[str, Any]],
        *,
        excluded_in_evaluation: bool,
        placements: Sequence[PlacementConfig] | None = None,
        live: LiveRules | None = None,
    ) -> None:
        """Make the lists of a model.

        Args:
            scorer: the model.
            catalog: its items.
            items: item id -> column -> value.
            excluded_in_evaluation: seen items were left out in the evaluation, and are by default.
            placements: placements in place of the pipeline's own; None: the pipeline's.
            live: items and rules that were changed after the training; None: none were.
        """
        self.scorer = scorer
        self._catalog = catalog
        self._items = items
        self._placements = placements
        self._live = live or LiveRules()
        self._seen_rule = default_seen_rule(excluded_in_evaluation)

    @cached_property
    def engine(self) -> PlacementEngine:
        """Placements of the pipeline. ValueError for a single model, or a rule with an unknown column."""
        if not isinstance(self.scorer, Pipeline):
            raise ValueError(f"This is a single model, {self.scorer.name}: train a pipeline with 'segue pipeline'.")
        if self._live.engine is not None:
            return self._live.engine
        return PlacementEngine(self.scorer, self._catalog, self._items, placements=self._placements)

    def check(self, request: ListRequest) -> None:
        """Check a request before its histories are read.

        Raises:
            ValueError: a placement or filter for a single model, an unknown placement, or a wrong filter.
        """
        if isinstance(self.scorer, Pipeline) or request.placement is not None or request.filter:
            self.engine.allowed_items(_NO_HISTORY, request.for_placement())

    def notes(self, request: ListRequest) -> list[str]:
        """Return sentences about suspicious rules of the placements, and about rules without effect here."""
        if not isinstance(self.scorer, Pipeline):
            return []
        name = request.for_placement().placement
        if not self.engine.stages_of(name).rules.config.exclude_shown:
            return self.engine.notes
        return [
            *self.engine.notes,
            f"Placement {name}: exclude_shown has no effect here, because earlier lists are known to a server only.",
        ]

    def top_k(
        self, rows: Sequences, k: int, request: ListRequest, seen: Sequences | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best items of each history.

        Args:
            rows: B histories.
            k: length of each list.
            request: rules of the lists.
            seen: B rows with the events of all types, see ``PlacementRequest.seen``; None: the histories.

        Returns:
            (items int32 [B, K], scores [B, K]), PAD and -inf behind shorter lists.

        Raises:
            ValueError: see ``check``.
        """
        self.check(request)
        if not isinstance(self.scorer, Pipeline):
            allowed_V = self._allowed_items(request)
            return top_k(self.scorer.scores(rows), k, exclude=self._seen_items(rows, request), allowed_V=allowed_V)
        wanted = request.for_placement()
        requests = (replace(wanted, seen=row) for row in _each(seen)) if seen is not None else repeat(wanted)
        lists = (self.engine.recommend(row, k, each) for row, each in zip(_each(rows), requests, strict=False))
        return _to_arrays(lists, len(rows), k)

    def generate(
        self,
        scorer: Scorer,
        rows: Sequences,
        k: int,
        strategy: Strategy,
        rng: np.random.Generator,
        request: ListRequest,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Generate the next k items of each history. The pins and quotas of a placement hold in the result too.

        Args:
            scorer: scorer of the steps.
            rows: B histories.
            k: length of each list.
            strategy: the strategy.
            rng: generator of the samples.
            request: rules of the lists.

        Returns:
            See ``top_k``.

        Raises:
            ValueError: see ``check``.
        """
        self.check(request)
        if not isinstance(self.scorer, Pipeline):
            seen, allowed_V = self._seen_items(rows, request), self._allowed_items(request)
            return generate(scorer, rows, k, strategy, rng=rng, exclude=seen, allowed_V=allowed_V)
        wanted, engine = request.for_placement(), self.engine
        seen = engine.stages_of(wanted.placement).rules.seen_items(rows, wanted.exclude_seen)
        allowed_V = engine.allowed_items(_NO_HISTORY, wanted)
        own_rows, own_V, size = engine.pipeline_history(rows), allowed_V[: scorer.size], scorer.size
        if seen is not None:  # sequences are made of the pipeline's own items
            seen = replace(seen, items=np.where(seen.items < size, seen.items, PAD))
        items_BK, scores_BK = generate(scorer, own_rows, k, strategy, rng=rng, exclude=seen, allowed_V=own_V)
        lists = (
            engine.arrange(items_BK[b], scores_BK[b], k, wanted, engine.allowed_items(row, wanted))
            for b, row in enumerate(_each(rows))
        )
        return _to_arrays(lists, len(rows), k)

    def _seen_items(self, rows: Sequences, request: ListRequest) -> Sequences | None:
        return seen_items(rows, self._seen_rule if request.exclude_seen is None else request.exclude_seen)

    def _allowed_items(self, request: ListRequest) -> np.ndarray | None:
        excluded = [*request.exclude, *self._live.hidden]
        if not excluded:
            return request.allowed_V
        allowed_V = np.ones(self._catalog.size, dtype=bool) if request.allowed_V is None else request.allowed_V.copy()
        allowed_V[np.asarray(excluded)] = False
        return allowed_V


def _each(rows: Sequences) -> Iterable[Sequences]:
    return (rows.take(slice(b, b + 1)) for b in range(len(rows)))


def _to_arrays(lists: Iterable[RankedList], count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (items int32 [B, K], scores float64 [B, K]); an item without a score, as a pinned one, has 0."""
    items_BK, scores_BK = np.full((count, k), PAD, dtype=np.int32), np.full((count, k), -np.inf)
    for b, ranked in enumerate(lists):
        items_BK[b, : len(ranked)] = ranked.items_C
        scores_BK[b, : len(ranked)] = np.where(np.isfinite(ranked.scores_C), ranked.scores_C, 0.0)
    return items_BK, scores_BK
