"""Final list of a placement, position by position: pins, quotas, exploration, and k items while k are allowed.

Shape letters: C candidates in the pool, V catalog size with PAD.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.quotas import QuotaCounter, Quotas
from segue.pipeline.ranked_list import NO_SOURCE, PlacementReason, RankedList


@dataclass(frozen=True)
class SlotCandidates:
    """Candidates of one position, best first."""

    position: int
    """Position in the list, from 0."""
    items: np.ndarray
    """int32."""
    scores: np.ndarray
    """float64."""
    ranks: np.ndarray
    """int64: ranks of the items in the pool, from 0."""


SlotPolicy = Callable[[SlotCandidates], tuple[int, float]]
"""Selection for one position: index of the selected candidate, and its probability."""


def best_candidate(slot: SlotCandidates) -> tuple[int, float]:
    """Select the first candidate."""
    return 0, 1.0


def build_list(
    ranked: RankedList,
    k: int,
    allowed_V: np.ndarray,
    *,
    fallback: FallbackChain,
    pins: dict[int, int] | None = None,
    quotas: Quotas | None = None,
    policy: SlotPolicy = best_candidate,
) -> RankedList:
    """Build a list of k items, or of all allowed ones where these are fewer.

    A pin stands at its position, or last where the list is shorter. Quotas come next. While they exclude all remaining
    candidates, the steps of the fallback are added. Where no item satisfies them the lower limits are given up, then
    the upper limits (``PlacementReason.RELAXED``).

    Args:
        ranked: candidates, best first.
        k: largest length of the list, at least 1.
        allowed_V: bool, items that may be listed.
        fallback: steps that fill the list.
        pins: position from 0 -> item index; None: none.
        quotas: limits of the list; None: none.
        policy: selects the item of each position without a pin; fallback items come one at a time.

    Raises:
        ValueError: k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    return _ListBuilder(ranked, k, allowed_V, fallback, pins or {}, quotas).build(policy)


class _ListBuilder:
    """State of one list while it is built."""

    def __init__(
        self,
        ranked: RankedList,
        k: int,
        allowed_V: np.ndarray,
        fallback: FallbackChain,
        pins: dict[int, int],
        quotas: Quotas | None,
    ) -> None:
        self._allowed_V = allowed_V
        self._length = min(k, int(np.count_nonzero(allowed_V)))
        self._steps = iter(fallback.steps)
        self._pins = self._placed(pins, k)
        self._pool = ranked.take(np.flatnonzero(allowed_V[ranked.items_C]))
        missing = [item for item in self._pins.values() if item not in self._pool.items_C]
        if missing:
            none = np.full(len(missing), NO_SOURCE, dtype=np.int32)
            without = np.full(len(missing), -np.inf)
            self._pool = self._pool.followed_by(
                RankedList.from_items(missing, without, sources=ranked.sources, source_C=none)
            )
        self._free_C = ~np.isin(self._pool.items_C, list(self._pins.values()))
        self._count: QuotaCounter | None = quotas.start() if quotas else None
        for item in self._pins.values():
            self._add(item)

    def _placed(self, pins: dict[int, int], k: int) -> dict[int, int]:
        """Return the allowed pins by position; one behind the end of the list gets its last free position."""
        allowed = {position: item for position, item in sorted(pins.items()) if position < k and self._allowed_V[item]}
        placed = {position: item for position, item in allowed.items() if position < self._length}
        for position, item in sorted(allowed.items(), reverse=True):
            if position >= self._length:
                free = next(p for p in range(self._length - 1, -1, -1) if p not in placed)
                placed[free] = item
        return placed

    def build(self, policy: SlotPolicy) -> RankedList:
        selected, reasons, propensity = [], [], []
        for position in range(self._length):
            if position in self._pins:
                reason = PlacementReason.PINNED
                index = int(np.flatnonzero(self._pool.items_C == self._pins[position])[0])
                _, probability = policy(self._slot(position, np.array([index])))
            else:
                open_C, reason = self._open_candidates(position)
                choice, probability = policy(self._slot(position, open_C))
                index = int(open_C[choice])
                if choice:
                    reason = PlacementReason.EXPLORED
                elif reason == PlacementReason.RANKED:
                    reason = PlacementReason(int(self._pool.reasons_C[index]))
                self._free_C[index] = False
                self._add(int(self._pool.items_C[index]))
            selected.append(index)
            reasons.append(reason)
            propensity.append(probability)
        items = self._pool.take(np.array(selected, dtype=np.int64))
        return replace(
            items, reasons_C=np.array(reasons, dtype=np.int8), propensity_C=np.array(propensity, dtype=np.float64)
        )

    def _slot(self, position: int, at_C: np.ndarray) -> SlotCandidates:
        return SlotCandidates(position, self._pool.items_C[at_C], self._pool.scores_C[at_C], at_C)

    def _add(self, item: int) -> None:
        if self._count is not None:
            self._count.add(item)

    def _open_candidates(self, position: int) -> tuple[np.ndarray, PlacementReason]:
        """Return (indices in the pool of the candidates of a position, never empty; reason of a quota)."""
        while True:
            open_C, reason = self._within_quotas(position)
            if len(open_C):
                return self._one_reason(open_C), reason
            step = next(self._steps, None)
            if step is None:
                return self._relaxed(), PlacementReason.RELAXED
            # Without quotas any allowed item will do: no more of them are needed than the list has positions.
            max_items = None if self._count is not None else self._length
            added = step.remaining(self._allowed_V, exclude=self._pool.items_C, max_items=max_items)
            self._pool = self._pool.followed_by(added)
            self._free_C = np.concatenate([self._free_C, np.ones(len(added), dtype=bool)])

    def _one_reason(self, open_C: np.ndarray) -> np.ndarray:
        """Return the ranked candidates if the first is one, else the first alone: no draw mixes them with fallback
        items."""
        reasons_C = self._pool.reasons_C[open_C]
        return open_C[reasons_C == PlacementReason.RANKED] if reasons_C[0] == PlacementReason.RANKED else open_C[:1]

    def _within_quotas(self, position: int) -> tuple[np.ndarray, PlacementReason]:
        """Return the free candidates that satisfy the quotas."""
        free_C = np.flatnonzero(self._free_C)
        if self._count is None:
            return free_C, PlacementReason.RANKED
        open_C = free_C[~self._count.is_closed_V[self._pool.items_C[free_C]]]
        left = self._length - position - sum(p > position for p in self._pins)
        if self._count.num_required < left:
            return open_C, PlacementReason.RANKED
        serving_C = open_C[self._count.required_items()[self._pool.items_C[open_C]]]
        same = len(serving_C) > 0 and serving_C[0] == open_C[0]
        return serving_C, PlacementReason.RANKED if same else PlacementReason.QUOTA

    def _relaxed(self) -> np.ndarray:
        """Return one candidate within the upper limits, or any, when no item of the catalog satisfies all quotas."""
        assert self._count is not None
        free_C = np.flatnonzero(self._free_C)
        open_C = free_C[~self._count.is_closed_V[self._pool.items_C[free_C]]]
        return (open_C if len(open_C) else free_C)[:1]
