"""Histogram of the scores of validation cases, whose softmax sums are computed for many temperatures.

Shape letters: N cases, R rows of scores, C exact scores and bins, V catalog size with PAD.
"""

from dataclasses import dataclass

import numpy as np

from segue.models.probabilities.temperature_mixture import TemperatureMixture

NUM_EXACT = 64
"""Number of best scores of a case that are kept one by one; the others are counted in ``NUM_BINS`` bins."""
NUM_BINS = 192


@dataclass(frozen=True)
class ScoreHistogram:
    """Scores of each row below its best one: the best ones exactly, the others as bins with mean and count."""

    values_RC: np.ndarray
    """float64, at most 0; 0 where the count is 0."""
    counts_RC: np.ndarray
    """float64: number of scores of each value."""
    own_N: np.ndarray
    """float64: score of each case's target below the best one of its row."""

    @classmethod
    def of(cls, scores_RV: np.ndarray, target_N: np.ndarray) -> "ScoreHistogram":
        """Return the histogram of scores; its softmax sums agree with theirs to about 1 %.

        Args:
            scores_RV: scores; -inf for items that are no candidates. One row for each case, or one row for all.
            target_N: column of each target, a candidate.
        """
        row_N = np.arange(len(target_N)) if len(scores_RV) == len(target_N) else np.zeros(len(target_N), np.int64)
        highest_R1 = scores_RV.max(axis=1, keepdims=True)
        own_N = (scores_RV[row_N, target_N] - highest_R1[row_N, 0]).astype(np.float64)
        below_RV = (scores_RV - highest_R1).astype(np.float64)
        if below_RV.shape[1] <= NUM_EXACT + NUM_BINS:
            is_candidate_RV = np.isfinite(below_RV)
            return cls(np.where(is_candidate_RV, below_RV, 0.0), is_candidate_RV.astype(np.float64), own_N)
        exact_RC = -np.partition(-below_RV, NUM_EXACT - 1, axis=1)[:, :NUM_EXACT]
        edge_R1 = exact_RC.min(axis=1, keepdims=True)
        is_binned_RV = np.isfinite(below_RV) & (below_RV < edge_R1)
        lowest_R1 = np.where(is_binned_RV, below_RV, edge_R1).min(axis=1, keepdims=True)
        width_R1 = np.maximum((edge_R1 - lowest_R1) / NUM_BINS, 1e-12)
        row_M, column_M = np.nonzero(is_binned_RV)
        value_M = below_RV[row_M, column_M]
        bin_M = np.minimum((edge_R1[row_M, 0] - value_M) / width_R1[row_M, 0], NUM_BINS - 1).astype(np.int64)
        slot_M, shape = row_M * NUM_BINS + bin_M, (len(below_RV), NUM_BINS)
        counts_RC = np.bincount(slot_M, minlength=shape[0] * NUM_BINS).reshape(shape).astype(np.float64)
        sums_RC = np.bincount(slot_M, weights=value_M, minlength=shape[0] * NUM_BINS).reshape(shape)
        # Scores equal to the edge: those of the partition are a part of them.
        ties_R1 = (below_RV == edge_R1).sum(axis=1, keepdims=True) - (exact_RC == edge_R1).sum(axis=1, keepdims=True)
        is_exact_RC = np.isfinite(exact_RC)
        values = (
            np.where(is_exact_RC, exact_RC, 0.0),
            np.where(ties_R1 > 0, edge_R1, 0.0),
            sums_RC / np.maximum(counts_RC, 1),
        )
        counts = (is_exact_RC.astype(np.float64), np.maximum(ties_R1, 0).astype(np.float64), counts_RC)
        return cls(np.concatenate(values, axis=1), np.concatenate(counts, axis=1), own_N)

    def join(self, others: list["ScoreHistogram"]) -> "ScoreHistogram":
        """Return this histogram followed by others with one row for each case, of the same columns."""
        parts = [self, *others]
        return ScoreHistogram(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))

    def spread(self) -> float:
        """Return the standard deviation of all scores."""
        total = self.counts_RC.sum()
        mean = (self.values_RC * self.counts_RC).sum() / total
        return float(np.sqrt(max((np.square(self.values_RC) * self.counts_RC).sum() / total - mean**2, 0.0)))

    def target_shares(self, temperature: float) -> np.ndarray:
        """Return the softmax of each target, float64 [N]."""
        sums_R = (np.exp(self.values_RC / temperature) * self.counts_RC).sum(axis=1)
        shares_N: np.ndarray = np.exp(self.own_N / temperature) / sums_R
        return shares_N

    def best_shares(self, mixture: TemperatureMixture) -> np.ndarray:
        """Return the probability of each row's best items together, float64 [R]; several only if they are equal."""
        count_R = np.where(self.values_RC == 0, self.counts_RC, 0.0).sum(axis=1)
        parts = ((1 - mixture.flat_share, mixture.temperature), (mixture.flat_share, mixture.flat_temperature))
        sums = [share / (np.exp(self.values_RC / t) * self.counts_RC).sum(axis=1) for share, t in parts]
        shares_R: np.ndarray = count_R * (sums[0] + sums[1])
        return shares_R


_FIELDS = ("values_RC", "counts_RC", "own_N")
