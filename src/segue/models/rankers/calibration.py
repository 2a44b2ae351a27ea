"""Calibration of a ranker: from the network's log odds to probabilities, and correction for sampled training data.

Shape letters: N examples, K knots of a curve.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from segue.models.numpy_layers import sigmoid

NUM_GROUPS = 100
"""Number of equal groups of examples in isotonic calibration: enough for a curve, too few to fit single examples."""
MIN_SLOPE = 1e-3
"""Slope of a curve where the click rates are level, so that the order of examples is kept."""


@dataclass(frozen=True)
class Calibration:
    """Strictly increasing piecewise linear function of log odds; its logistic function is the probability.

    Slopes beyond both ends keep different log odds different.
    """

    raw_K: np.ndarray
    """float64, ascending: log odds of the network."""
    calibrated_K: np.ndarray
    """float64, ascending: calibrated log odds."""
    slopes: tuple[float, float] = (1.0, 1.0)
    """Slopes below the first knot and above the last."""

    def __call__(self, log_odds_N: np.ndarray) -> np.ndarray:
        """Return the probabilities of the network's log odds: float64 in (0, 1), same shape."""
        return sigmoid(self.log_odds(log_odds_N))

    def log_odds(self, log_odds_N: np.ndarray) -> np.ndarray:
        """Return the calibrated log odds of the network's log odds: float64, same shape."""
        z = np.asarray(log_odds_N, dtype=np.float64)
        calibrated = np.interp(z, self.raw_K, self.calibrated_K)
        calibrated += self.slopes[0] * np.minimum(z - self.raw_K[0], 0.0)
        calibrated += self.slopes[1] * np.maximum(z - self.raw_K[-1], 0.0)
        return calibrated

    @classmethod
    def identity(cls) -> "Calibration":
        """Return the calibration that changes nothing."""
        return cls(np.zeros(1), np.zeros(1))

    @classmethod
    def platt(cls, log_odds_N: np.ndarray, labels_N: np.ndarray) -> "Calibration":
        """Fit slope * z + intercept by maximum likelihood (Platt 1999, section 2.2: targets just inside 0 and 1).

        Newton's method.

        Args:
            log_odds_N: log odds of the network.
            labels_N: bool, clicks.

        Raises:
            ValueError: sizes differ, only one outcome occurs, or a value is not finite.
        """
        z, label = _checked(log_odds_N, labels_N)
        num_clicks = label.sum()
        target = np.where(label, (num_clicks + 1) / (num_clicks + 2), 1 / (len(z) - num_clicks + 2))
        line = np.array([1.0, 0.0])
        design = np.stack([z, np.ones_like(z)], axis=1)
        for _ in range(50):
            p = sigmoid(design @ line)
            gradient = design.T @ (target - p)
            hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
            step = np.linalg.solve(hessian, gradient)
            line = line + step / max(1.0, np.abs(step).max())
            if np.abs(step).max() < 1e-10:
                break
        return cls(np.zeros(1), line[1:], (float(line[0]), float(line[0])))

    @classmethod
    def isotonic(cls, log_odds_N: np.ndarray, labels_N: np.ndarray) -> "Calibration":
        """Fit a curve through groups of examples that are pooled until they ascend (Zadrozny & Elkan 2002).

        A pool of n examples with k clicks has the odds (k + 1/2) / (n - k + 1/2).

        Args:
            log_odds_N: log odds of the network.
            labels_N: bool, clicks.

        Raises:
            ValueError: sizes differ, only one outcome occurs, or a value is not finite.
        """
        z, label = _checked(log_odds_N, labels_N)
        order = np.argsort(z, kind="stable")
        groups = np.array_split(order, min(NUM_GROUPS, len(order)))
        sizes = np.array([len(group) for group in groups], dtype=np.float64)
        rates = np.array([label[group].mean() for group in groups])
        pool = pool_adjacent(rates, sizes)
        count, clicks = np.bincount(pool, weights=sizes), np.bincount(pool, weights=rates * sizes)
        calibrated = np.maximum.accumulate(np.log((clicks + 0.5) / (count - clicks + 0.5)))[pool]
        middle = np.array([z[group].mean() for group in groups])
        is_new = np.concatenate([[True], np.diff(middle) > 0])
        return cls(middle[is_new], (calibrated + MIN_SLOPE * middle)[is_new])

    def shifted(self, log_odds: float) -> "Calibration":
        """Return the calibration with all odds multiplied by exp(log_odds)."""
        return replace(self, calibrated_K=self.calibrated_K + log_odds)

    def for_negative_rate(self, share: float) -> "Calibration":
        """Correct for training data with only a share of the real negatives.

        q = p / (p + (1 - p) / share) (He et al. 2014, section 6.3), which multiplies the odds by the share.

        Raises:
            ValueError: the share is outside (0, 1].
        """
        if not 0 < share <= 1:
            raise ValueError(f"The share of negatives that was kept must be in (0, 1], got {share}.")
        return self.shifted(float(np.log(share)))

    def for_base_rate(self, sampled: float, real: float) -> "Calibration":
        """Correct for training data with another click rate.

        Args:
            sampled: click rate of the training data, in (0, 1).
            real: click rate of the population, in (0, 1).

        Raises:
            ValueError: a rate is outside (0, 1).
        """
        for name, rate in (("sampled", sampled), ("real", real)):
            if not 0 < rate < 1:
                raise ValueError(f"The {name} rate must be between 0 and 1, got {rate}.")
        return self.shifted(float(np.log(real / (1 - real)) - np.log(sampled / (1 - sampled))))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``calibration.{name}``."""
        knots = {"calibration.raw": self.raw_K, "calibration.calibrated": self.calibrated_K}
        return {**knots, "calibration.slopes": np.array(self.slopes)}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "Calibration":
        """Restore the calibration of an artifact from its tensors ``calibration.{name}``."""
        low, high = arrays["calibration.slopes"].tolist()
        return cls(arrays["calibration.raw"], arrays["calibration.calibrated"], (low, high))


def pool_adjacent(values_K: np.ndarray, weights_K: np.ndarray) -> np.ndarray:
    """Pool neighbors that descend until the pools' weighted means ascend (Ayer et al. 1955).

    Args:
        values_K: float64 [K].
        weights_K: float64 [K], above 0.

    Returns:
        int64 [K], pool of each value, ascending from 0.
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values_K.tolist(), weights_K.tolist(), strict=True):
        mean, mass, count = value, weight, 1
        while pools and pools[-1][0] >= mean:
            other_mean, other_mass, other_count = pools.pop()
            mean = (other_mean * other_mass + mean * mass) / (other_mass + mass)
            mass, count = other_mass + mass, other_count + count
        pools.append((mean, mass, count))
    return np.repeat(np.arange(len(pools)), [count for _, _, count in pools])


def _checked(log_odds_N: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, label = np.asarray(log_odds_N, dtype=np.float64).ravel(), np.asarray(labels_N, dtype=bool).ravel()
    if len(z) != len(label):
        raise ValueError(f"Each example needs a label, got {len(z)} examples and {len(label)} labels.")
    if label.all() or not label.any():
        raise ValueError(f"A calibration needs both outcomes, got {int(label.sum())} clicks in {len(label)} examples.")
    if not np.isfinite(z).all():
        raise ValueError("A log-odds is not finite: the model is broken, and no calibration mends that.")
    return z, label
