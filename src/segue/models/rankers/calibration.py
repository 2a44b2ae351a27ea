"""From a net's log-odds to a probability to believe: Platt's line or an isotonic curve, and the sampling undone.

Shape letters: N answers, K knots of a curve.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

STEPS = 100
"""Groups of equal size whose shares of takes are made monotone: enough to bend, too few to chase single answers."""
MIN_SLOPE = 1e-3
"""The slope of a curve where the shares say it is level: the order of answers is kept."""


@dataclass(frozen=True)
class Calibration:
    """A rising line through knots in log-odds, with slopes of its own beyond the ends, so that no two answers that
    differ become equal; the probability is its logistic function."""

    given_K: np.ndarray
    """float64, rising: log-odds of the net."""
    wanted_K: np.ndarray
    """float64, rising: log-odds as they turned out."""
    slopes: tuple[float, float] = (1.0, 1.0)
    """Below the first knot and above the last."""

    def __call__(self, log_odds_N: np.ndarray) -> np.ndarray:
        """float64 in (0, 1), of any shape."""
        probability: np.ndarray = 0.5 * np.tanh(0.5 * self.log_odds(log_odds_N)) + 0.5
        return probability

    def log_odds(self, log_odds_N: np.ndarray) -> np.ndarray:
        """float64, of any shape: the log-odds of the probability that ``__call__`` gives."""
        z = np.asarray(log_odds_N, dtype=np.float64)
        line = np.interp(z, self.given_K, self.wanted_K)
        line += self.slopes[0] * np.minimum(z - self.given_K[0], 0.0)
        line += self.slopes[1] * np.maximum(z - self.given_K[-1], 0.0)
        return line

    @classmethod
    def identity(cls) -> "Calibration":
        """The net's own word."""
        return cls(np.zeros(1), np.zeros(1))

    @classmethod
    def platt(cls, log_odds_N: np.ndarray, labels_N: np.ndarray) -> "Calibration":
        """slope * z + intercept of the highest likelihood, by Newton's method, towards targets just inside 0 and 1
        (Platt 1999, section 2.2)."""
        z, label = _checked(log_odds_N, labels_N)
        taken = label.sum()
        target = np.where(label, (taken + 1) / (taken + 2), 1 / (len(z) - taken + 2))
        line = np.array([1.0, 0.0])
        design = np.stack([z, np.ones_like(z)], axis=1)
        for _ in range(50):
            p = 0.5 * np.tanh(0.5 * (design @ line)) + 0.5
            slope = design.T @ (target - p)
            curve = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
            move = np.linalg.solve(curve, slope)
            line = line + move / max(1.0, np.abs(move).max())
            if np.abs(move).max() < 1e-10:
                break
        return cls(np.zeros(1), line[1:], (float(line[0]), float(line[0])))

    @classmethod
    def isotonic(cls, log_odds_N: np.ndarray, labels_N: np.ndarray) -> "Calibration":
        """A line through groups of answers that are pooled until they rise (Zadrozny & Elkan 2002); pooled groups of
        n answers, k of them taken, have the odds (k + 1/2) / (n - k + 1/2)."""
        z, label = _checked(log_odds_N, labels_N)
        order = np.argsort(z, kind="stable")
        groups = np.array_split(order, min(STEPS, len(order)))
        sizes = np.array([len(group) for group in groups], dtype=np.float64)
        rates = np.array([label[group].mean() for group in groups])
        block = pool_adjacent(rates, sizes)
        count, taken = np.bincount(block, weights=sizes), np.bincount(block, weights=rates * sizes)
        wanted = np.maximum.accumulate(np.log((taken + 0.5) / (count - taken + 0.5)))[block]
        middle = np.array([z[group].mean() for group in groups])
        apart = np.concatenate([[True], np.diff(middle) > 0])
        return cls(middle[apart], (wanted + MIN_SLOPE * middle)[apart])

    def shifted(self, log_odds: float) -> "Calibration":
        """All odds times exp of this."""
        return replace(self, wanted_K=self.wanted_K + log_odds)

    def for_negative_rate(self, share: float) -> "Calibration":
        """Where only this share of the real negatives was kept: q = p / (p + (1 - p) / share) (He et al. 2014, section
        6.3), which multiplies the odds by the share."""
        if not 0 < share <= 1:
            raise ValueError(f"The share of negatives that was kept must be in (0, 1], got {share}.")
        return self.shifted(float(np.log(share)))

    def for_base_rate(self, sampled: float, real: float) -> "Calibration":
        """Where one of the sampled cases in ``1 / sampled`` was taken, and one of the real ones in ``1 / real``."""
        for name, rate in (("sampled", sampled), ("real", real)):
            if not 0 < rate < 1:
                raise ValueError(f"The {name} rate must be between 0 and 1, got {rate}.")
        return self.shifted(float(np.log(real / (1 - real)) - np.log(sampled / (1 - sampled))))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        line = {"calibration.given": self.given_K, "calibration.wanted": self.wanted_K}
        return {**line, "calibration.slopes": np.array(self.slopes)}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "Calibration":
        """What ``arrays`` gave."""
        low, high = arrays["calibration.slopes"].tolist()
        return cls(arrays["calibration.given"], arrays["calibration.wanted"], (low, high))


def pool_adjacent(values_K: np.ndarray, weights_K: np.ndarray) -> np.ndarray:
    """Which block each value belongs to, int64 [K] from 0, when neighbors that fall are pooled until the blocks'
    weighted means rise (Ayer et al. 1955)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values_K.tolist(), weights_K.tolist(), strict=True):
        mean, mass, count = value, weight, 1
        while blocks and blocks[-1][0] >= mean:
            other, more, many = blocks.pop()
            mean, mass, count = (other * more + mean * mass) / (more + mass), more + mass, many + count
        blocks.append((mean, mass, count))
    return np.repeat(np.arange(len(blocks)), [count for _, _, count in blocks])


def _checked(log_odds_N: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, label = np.asarray(log_odds_N, dtype=np.float64).ravel(), np.asarray(labels_N, dtype=bool).ravel()
    if len(z) != len(label):
        raise ValueError(f"Each answer needs a label, got {len(z)} answers and {len(label)} labels.")
    if label.all() or not label.any():
        raise ValueError(f"A calibration needs both outcomes, got {int(label.sum())} taken of {len(label)}.")
    if not np.isfinite(z).all():
        raise ValueError("A log-odds is not finite: the model is broken, and no curve mends that.")
    return z, label
