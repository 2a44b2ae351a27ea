"""Sampling of items from scores, with random numbers that depend on the history and not on its batch.

Shape letters: B histories, R lists, C samples of a row, V catalog size with PAD, M entries that may be sampled.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.sequences import Sequences
from segue.models.top_k import order_by_score_then_index

GOLDEN = 0x9E3779B97F4A7C15
MIN_TEMPERATURE = 1e-30
"""Temperature that samples the best item alone; scores divided by a smaller one overflow float32."""


@dataclass(frozen=True)
class CounterBasedUniform:
    """Counter-based uniform numbers: a function of (one number of the generator, history, step, list).

    A history gets the same numbers alone and in any batch. Equal histories get equal numbers.
    """

    key_B: np.ndarray
    """uint64 hash of the generator's number and the history."""

    @classmethod
    def for_histories(cls, rng: np.random.Generator, histories: Sequences) -> "CounterBasedUniform":
        """Hash histories into keys.

        Args:
            rng: generator, of which one number is taken.
            histories: B histories.
        """
        row_N, position_N = histories.positions()
        age_N = (histories.stops[row_N] - position_N).astype(np.uint64)
        mixed_N = _mix(histories.items[position_N].astype(np.uint64) * np.uint64(GOLDEN) + age_N)
        summed = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed_N, dtype=np.uint64)])
        stops = np.cumsum(histories.lengths)
        base = rng.integers(0, 1 << 63, dtype=np.uint64)
        return cls(_mix((summed[stops] - summed[stops - histories.lengths]) ^ base))

    def take(self, rows: np.ndarray | slice) -> "CounterBasedUniform":
        """Return the numbers of some histories."""
        return CounterBasedUniform(self.key_B[rows])

    def uniform(self, step: int, count: int) -> np.ndarray:
        """Return uniform numbers.

        Args:
            step: position in the list, from 0.
            count: number of samples of each history.

        Returns:
            float64 [B, count] in [0, 1).
        """
        counter_C = (np.uint64(step) << np.uint64(32)) + np.arange(1, count + 1, dtype=np.uint64)
        bits_BC = _mix(self.key_B[:, None] + counter_C * np.uint64(GOLDEN))
        return (bits_BC >> np.uint64(11)) * 2.0**-53


def _mix(bits: np.ndarray) -> np.ndarray:
    """Mix the bits of uint64 numbers; a bijection in which every input bit changes every output bit.

    Stafford's variant 13 of the finalizer in Steele et al. 2014, "Fast splittable pseudorandom number generators",
    figure 17. Products wrap around on purpose.
    """
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def sample_items(
    scores_RV: np.ndarray, uniform_RC: np.ndarray, *, temperature: float, top_k: int | None, top_p: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sample items of each row with probability proportional to exp(score / temperature), and return both.

    Args:
        scores_RV: float [R, V]; -inf for items that must not be sampled.
        uniform_RC: float64 [R, C] in [0, 1).
        temperature: above 0; one below MIN_TEMPERATURE counts as that.
        top_k: number of best items that may be sampled, and ties of the last; None: all.
        top_p: least share of the probability of the best of these items ("nucleus": Holtzman et al. 2020, section
            3.1); None: all.

    Returns:
        (items int32 [R, C], probability of each to be sampled float64 [R, C]); PAD and 0 in a row without a finite
        score.
    """
    rows, size = len(scores_RV), scores_RV.shape[1]
    divisor = np.float32(max(temperature, MIN_TEMPERATURE))
    highest_R1 = np.maximum(scores_RV.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    if top_k is None and top_p is None:
        weight_RV = np.exp((scores_RV - highest_R1) / divisor)
        index_RC, share_RC = _inverse_cdf(weight_RV.ravel(), np.full(rows, size), uniform_RC)
        return (index_RC % size).astype(np.int32), share_RC
    threshold_R1 = np.full_like(highest_R1, np.finfo(np.float32).min)
    if top_k is not None and top_k < size:
        threshold_R1 = np.maximum(threshold_R1, np.partition(scores_RV, -top_k, axis=1)[:, -top_k, None])
    row_M, item_M = np.nonzero(scores_RV >= threshold_R1)
    weight_M = np.exp((scores_RV[row_M, item_M] - highest_R1[row_M, 0]) / divisor)
    if top_p is not None:
        keep_M = _nucleus(row_M, weight_M.astype(np.float64), rows, top_p)
        row_M, item_M, weight_M = row_M[keep_M], item_M[keep_M], weight_M[keep_M]
    count_R = np.bincount(row_M, minlength=rows)
    index_RC, share_RC = _inverse_cdf(weight_M, count_R, uniform_RC)
    return np.where(count_R[:, None] > 0, np.append(item_M, 0)[index_RC], 0).astype(np.int32), share_RC


def _inverse_cdf(weight_M: np.ndarray, count_R: np.ndarray, uniform_RC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of the M entries, int64 [R, C], sampled with probability proportional to the weight, and this
    probability.

    Row r has ``count_R[r]`` entries; if all its weights are zero, its first one is taken, with probability 0.
    """
    summed = np.concatenate([np.zeros(1), np.cumsum(weight_M, dtype=np.float64)])
    stop_R = np.cumsum(count_R)
    low_R1, high_R1 = summed[stop_R - count_R][:, None], summed[stop_R][:, None]
    aim_RC = np.minimum(low_R1 + uniform_RC * (high_R1 - low_R1), np.nextafter(high_R1, low_R1))
    index_RC = np.searchsorted(summed, aim_RC, side="right") - 1
    is_zero_R1 = high_R1 <= low_R1
    total_R1 = np.where(is_zero_R1, 1.0, high_R1 - low_R1)
    # Differences of the sums, not the weights: these are the lengths of the intervals that a uniform number falls into.
    share_RC = np.where(
        is_zero_R1, 0.0, (summed[np.minimum(index_RC + 1, len(weight_M))] - summed[index_RC]) / total_R1
    )
    return np.where(is_zero_R1, (stop_R - count_R)[:, None], index_RC), share_RC


def _nucleus(row_M: np.ndarray, weight_M: np.ndarray, rows: int, top_p: float) -> np.ndarray:
    """Return bool [M]: True if the better entries of the same row have less than ``top_p`` of the row's weight."""
    order = order_by_score_then_index(weight_M, rows_N=row_M)
    summed = np.cumsum(weight_M[order])
    total_R = np.bincount(row_M, weights=weight_M, minlength=rows)
    before = np.concatenate([[0.0], np.cumsum(total_R)])[row_M]
    better_M = np.empty_like(weight_M)
    better_M[order] = summed - weight_M[order]
    keep_M: np.ndarray = better_M - before < top_p * total_R[row_M] * (1 - 1e-9)
    return keep_M
