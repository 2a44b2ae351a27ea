"""The list that goes through the pipeline: one request's candidates, best first, and where each came from.

Shape letters: C candidates, S sources, V catalog size with PAD.

>>> found = Ranked.of([5, 3], [0.9, 0.4], sources=("covisit",))
>>> found.take([1]).items_C.tolist(), found.source_of(0)
([3], 'covisit')
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from segue.data.catalog import PAD
from segue.models.top_k import best_indices, order_by_score_then_index

NO_SOURCE = -1
"""The source of an item that no source gave: one that a rule pinned."""


class PlacementReason(IntEnum):
    """How an item came to its place."""

    RANKED = 0
    """By its score, or by a re-ranking of the scores."""
    PINNED = 1
    """A rule asked for it there."""
    QUOTA = 2
    """A rule asked for at least so many of its kind."""
    EXPLORED = 3
    """Drawn by chance."""
    FILLED = 4
    """By the fallback ladder: what was ranked did not suffice."""
    RELAXED = 5
    """Against a quota: no allowed item kept it, and the list would have been short."""


@dataclass(frozen=True)
class RankedList:
    """One request's list; its order is the answer. A stage never writes to it but makes a new one.

    No item comes twice, PAD never. Scores fall along the list until a stage (variety, a pin, a draw) changes the
    order; a score stays what it was then, and is -inf where an item has none.
    """

    items_C: np.ndarray
    """int32."""
    scores_C: np.ndarray
    """float64."""
    source_C: np.ndarray
    """int32: the index in ``sources`` of the source that gave the item first, or NO_SOURCE."""
    sources: tuple[str, ...]
    """The sources' names; a fallback step has its name here too."""
    source_ranks_CS: np.ndarray
    """int32: the item's place, from 1, in each source's own list; 0 where the source did not give it."""
    reasons_C: np.ndarray
    """int8: a ``How`` for each item."""
    propensity_C: np.ndarray
    """float64: the probability that this item was to be shown here, given those above it; 1 where nothing was drawn."""

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
        """A list as given, best first. Without ``source_C`` the first source gave all; without ``source_ranks_CS`` the place
        in the list is the place in its source, and no other source gave it."""
        items_C = np.asarray(items_C, dtype=np.int32)
        count = len(items_C)
        given_C = np.zeros(count, dtype=np.int32) if source_C is None else np.asarray(source_C, dtype=np.int32)
        if source_ranks_CS is None:
            source_ranks_CS = np.zeros((count, len(sources)), dtype=np.int32)
            known = np.flatnonzero(given_C != NO_SOURCE)
            source_ranks_CS[known, given_C[known]] = known + 1
        return cls(
            items_C,
            np.asarray(scores_C, dtype=np.float64),
            given_C,
            sources,
            np.asarray(source_ranks_CS, dtype=np.int32),
            np.full(count, reason, dtype=np.int8),
            np.ones(count),
        )

    @classmethod
    def top_k(cls, scores_V: np.ndarray, k: int, *, source: str, allowed_V: np.ndarray | None = None) -> "RankedList":
        """The ``count`` best items of one source's scores, fewer where fewer are allowed; equals by index. An item
        whose score is -inf is none of its."""
        reach_V = np.isfinite(scores_V) if allowed_V is None else allowed_V & np.isfinite(scores_V)
        reach = np.flatnonzero(reach_V)
        reach = reach[reach != PAD]
        items = best_indices(scores_V, reach, k)
        return cls.from_items(items, scores_V[items], sources=(source,))

    def __len__(self) -> int:
        return len(self.items_C)

    def take(self, order: Sequence[int] | np.ndarray) -> "RankedList":
        """The items at these places, in this order."""
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
        """The same items under new scores, best first; equals keep their order."""
        scores_C = np.asarray(scores_C, dtype=np.float64)
        return replace(self, scores_C=scores_C).take(order_by_score_then_index(scores_C))

    def followed_by(self, other: "RankedList") -> "RankedList":
        """This list and, behind it, the other's items that are not in it; the sources' names are joined."""
        fresh = other.take(np.flatnonzero(~np.isin(other.items_C, self.items_C)))
        sources = self.sources + tuple(name for name in fresh.sources if name not in self.sources)
        column = np.array([sources.index(name) for name in fresh.sources], dtype=np.int32)
        source_ranks_CS = np.zeros((len(self) + len(fresh), len(sources)), dtype=np.int32)
        source_ranks_CS[: len(self), : len(self.sources)] = self.source_ranks_CS
        source_ranks_CS[len(self) :, column] = fresh.source_ranks_CS
        source_C = fresh.source_C.copy()
        source_C[source_C != NO_SOURCE] = column[source_C[source_C != NO_SOURCE]]
        return RankedList(
            np.concatenate([self.items_C, fresh.items_C]),
            np.concatenate([self.scores_C, fresh.scores_C]),
            np.concatenate([self.source_C, source_C]),
            sources,
            source_ranks_CS,
            np.concatenate([self.reasons_C, fresh.reasons_C]),
            np.concatenate([self.propensity_C, fresh.propensity_C]),
        )

    def source_name(self, position: int) -> str | None:
        """The name of the source that gave the item at a place; None for a pinned one."""
        source = int(self.source_C[position])
        return None if source == NO_SOURCE else self.sources[source]
