"""How good probabilities are: do the taken ones stand above the others (AUC), and does 0.3 mean three in ten (ECE)?

Shape letters: N answers, K bins.

>>> p, y = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])
>>> auc(p, y), round(logloss(p, y), 4), round(calibration_error(p, y, bins=2), 4)
(0.875, 0.4389, 0.075)
"""

from dataclasses import dataclass

import numpy as np


def auc(scores_N: np.ndarray, labels_N: np.ndarray) -> float:
    """The chance that a taken one scores above one that was not, ties half (Mann & Whitney 1947, by ranks)."""
    scores, labels = _checked(scores_N, labels_N)
    order = np.argsort(scores, kind="stable")
    _, first, count = np.unique(scores[order], return_index=True, return_counts=True)
    rank = np.empty(len(scores))
    rank[order] = np.repeat(first + (count + 1) / 2, count)
    taken = int(labels.sum())
    return float((rank[labels].sum() - taken * (taken + 1) / 2) / (taken * (len(labels) - taken)))


def logloss(probability_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Mean of -log of the probability of what happened; nothing counts as less likely than 1e-15."""
    p, labels = _checked(probability_N, labels_N)
    return float(-np.log(np.maximum(np.where(labels, p, 1.0 - p), 1e-15)).mean())


@dataclass(frozen=True)
class Reliability:
    """Answers in bins of nearly equal size, from the least to the most likely."""

    predicted_K: np.ndarray
    """Mean probability of each bin."""
    observed_K: np.ndarray
    """Share of each bin that was taken."""
    count_K: np.ndarray

    @property
    def error(self) -> float:
        """Mean distance of what was said from what happened, weighted by size (ECE: Naeini et al. 2015, eq. 3, on bins
        of equal size)."""
        return float((self.count_K * np.abs(self.predicted_K - self.observed_K)).sum() / self.count_K.sum())


def reliability(probability_N: np.ndarray, labels_N: np.ndarray, *, bins: int = 15) -> Reliability:
    """The reliability curve. Equal answers are never parted, so where many are equal there are fewer bins."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}.")
    p, labels = _checked(probability_N, labels_N)
    order = np.argsort(p, kind="stable")
    edges = p[order][np.arange(1, bins) * len(p) // bins]
    bin_N = np.unique(np.searchsorted(edges, p, side="right"), return_inverse=True)[1]
    count = np.bincount(bin_N)
    return Reliability(np.bincount(bin_N, weights=p) / count, np.bincount(bin_N, weights=labels) / count, count)


def calibration_error(probability_N: np.ndarray, labels_N: np.ndarray, *, bins: int = 15) -> float:
    """ECE: see ``Reliability.error``."""
    return reliability(probability_N, labels_N, bins=bins).error


def _checked(scores_N: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores_N, dtype=np.float64).ravel(), np.asarray(labels_N, dtype=bool).ravel()
    if len(scores) != len(labels):
        raise ValueError(f"Each answer needs a label, got {len(scores)} answers and {len(labels)} labels.")
    if np.isnan(scores).any():
        raise ValueError("An answer is NaN: the model is broken and must not look like a good one.")
    if labels.all() or not labels.any():
        raise ValueError(f"Both outcomes are needed, got {int(labels.sum())} taken of {len(labels)}.")
    return scores, labels
