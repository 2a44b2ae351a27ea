"""The final list, place by place: pins where asked, quotas kept, draws at the tail, and k answers while k are allowed.

Shape letters: C candidates in the pool, V catalog size with PAD, K places.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.quotas import QuotaCounter, Quotas
from segue.pipeline.ranked_list import NO_SOURCE, PlacementReason, RankedList


@dataclass(frozen=True)
class SlotCandidates:
    """What may come to one place, best first."""

    position: int
    """From 0."""
    items: np.ndarray
    """int32."""
    scores: np.ndarray
    """float64."""
    ranks: np.ndarray
    """int64: the items' places, from 0, in the pool."""


SlotPolicy = Callable[[SlotCandidates], tuple[int, float]]
"""Which of the open items comes to the place, and with what probability it was chosen."""


def best_candidate(slot: SlotCandidates) -> tuple[int, float]:
    """The first, always."""
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
    """k items, or all that are allowed where these are fewer.

    ``ranked`` is gone through from the front; what is not allowed is dropped. A pin (place from 0 -> item) stands
    where it was asked, or last where the list ends before. Quotas come next: while they close all that is left, the
    ladder's steps are tried; where nothing keeps them the at-leasts are given up, then the at-mosts (``How.RELAXED``).
    ``choose`` picks from what is open at each place that no pin has; it sees filled items one at a time.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    return _ListBuilder(ranked, k, allowed_V, fallback, pins or {}, quotas).build(policy)


class _ListBuilder:
    """One list in the making."""

    def __init__(
        self,
        ranked: RankedList,
        k: int,
        allowed_V: np.ndarray,
        ladder: FallbackChain,
        pins: dict[int, int],
        quotas: Quotas | None,
    ) -> None:
        self._allowed_V = allowed_V
        self._length = min(k, int(np.count_nonzero(allowed_V)))
        self._steps = iter(ladder.steps)
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
        """The allowed pins by place; one behind the list's end comes to its last free place."""
        there = {place: item for place, item in sorted(pins.items()) if place < k and self._allowed_V[item]}
        placed = {place: item for place, item in there.items() if place < self._length}
        for place, item in sorted(there.items(), reverse=True):
            if place >= self._length:
                free = next(p for p in range(self._length - 1, -1, -1) if p not in placed)
                placed[free] = item
        return placed

    def build(self, policy: SlotPolicy) -> RankedList:
        chosen, how, propensity = [], [], []
        for place in range(self._length):
            if place in self._pins:
                at, reason = int(np.flatnonzero(self._pool.items_C == self._pins[place])[0]), PlacementReason.PINNED
                _, probability = policy(self._slot(place, np.array([at])))
            else:
                open_C, reason = self._open_candidates(place)
                pick, probability = policy(self._slot(place, open_C))
                at = int(open_C[pick])
                if pick:
                    reason = PlacementReason.EXPLORED
                elif reason == PlacementReason.RANKED:
                    reason = PlacementReason(int(self._pool.reasons_C[at]))
                self._free_C[at] = False
                self._add(int(self._pool.items_C[at]))
            chosen.append(at)
            how.append(reason)
            propensity.append(probability)
        done = self._pool.take(np.array(chosen, dtype=np.int64))
        return replace(
            done, reasons_C=np.array(how, dtype=np.int8), propensity_C=np.array(propensity, dtype=np.float64)
        )

    def _slot(self, place: int, at_C: np.ndarray) -> SlotCandidates:
        return SlotCandidates(place, self._pool.items_C[at_C], self._pool.scores_C[at_C], at_C)

    def _add(self, item: int) -> None:
        if self._count is not None:
            self._count.add(item)

    def _open_candidates(self, place: int) -> tuple[np.ndarray, PlacementReason]:
        """(places in the pool that may come next, never empty; why, where a quota says so)."""
        while True:
            open_C, reason = self._within_quotas(place)
            if len(open_C):
                return self._one_reason(open_C), reason
            step = next(self._steps, None)
            if step is None:
                return self._relaxed(), PlacementReason.RELAXED
            # Without quotas any allowed item will do, so that no more of them are needed than the list has places.
            most = None if self._count is not None else self._length
            fresh = step.remaining(self._allowed_V, exclude=self._pool.items_C, max_items=most)
            self._pool = self._pool.followed_by(fresh)
            self._free_C = np.concatenate([self._free_C, np.ones(len(fresh), dtype=bool)])

    def _one_reason(self, open_C: np.ndarray) -> np.ndarray:
        """Those that were ranked, where the first was; else the first alone: no draw mixes them with fillers."""
        reasons_C = self._pool.reasons_C[open_C]
        return open_C[reasons_C == PlacementReason.RANKED] if reasons_C[0] == PlacementReason.RANKED else open_C[:1]

    def _within_quotas(self, place: int) -> tuple[np.ndarray, PlacementReason]:
        """The free ones that keep the quotas."""
        free_C = np.flatnonzero(self._free_C)
        if self._count is None:
            return free_C, PlacementReason.RANKED
        open_C = free_C[~self._count.is_closed_V[self._pool.items_C[free_C]]]
        left = self._length - place - sum(p > place for p in self._pins)
        if self._count.num_required < left:
            return open_C, PlacementReason.RANKED
        serving_C = open_C[self._count.required_items()[self._pool.items_C[open_C]]]
        same = len(serving_C) > 0 and serving_C[0] == open_C[0]
        return serving_C, PlacementReason.RANKED if same else PlacementReason.QUOTA

    def _relaxed(self) -> np.ndarray:
        """When the whole catalog holds nothing that keeps them all: at-mosts alone, or none."""
        assert self._count is not None
        free_C = np.flatnonzero(self._free_C)
        open_C = free_C[~self._count.is_closed_V[self._pool.items_C[free_C]]]
        return (open_C if len(open_C) else free_C)[:1]
