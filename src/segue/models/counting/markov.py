"""Markov chain: transition probabilities from the newest items, smoothed with popularity.

Shape letters: B batch, V catalog size with PAD, N events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.sparse_rows import SparseRows, item_counts, windowed_pairs


@dataclass(frozen=True)
class MarkovConfig:
    """Smoothing and order of the chain."""

    smoothing: Annotated[float, Range(gt=0)] = 1.0
    """Number of pseudo-transitions from every item, distributed as the older items predict; above 0."""
    order: Annotated[int, Range(ge=1)] = 3
    """Number of newest items that are used; 1: a first-order chain."""

    def __post_init__(self) -> None:
        check_ranges(self)


class Markov:
    """Markov chain: P(j | ..., h, i) = (n_ij + s P(j | ..., h)) / (n_i + s).

    i is the last item, n_ij the number of transitions from i to j, n_i the number of transitions from i, s the
    smoothing. Beyond ``order`` items, and for an empty history, P(j) is j's share of all events.

    Additive smoothing towards a prior (MacKay & Peto 1995, eq. 21); the prior is the chain of the next older item. It
    is a mixture transition model (Raftery 1985) whose weights come from the counts.
    """

    name: ClassVar[str] = "markov"

    def __init__(self, transitions: SparseRows, backoff_V: np.ndarray, item_share_V: np.ndarray, order: int) -> None:
        self.transitions = transitions
        self.backoff_V = backoff_V
        self.item_share_V = item_share_V
        self.order = order

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: MarkovConfig) -> "Markov":
        """Count the transitions between adjacent events.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
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
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(SparseRows.restore(arrays), arrays["backoff"], arrays["item_share"], config.order)

    @property
    def size(self) -> int:
        return self.transitions.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return probabilities, float32 [B, V]: each row sums to 1, or to 0 for a log without events."""
        newest = histories.drop_unknown().tail(self.order)
        weights_N, backoff_B = self._order_weights(newest)
        scores_BV = self.transitions.weighted_sum(newest, weights_N)
        scores_BV += backoff_B[:, None].astype(np.float32) * self.item_share_V
        return scores_BV

    def _order_weights(self, newest: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """Return the mixture weight of each event, float64 [N], and that of the item shares, float64 [B]."""
        row_N, position_N = newest.positions()
        # Products over the newer events of each row, as differences of one cumulative sum of logarithms. In float32 a
        # row's weights would depend on the rows before it in the batch.
        logs_N = np.log(self.backoff_V[newest.items[position_N]].astype(np.float64))
        sums = np.concatenate([[0.0], np.cumsum(logs_N)])
        stops_B = np.cumsum(newest.lengths)
        return np.exp(sums[stops_B[row_N]] - sums[1:]), np.exp(sums[stops_B] - sums[stops_B - newest.lengths])

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {**self.transitions.arrays(), "backoff": self.backoff_V, "item_share": self.item_share_V}
