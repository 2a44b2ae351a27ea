"""Random draws that belong to a history, not to its place in a batch, and draws from scores with them.

Shape letters: B histories, R lists, C draws a row, V catalog size with PAD, M entries that may be drawn.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.sequences import Sequences
from segue.models.top_k import order_by_score_then_index

GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class CounterBasedUniform:
    """Uniform numbers as a function of (one draw from the generator, history, step, list): a history gets the same
    ones alone and in any batch. Equal histories get equal ones."""

    key_B: np.ndarray
    """uint64: what the generator and the history come to."""

    @classmethod
    def of(cls, rng: np.random.Generator, histories: Sequences) -> "CounterBasedUniform":
        """Takes one number from ``rng``."""
        row_N, where_N = histories.positions()
        age_N = (histories.stops[row_N] - where_N).astype(np.uint64)
        mixed_N = _mix(histories.items[where_N].astype(np.uint64) * np.uint64(GOLDEN) + age_N)
        summed = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed_N, dtype=np.uint64)])
        stops = np.cumsum(histories.lengths)
        base = rng.integers(0, 1 << 63, dtype=np.uint64)
        return cls(_mix((summed[stops] - summed[stops - histories.lengths]) ^ base))

    def take(self, rows: np.ndarray | slice) -> "CounterBasedUniform":
        """Those of some histories."""
        return CounterBasedUniform(self.key_B[rows])

    def uniform(self, step: int, count: int) -> np.ndarray:
        """float64 [B, count] in [0, 1)."""
        place_C = (np.uint64(step) << np.uint64(32)) + np.arange(1, count + 1, dtype=np.uint64)
        bits_BC = _mix(self.key_B[:, None] + place_C * np.uint64(GOLDEN))
        return (bits_BC >> np.uint64(11)) * 2.0**-53


def _mix(bits: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that turns every bit by every other (Stafford's variant 13 of the finaliser in Steele et
    al. 2014, "Fast splittable pseudorandom number generators", figure 17); sums wrap around on purpose."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def sample_items(
    scores_RV: np.ndarray, uniform_RC: np.ndarray, *, temperature: float, top: int | None, mass: float | None
) -> np.ndarray:
    """C items of each row with p ~ exp(score / temperature), int32 [R, C]; 0 from a row without a finite score.

    ``top`` leaves the best so many (and equals of the last) in the draw; of these, ``mass`` the best that together
    have at least that share of the probability ("nucleus": Holtzman et al. 2020, section 3.1).
    """
    rows, size = len(scores_RV), scores_RV.shape[1]
    highest_R1 = np.maximum(scores_RV.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    if top is None and mass is None:
        weight_RV = np.exp((scores_RV - highest_R1) / np.float32(temperature))
        return (_inverse_cdf(weight_RV.ravel(), np.full(rows, size), uniform_RC) % size).astype(np.int32)
    floor_R1 = np.full_like(highest_R1, np.finfo(np.float32).min)
    if top is not None and top < size:
        floor_R1 = np.maximum(floor_R1, np.partition(scores_RV, -top, axis=1)[:, -top, None])
    row_M, item_M = np.nonzero(scores_RV >= floor_R1)
    weight_M = np.exp((scores_RV[row_M, item_M] - highest_R1[row_M, 0]) / np.float32(temperature))
    if mass is not None:
        keep_M = _nucleus(row_M, weight_M.astype(np.float64), rows, mass)
        row_M, item_M, weight_M = row_M[keep_M], item_M[keep_M], weight_M[keep_M]
    count_R = np.bincount(row_M, minlength=rows)
    found_RC = _inverse_cdf(weight_M, count_R, uniform_RC)
    return np.where(count_R[:, None] > 0, np.append(item_M, 0)[found_RC], 0).astype(np.int32)


def _inverse_cdf(weight_M: np.ndarray, count_R: np.ndarray, uniform_RC: np.ndarray) -> np.ndarray:
    """Places among the M entries, int64 [R, C]: of the ``count_R`` that are row r's, each with p ~ its weight. A row
    whose weights are all zero gets its first."""
    summed = np.concatenate([np.zeros(1), np.cumsum(weight_M, dtype=np.float64)])
    stop_R = np.cumsum(count_R)
    low_R1, high_R1 = summed[stop_R - count_R][:, None], summed[stop_R][:, None]
    aim_RC = np.minimum(low_R1 + uniform_RC * (high_R1 - low_R1), np.nextafter(high_R1, low_R1))
    found_RC = np.searchsorted(summed, aim_RC, side="right") - 1
    dead_R1 = high_R1 <= low_R1
    return np.where(dead_R1, (stop_R - count_R)[:, None], found_RC)


def _nucleus(row_M: np.ndarray, weight_M: np.ndarray, rows: int, mass: float) -> np.ndarray:
    """bool [M]: whether what is better in the same row has less than ``mass`` of the row's weight."""
    order = order_by_score_then_index(weight_M, rows_N=row_M)
    summed = np.cumsum(weight_M[order])
    total_R = np.bincount(row_M, weights=weight_M, minlength=rows)
    before = np.concatenate([[0.0], np.cumsum(total_R)])[row_M]
    better_M = np.empty_like(weight_M)
    better_M[order] = summed - weight_M[order]
    keep_M: np.ndarray = better_M - before < mass * total_R[row_M] * (1 - 1e-9)
    return keep_M
