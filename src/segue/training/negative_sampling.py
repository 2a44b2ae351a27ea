"""Which items a target is compared with: one set for a whole batch, with the offset that undoes the drawing."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.data.catalog import PAD

NegativeSource = Literal["popularity", "in-batch", "mixed"]


@dataclass(frozen=True)
class NegativeSample:
    """``items`` int64 [K], distinct and ascending, never PAD; ``offset`` float32 [K] to be added to their scores."""

    items: np.ndarray
    offset: np.ndarray


def all_items(size: int, offered_V: np.ndarray | None = None) -> NegativeSample:
    """The full softmax: all items of a catalog of size V, or those offered (bool [V]); nothing to correct."""
    items = np.arange(1, size, dtype=np.int64)
    if offered_V is not None:
        items = items[offered_V[1:]]
    return NegativeSample(items, np.zeros(len(items), dtype=np.float32))


class NegativeSampler:
    """Draws one set for a batch: ``popularity`` draws from q(j) ~ count_j ** power with replacement (power 0 is
    uniform over all items), ``in-batch`` takes the batch's own targets, ``mixed`` both.

    Each distinct item comes once. Its offset is log(times drawn) - log(times expected), the log-q correction, with
    which the sum of exp(score + offset) over a target's negatives estimates the sum over all other items without
    bias; ``corrected`` False leaves the second part out, so that an item counts as often as it was drawn. A target
    in a batch of N meets N - 1 draws from the log's own frequencies (its own is never its negative), so that with M
    drawn ones item j is expected (N - 1) f_j + M q_j times: for ``mixed`` that is the balance heuristic of multiple
    importance sampling (Veach & Guibas 1995). Items outside ``offered_V`` (bool [V]) are never drawn.
    """

    def __init__(
        self,
        counts_V: np.ndarray,
        draws: int,
        power: float,
        *,
        source: NegativeSource = "popularity",
        corrected: bool = True,
        offered_V: np.ndarray | None = None,
    ) -> None:
        if draws < 1:
            raise ValueError(f"The number of negatives must be at least 1, got {draws}.")
        weight_V = np.maximum(np.asarray(counts_V, dtype=np.float64), 1.0)
        weight_V[PAD] = 0.0
        if offered_V is not None:
            weight_V[~offered_V] = 0.0
        self.frequency_V = weight_V / weight_V.sum()
        weight_V[weight_V > 0] **= power
        self.probability_V = weight_V / weight_V.sum()
        self.draws = draws if source != "in-batch" else 0
        self.batch = source != "popularity"
        self.corrected = corrected
        self._cumulative = np.cumsum(self.probability_V)

    def draw(self, rng: np.random.Generator, targets: np.ndarray) -> NegativeSample:
        """One shared set; the same for the same state of ``rng`` and the same ``targets`` of the batch."""
        points = rng.random(self.draws) * self._cumulative[-1]
        drawn = np.searchsorted(self._cumulative, points, side="right").clip(1, len(self._cumulative) - 1)
        own = targets if self.batch else targets[:0]
        items, times = np.unique(np.concatenate([drawn, own.astype(np.int64)]), return_counts=True)
        offset = np.log(times)
        if self.corrected:
            expected = self.draws * self.probability_V[items]
            if self.batch:
                # A lone target has nothing but itself to be compared with: any finite offset will do.
                expected = expected + max(1, len(own) - 1) * self.frequency_V[items]
            offset = offset - np.log(expected)
        return NegativeSample(items, offset.astype(np.float32))
