"""Metrics of click probabilities: AUC, log loss, reliability curve and expected calibration error.

Shape letters: N predictions, K bins.

>>> p, y = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])
>>> auc(p, y), round(logloss(p, y), 4), round(calibration_error(p, y, bins=2), 4)
(0.875, 0.4389, 0.125)
"""

from dataclasses import dataclass

import numpy as np


def auc(scores_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the area under the ROC curve, ties half (Mann & Whitney 1947, by ranks).

    Args:
        scores_N: scores or probabilities.
        labels_N: bool, True for a click.

    Raises:
        ValueError: different lengths, a NaN, or one outcome only.
    """
    scores, labels = _checked(scores_N, labels_N)
    order = np.argsort(scores, kind="stable")
    _, first_index, count = np.unique(scores[order], return_index=True, return_counts=True)
    rank = np.empty(len(scores))
    rank[order] = np.repeat(first_index + (count + 1) / 2, count)
    clicks = int(labels.sum())
    return float((rank[labels].sum() - clicks * (clicks + 1) / 2) / (clicks * (len(labels) - clicks)))


def logloss(probability_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the mean negative log likelihood of the labels; no probability counts as less than 1e-15.

    Args:
        probability_N: predicted probabilities.
        labels_N: bool, True for a click.

    Raises:
        ValueError: different lengths, a NaN, or one outcome only.
    """
    p, labels = _checked(probability_N, labels_N)
    return float(-np.log(np.maximum(np.where(labels, p, 1.0 - p), 1e-15)).mean())


@dataclass(frozen=True)
class Reliability:
    """Reliability curve: predictions in bins of nearly equal size, by rising probability."""

    predicted_K: np.ndarray
    """Mean probability of each bin."""
    observed_K: np.ndarray
    """Share of clicks of each bin."""
    count_K: np.ndarray
    """Number of predictions of each bin."""

    @property
    def error(self) -> float:
        """Return the expected calibration error: mean of |predicted - observed|, weighted by size (Naeini et al. 2015,
        eq. 3; differs: bins of equal size)."""
        return float((self.count_K * np.abs(self.predicted_K - self.observed_K)).sum() / self.count_K.sum())


def reliability(probability_N: np.ndarray, labels_N: np.ndarray, *, bins: int = 15) -> Reliability:
    """Compute the reliability curve. Equal predictions stay in one bin, so that many equal ones make fewer bins.

    Args:
        probability_N: predicted probabilities.
        labels_N: bool, True for a click.
        bins: largest number of bins, at least 1.

    Raises:
        ValueError: ``bins`` below 1, different lengths, a NaN, or one outcome only.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}.")
    p, labels = _checked(probability_N, labels_N)
    order = np.argsort(p, kind="stable")
    edges = p[order][np.arange(1, bins) * len(p) // bins]
    bin_N = np.unique(np.searchsorted(edges, p, side="right"), return_inverse=True)[1]
    count = np.bincount(bin_N)
    return Reliability(np.bincount(bin_N, weights=p) / count, np.bincount(bin_N, weights=labels) / count, count)


def calibration_error(probability_N: np.ndarray, labels_N: np.ndarray, *, bins: int = 15) -> float:
    """Return the expected calibration error; see ``Reliability.error``.

    Args:
        probability_N: predicted probabilities.
        labels_N: bool, True for a click.
        bins: largest number of bins, at least 1.
    """
    return reliability(probability_N, labels_N, bins=bins).error


def _checked(scores_N: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores_N, dtype=np.float64).ravel(), np.asarray(labels_N, dtype=bool).ravel()
    if len(scores) != len(labels):
        raise ValueError(f"Each prediction needs a label, got {len(scores)} predictions and {len(labels)} labels.")
    if np.isnan(scores).any():
        raise ValueError("A prediction is NaN: the model is broken and must not look like a good one.")
    if labels.all() or not labels.any():
        raise ValueError(f"Both outcomes are needed, got {int(labels.sum())} clicks of {len(labels)}.")
    return scores, labels
