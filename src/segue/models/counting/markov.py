"""Markov chain: what followed the last item before; what it leaves open, the items before it and popularity fill.

Shape letters: B batch, V catalog size with PAD, N events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.sparse_rows import SparseRows, item_counts, windowed_pairs


@dataclass(frozen=True)
class MarkovConfig:
    """How transitions become probabilities."""

    smoothing: float = 1.0
    """So many transitions are imagined from every item to wherever the rest of the history points."""
    order: int = 3
    """So many of the newest items are asked, the older for what the newer leave open; 1: a first-order chain."""

    def __post_init__(self) -> None:
        if self.smoothing <= 0:
            raise ValueError(f"smoothing must be above 0, got {self.smoothing}.")
        if self.order < 1:
            raise ValueError(f"order must be at least 1, got {self.order}.")


class Markov:
    """P(j | ..., h, i) = (n_ij + s P(j | ..., h)) / (n_i + s): i is the last item, n_ij how often j followed it, n_i
    how often anything did, s the smoothing. After ``order`` items, or after nothing, P(j) is j's share of all events.

    Additive smoothing towards a prior (MacKay & Peto 1995, eq. 21), the prior being the next older item's chain: a
    mixture transition model (Raftery 1985) whose weights come from the counts.
    """

    name: ClassVar[str] = "markov"

    def __init__(self, next_rows: SparseRows, open_V: np.ndarray, share_V: np.ndarray, order: int) -> None:
        self.next_rows = next_rows
        self.open_V = open_V
        self.share_V = share_V
        self.order = order

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: MarkovConfig) -> "Markov":
        """Counts the transitions between neighbors."""
        from scipy import sparse

        pairs = windowed_pairs(sequences, size, 1)
        total_V = np.asarray(pairs.sum(axis=1)).ravel() + config.smoothing
        counts_V = item_counts(sequences, size)
        return cls(
            SparseRows.from_scipy(sparse.diags_array(1.0 / total_V) @ pairs),
            config.smoothing / total_V,
            (counts_V / max(1, counts_V.sum())).astype(np.float32),
            config.order,
        )

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: MarkovConfig) -> "Markov":
        """What ``arrays`` gave."""
        return cls(SparseRows.restore(arrays), arrays["open"], arrays["share"], config.order)

    @property
    def size(self) -> int:
        return self.next_rows.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]: probabilities, each row sums to one (to zero where nothing was ever counted)."""
        newest = histories.drop_unknown().tail(self.order)
        weights_N, open_B = self._shares(newest)
        scores_BV = self.next_rows.weighted_sum(newest, weights_N)
        scores_BV += open_B[:, None].astype(np.float32) * self.share_V
        return scores_BV

    def _shares(self, newest: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """What all newer items leave open for each event, float64 [N], and what a whole row leaves open, [B]."""
        row_N, where_N = newest.positions()
        # Products over the end of each row, as differences of one running sum of logarithms; in float64: in float32 a
        # row's shares would depend on how much stands before it in the batch.
        logs_N = np.log(self.open_V[newest.items[where_N]].astype(np.float64))
        sums = np.concatenate([[0.0], np.cumsum(logs_N)])
        stops_B = np.cumsum(newest.lengths)
        return np.exp(sums[stops_B[row_N]] - sums[1:]), np.exp(sums[stops_B] - sums[stops_B - newest.lengths])

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {**self.next_rows.arrays(), "open": self.open_V, "share": self.share_V}
