"""Ranked list of one request that passes through the stages of a pipeline: items, scores and sources.

Shape letters: C candidates, S sources, V catalog size with PAD.

>>> ranked = RankedList.from_items([5, 3], [0.9, 0.4], sources=("covisit",))
>>> ranked.take([1]).items_C.tolist(), ranked.source_name(0)
([3], 'covisit')
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from segue.data.catalog import PAD
from segue.models.top_k import best_indices, order_by_score_then_index

NO_SOURCE = -1
"""Source of an item that no source gave: a pinned one."""


class PlacementReason(IntEnum):
    """Reason for an item's position in a list."""

    RANKED = 0
    """Score, or a re-ranking by scores."""
    PINNED = 1
    """A rule pins the item to this position."""
    QUOTA = 2
    """A quota requires at least one more item of its type."""
    EXPLORED = 3
    """Random draw of an exploration policy."""
    FILLED = 4
    """Fallback: the ranked candidates were too few."""
    RELAXED = 5
    """Against a quota: no allowed item satisfied it, and the list would have been short."""


@dataclass(frozen=True)
class RankedList:
    """Candidates of one request in ranked order. A stage returns a new list and never changes one.

    No item occurs twice, and PAD never. Scores fall along the list until a stage (diversification, a pin, a draw)
    changes the order; each item keeps its score, -inf without one.
    """

    items_C: np.ndarray
    """int32."""
    scores_C: np.ndarray
    """float64."""
    source_C: np.ndarray
    """int32: index in ``sources`` of the source that ranks the item best, or NO_SOURCE."""
    sources: tuple[str, ...]
    """Names of the sources and fallback steps."""
    source_ranks_CS: np.ndarray
    """int32: rank of the item, from 1, in each source's list; 0 where the source did not give it."""
    reasons_C: np.ndarray
    """int8: a ``PlacementReason`` per item."""
    propensity_C: np.ndarray
    """float64: probability of the item at this position, given those above it; 1 without a draw."""

    def __post_init__(self) -> None:
        count = len(self.items_C)
        for name in ("scores_C", "source_C", "source_ranks_CS", "reasons_C", "propensity_C"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"A list of {count} items has {len(getattr(self, name))} entries in {name}.")
        rising_C = np.sort(self.items_C)
        if (rising_C[1:] == rising_C[:-1]).any() or (rising_C[:1] == PAD).any():
            raise ValueError(f"A list must hold each item once and no PAD, got {self.items_C.tolist()}.")
        if np.isnan(self.scores_C).any():
            raise ValueError("A score of the list is NaN: the model is broken, its order would be arbitrary.")

    @classmethod
    def from_items(
        cls,
        items_C: Sequence[int] | np.ndarray,
        scores_C: Sequence[float] | np.ndarray,
        *,
        sources: tuple[str, ...],
        source_C: np.ndarray | None = None,
        source_ranks_CS: np.ndarray | None = None,
        reason: PlacementReason = PlacementReason.RANKED,
    ) -> "RankedList":
        """Build a list from items in ranked order.

        Args:
            items_C: item indices, best first.
            scores_C: their scores.
            sources: names of the sources.
            source_C: index of each item's source; None: the first source gave all.
            source_ranks_CS: rank in each source's list; None: the position in this list for the item's source, 0 for
                the others.
            reason: reason of every item.
        """
        items_C = np.asarray(items_C, dtype=np.int32)
        count = len(items_C)
        sources_C = np.zeros(count, dtype=np.int32) if source_C is None else np.asarray(source_C, dtype=np.int32)
        if source_ranks_CS is None:
            source_ranks_CS = np.zeros((count, len(sources)), dtype=np.int32)
            from_source = np.flatnonzero(sources_C != NO_SOURCE)
            source_ranks_CS[from_source, sources_C[from_source]] = from_source + 1
        return cls(
            items_C,
            np.asarray(scores_C, dtype=np.float64),
            sources_C,
            sources,
            np.asarray(source_ranks_CS, dtype=np.int32),
            np.full(count, reason, dtype=np.int8),
            np.ones(count),
        )

    @classmethod
    def top_k(cls, scores_V: np.ndarray, k: int, *, source: str, allowed_V: np.ndarray | None = None) -> "RankedList":
        """Build the list of the k items with the best scores of one source; ties by index.

        Args:
            scores_V: score of every item; -inf: not given by the source.
            k: largest length of the list.
            source: name of the source.
            allowed_V: bool, items that may be listed; None: all.
        """
        reach_V = np.isfinite(scores_V) if allowed_V is None else allowed_V & np.isfinite(scores_V)
        reach = np.flatnonzero(reach_V)
        reach = reach[reach != PAD]
        items = best_indices(scores_V, reach, k)
        return cls.from_items(items, scores_V[items], sources=(source,))

    def __len__(self) -> int:
        return len(self.items_C)

    def take(self, order: Sequence[int] | np.ndarray) -> "RankedList":
        """Return the items at these positions, in this order."""
        order = np.asarray(order, dtype=np.int64)
        return RankedList(
            self.items_C[order],
            self.scores_C[order],
            self.source_C[order],
            self.sources,
            self.source_ranks_CS[order],
            self.reasons_C[order],
            self.propensity_C[order],
        )

    def rescored(self, scores_C: np.ndarray) -> "RankedList":
        """Return the same items under new scores, best first; ties keep their order."""
        scores_C = np.asarray(scores_C, dtype=np.float64)
        return replace(self, scores_C=scores_C).take(order_by_score_then_index(scores_C))

    def followed_by(self, other: "RankedList") -> "RankedList":
        """Return this list followed by the items of another one that it does not hold; names of sources are joined."""
        added = other.take(np.flatnonzero(~np.isin(other.items_C, self.items_C)))
        sources = self.sources + tuple(name for name in added.sources if name not in self.sources)
        column = np.array([sources.index(name) for name in added.sources], dtype=np.int32)
        source_ranks_CS = np.zeros((len(self) + len(added), len(sources)), dtype=np.int32)
        source_ranks_CS[: len(self), : len(self.sources)] = self.source_ranks_CS
        source_ranks_CS[len(self) :, column] = added.source_ranks_CS
        source_C = added.source_C.copy()
        source_C[source_C != NO_SOURCE] = column[source_C[source_C != NO_SOURCE]]
        return RankedList(
            np.concatenate([self.items_C, added.items_C]),
            np.concatenate([self.scores_C, added.scores_C]),
            np.concatenate([self.source_C, source_C]),
            sources,
            source_ranks_CS,
            np.concatenate([self.reasons_C, added.reasons_C]),
            np.concatenate([self.propensity_C, added.propensity_C]),
        )

    def source_name(self, position: int) -> str | None:
        """Return the name of the source of the item at a position; None for a pinned one."""
        source = int(self.source_C[position])
        return None if source == NO_SOURCE else self.sources[source]
