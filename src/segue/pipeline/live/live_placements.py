"""Placements of a served pipeline with changed item columns, hidden items and new items behind the pipeline's own.

Shape letters: V catalog size of the pipeline with PAD, D embedding size, N new items, K neighbors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.pipeline.config import PlacementConfig
from segue.pipeline.explanations.explain import Explanation, explain
from segue.pipeline.explanations.templates import reason_sentence
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.live.new_items import NewItems
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.item_embeddings import item_embeddings
from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
from segue.pipeline.ranked_list import RankedList


class LivePlacementEngine(PlacementEngine):
    """Placements over the items of a pipeline and new ones. It is never changed: a change makes another one."""

    def __init__(
        self,
        pipeline: Pipeline,
        item_data: ItemData,
        placements: Sequence[PlacementConfig],
        new_items: NewItems,
        hidden: Sequence[int] = (),
    ) -> None:
        """Compile the rules of all placements.

        Args:
            pipeline: the fitted pipeline.
            item_data: columns, counts and first events of its items and the new ones.
            placements: settings of the placements.
            new_items: items behind those of the pipeline.
            hidden: indices of items that no list may hold.

        Raises:
            ValueError: a rule with an unknown column or a wrong filter.
        """
        self.new_items = new_items
        self._surrogates_N = new_items.surrogates()
        self._hidden = np.array(sorted(hidden), dtype=np.int64)
        super().__init__(pipeline, item_data.catalog, {}, placements=placements, item_data=item_data)

    def with_new_items(self, new_items: NewItems) -> "LivePlacementEngine":
        """Return the same placements with other events of the new items."""
        out = LivePlacementEngine.__new__(LivePlacementEngine)
        out.__dict__.update(self.__dict__)
        out.new_items = new_items
        return out

    def allowed_items(self, history: Sequences, request: PlacementRequest) -> np.ndarray:
        """See ``PlacementEngine.allowed_items``; hidden items are never allowed."""
        allowed_V = super().allowed_items(history, request)
        allowed_V[self._hidden] = False
        return allowed_V

    def pipeline_history(self, history: Sequences) -> Sequences:
        """Return the history with items of the pipeline only: a new item as the one most like it, or left out."""
        first = self.new_items.first
        is_new_N = history.items >= first
        if not is_new_N.any():
            return history
        items = history.items.copy()
        items[is_new_N] = self._surrogates_N[items[is_new_N] - first]
        return replace(history, items=items).drop_unknown()

    def known_history(self, history: Sequences) -> Sequences:
        """Return the history without new items."""
        first = self.new_items.first
        return replace(history, items=np.where(history.items >= first, PAD, history.items)).drop_unknown()

    def _item_embeddings(self) -> np.ndarray | None:
        """Return the embeddings of the pipeline, and for a new item the weighted mean of its neighbors'."""
        own_VD = item_embeddings(self.pipeline)
        if own_VD is None or not len(self.new_items):
            return own_VD
        weights_NK = self.new_items.similarities_NK[:, :, None]
        mean_ND = (weights_NK * own_VD[self.new_items.neighbors_NK]).sum(axis=1)
        mean_ND /= np.maximum(weights_NK.sum(axis=1), 1e-12)
        return np.concatenate([own_VD, mean_ND.astype(own_VD.dtype)])

    def _ranked_candidates(self, known: Sequences, allowed_V: np.ndarray) -> RankedList:
        """Return the candidates of the pipeline and the new items by their probability to be the next item."""
        first = self.new_items.first
        ranked = super()._ranked_candidates(self.pipeline_history(known), allowed_V[:first])
        if not len(self.new_items):
            return ranked
        return self.new_items.join(known.to_lists()[0], ranked, allowed_V)

    def probabilities(self, history: Sequences, items: Sequence[int]) -> list[float]:
        """Return the probability of given items to be the next one; new items as in lists, 0 for PAD.

        Args:
            history: one row.
            items: item indices.
        """
        known, first = history.drop_unknown(), self.new_items.first
        own_history = self.pipeline_history(known)
        own = Sequences.from_lists([[item if item < first else PAD for item in items]])
        values = self.pipeline.probabilities(own_history, own)[0].tolist()
        if any(item >= first for item in items):
            allowed_V = np.ones(first, dtype=bool)
            ranked = super()._ranked_candidates(own_history, allowed_V)
            scores_N, _ = self.new_items.scores(known.to_lists()[0], ranked, allowed_V)
            values = [scores_N[i - first] if i >= first else p for i, p in zip(items, values, strict=True)]
        return [float(value) for value in values]

    def explain(self, history: Sequences, ranked: RankedList, titles: Mapping[int, str]) -> list[Explanation]:
        """Explain each item of a list; a new item has the reason "new".

        Args:
            history: one row.
            ranked: result of ``recommend`` for this history.
            titles: item index -> title, for the sentences.
        """
        positions = np.flatnonzero(ranked.items_C < self.new_items.first)
        own = ranked.take(positions)
        known = explain(self.pipeline, self.known_history(history), own, titles) if len(own) else []
        by_position = dict(zip(positions.tolist(), known, strict=True))
        return [by_position.get(c) or _new_item(ranked, c) for c in range(len(ranked))]


def explain_list(
    engine: PlacementEngine, history: Sequences, ranked: RankedList, titles: Mapping[int, str]
) -> list[Explanation]:
    """Explain each item of a list.

    Args:
        engine: the placements that made the list.
        history: one row.
        ranked: result of ``recommend`` for this history.
        titles: item index -> title, for the sentences.
    """
    if isinstance(engine, LivePlacementEngine):
        return engine.explain(history, ranked, titles)
    return explain(engine.pipeline, history, ranked, titles)


def _new_item(ranked: RankedList, position: int) -> Explanation:
    ranks = zip(ranked.sources, ranked.source_ranks_CS[position].tolist(), strict=True)
    named = {source: rank for source, rank in ranks if rank > 0}
    return Explanation(int(ranked.items_C[position]), named, {}, (), "new", reason_sentence("new", []))
