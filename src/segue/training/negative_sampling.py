"""Negative sampling: one set of items per batch, shared by its targets, with the log-q correction.

Negatives come from q(item) ~ count ** ``negative_sampling_exponent`` (exponent 0: uniform), from the targets of the
batch, or from both (``negative_source``).

===================  ==================  ========================================================================
loss                 negatives           log-q correction
===================  ==================  ========================================================================
full                 the whole catalog   not needed
sampled              as above            applied if ``logq_correction`` is set
bce, gbce            as above            ignored: an item counts as often as it was sampled
bpr-max, top1-max    as above            ignored: an item counts as often as it was sampled
===================  ==================  ========================================================================

``auto`` is full or sampled (see ``memory_budget.is_full``). Click rankers sample their own negatives in
``rankers/candidate_sampling.py``, and calibrate probabilities in ``models/rankers``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.data.catalog import PAD

NegativeSource = Literal["popularity", "in-batch", "mixed"]


@dataclass(frozen=True)
class NegativeSample:
    """Negatives of a batch: ``items`` int64 [K], distinct and ascending, never PAD; ``offset`` float32 [K], added to
    their scores."""

    items: np.ndarray
    offset: np.ndarray


def all_items(size: int, offered_V: np.ndarray | None = None) -> NegativeSample:
    """Return all items as negatives, with offset 0: the full softmax.

    Args:
        size: catalog size V, PAD included.
        offered_V: bool [V], the items to include; None: all.
    """
    items = np.arange(1, size, dtype=np.int64)
    if offered_V is not None:
        items = items[offered_V[1:]]
    return NegativeSample(items, np.zeros(len(items), dtype=np.float32))


class NegativeSampler:
    """Sampler of one set of negatives per batch: ``popularity`` samples from q(j) ~ count_j ** power with replacement
    (power 0: uniform over all items), ``in-batch`` takes the targets of the batch, ``mixed`` both.

    Each distinct item comes once. Its offset is log(times sampled) - log(times expected), the log-q correction, with
    which the sum of exp(score + offset) over a target's negatives estimates the sum over all other items without
    bias; ``corrected`` False leaves the second part out, so that an item counts as often as it was sampled. A target
    in a batch of N meets N - 1 draws from the log's own frequencies (its own is never its negative), so that with M
    drawn ones item j is expected (N - 1) f_j + M q_j times: for ``mixed`` that is the balance heuristic of multiple
    importance sampling (Veach & Guibas 1995).

    Args:
        counts_V: int [V], number of events of each item in the training log; 0 counts as 1.
        draws: number of negatives to sample.
        power: exponent of the counts.
        source: popularity, in-batch or mixed.
        corrected: apply the log-q correction.
        offered_V: bool [V], the items that may be sampled; None: all.

    Raises:
        ValueError: ``draws`` is below 1.
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
        self.num_draws = draws if source != "in-batch" else 0
        self.includes_batch = source != "popularity"
        self.corrected = corrected
        self._cumulative = np.cumsum(self.probability_V)

    def draw(self, rng: np.random.Generator, targets: np.ndarray) -> NegativeSample:
        """Return the negatives of one batch.

        Args:
            rng: generator; equal states give equal negatives.
            targets: int [N], the targets of the batch.
        """
        points = rng.random(self.num_draws) * self._cumulative[-1]
        drawn = np.searchsorted(self._cumulative, points, side="right").clip(1, len(self._cumulative) - 1)
        own = targets if self.includes_batch else targets[:0]
        items, times = np.unique(np.concatenate([drawn, own.astype(np.int64)]), return_counts=True)
        offset = np.log(times)
        if self.corrected:
            expected = self.num_draws * self.probability_V[items]
            if self.includes_batch:
                # A lone target has nothing but itself to be compared with: any finite offset will do.
                expected = expected + max(1, len(own) - 1) * self.frequency_V[items]
            offset = offset - np.log(expected)
        return NegativeSample(items, offset.astype(np.float32))
