"""Which items a target is compared with: one set for a whole batch, with the offset that undoes the drawing."""

from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD


@dataclass(frozen=True)
class Candidates:
    """``items`` int64 [K], distinct and ascending, never PAD; ``offset`` float32 [K] to be added to their scores."""

    items: np.ndarray
    offset: np.ndarray


def every_item(size: int, offered_V: np.ndarray | None = None) -> Candidates:
    """The full softmax: all items of a catalogue of size V, or those offered (bool [V]); nothing to correct."""
    items = np.arange(1, size, dtype=np.int64)
    if offered_V is not None:
        items = items[offered_V[1:]]
    return Candidates(items, np.zeros(len(items), dtype=np.float32))


class Sampler:
    """Draws with replacement from q(j) ~ count_j ** power: power 0 is uniform over all items, 1 is popularity.

    Each distinct item comes once, with offset log(times drawn) - log(draws * q): the log-q correction. ``corrected``
    False leaves the log-q part out (what many implementations do, at the price of a popularity bias). Items outside
    ``offered_V`` (bool [V]) are never drawn.
    """

    def __init__(
        self,
        counts_V: np.ndarray,
        draws: int,
        power: float,
        *,
        corrected: bool = True,
        offered_V: np.ndarray | None = None,
    ) -> None:
        if draws < 1:
            raise ValueError(f"The number of negatives must be at least 1, got {draws}.")
        weight_V = np.maximum(np.asarray(counts_V, dtype=np.float64), 1.0) ** power
        weight_V[PAD] = 0.0
        if offered_V is not None:
            weight_V[~offered_V] = 0.0
        self.draws = draws
        self.probability_V = weight_V / weight_V.sum()
        self.corrected = corrected
        self._cumulative = np.cumsum(self.probability_V)

    def draw(self, rng: np.random.Generator) -> Candidates:
        """One shared set; the same for the same state of ``rng``."""
        points = rng.random(self.draws) * self._cumulative[-1]
        drawn = np.searchsorted(self._cumulative, points, side="right").clip(1, len(self._cumulative) - 1)
        items, times = np.unique(drawn, return_counts=True)
        if not self.corrected:
            return Candidates(items, np.zeros(len(items), dtype=np.float32))
        offset = np.log(times) - np.log(self.draws * self.probability_V[items])
        return Candidates(items, offset.astype(np.float32))
