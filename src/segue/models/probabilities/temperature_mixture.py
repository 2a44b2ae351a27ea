"""Mixture of two softmaxes of the same scores: a sharp one, and a flat one for the choices that no score explains.

One temperature cannot state both. Where the next item is the best one in 60 % of the cases and any popular item in the
others, a small temperature gives the others too little, and a large one the best item. And where the distance of the
best score from the others is mostly noise, as after few events, no temperature states the best item's probability:
that one is scaled by itself.

Shape letters: R rows, C candidates.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np

from segue.config.ranges import Range, check_ranges

MIN_LEAD = 1e-4
"""Smallest distance of the best item's log-probability from the next one after scaling, so that no tie arises."""


@dataclass(frozen=True)
class TemperatureMixture:
    """(1 - flat share) * softmax(score / temperature) + flat share * softmax(score / flat temperature).

    Then Platt scaling of the best item's probability p (Platt 1999; as top-label calibration, Gupta & Ramdas 2022):
    sigmoid(best intercept + best slope * logit(p)). The others share the rest in proportion. The result rises with the
    score, so that the order of the items stays.
    """

    temperature: Annotated[float, Range(gt=0)] = 1.0
    """Divisor of the scores in the sharp softmax, above 0."""
    flat_temperature: Annotated[float, Range(gt=0)] = 1.0
    """Divisor of the scores in the flat softmax, above 0."""
    flat_share: Annotated[float, Range(ge=0, le=1)] = 0.0
    """Share of the flat softmax, 0 to 1."""
    best_intercept: Annotated[float, Range(ge=-1000, le=1000)] = 0.0
    """Addend of the log odds of the best item; 0: none."""
    best_slope: Annotated[float, Range(ge=0)] = 1.0
    """Factor of the log odds of the best item, at least 0; with 1 and no addend its probability stays."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def probabilities(self, scores_RC: np.ndarray) -> np.ndarray:
        """Return the probability of each candidate, the dtype and shape of the scores.

        Args:
            scores_RC: scores; -inf for items that are no candidates. A row without any has no probability.
        """
        probabilities_RC: np.ndarray = np.exp(self.log_probabilities(scores_RC))
        return probabilities_RC

    def log_probabilities(self, scores_RC: np.ndarray) -> np.ndarray:
        """Return the logarithms of ``probabilities``; -inf for items that are no candidates.

        Args:
            scores_RC: scores; -inf for items that are no candidates.
        """
        highest_R1 = scores_RC.max(axis=1, keepdims=True)
        below_RC = scores_RC - np.where(np.isneginf(highest_R1), 0.0, highest_R1).astype(scores_RC.dtype)
        sharp_RC = _log_softmax(below_RC, self.temperature)
        if self.flat_share == 0:
            return self._scale_best(sharp_RC)
        share, rest = (scores_RC.dtype.type(np.log(x)) for x in (self.flat_share, max(1 - self.flat_share, 1e-30)))
        # In logarithms: far below the best item a probability is 0 in floating point, and the item would be excluded.
        logs_RC: np.ndarray = np.logaddexp(sharp_RC + rest, _log_softmax(below_RC, self.flat_temperature) + share)
        return self._scale_best(logs_RC)

    def _scale_best(self, logs_RC: np.ndarray) -> np.ndarray:
        """Return the log-probabilities with that of the best item scaled; equally good items together.

        The best item keeps a distance of ``MIN_LEAD`` from the next one.
        """
        if (self.best_intercept == 0 and self.best_slope == 1) or not logs_RC.size:
            return logs_RC
        highest_R1 = logs_RC.max(axis=1, keepdims=True)
        is_best_RC = logs_RC == highest_R1
        others_RC = np.where(is_best_RC, -np.inf, logs_RC)
        rest_R1 = np.exp(others_RC).sum(axis=1, keepdims=True)
        has_rest_R = rest_R1[:, 0] > 0
        if not has_rest_R.all():
            # A row of equal items, or of one alone, has no others to share with.
            logs_RC[has_rest_R] = self._scale_best(logs_RC[has_rest_R])
            return logs_RC
        log_rest_R1, log_count_R1 = np.log(rest_R1), np.log(np.count_nonzero(is_best_RC, axis=1)[:, None])
        logit_R1 = self.best_intercept + self.best_slope * (highest_R1 + log_count_R1 - log_rest_R1)
        smallest_R1 = others_RC.max(axis=1, keepdims=True) + MIN_LEAD + log_count_R1 - log_rest_R1
        logit_R1 = np.maximum(logit_R1, smallest_R1)
        log_shared_R1 = np.logaddexp(0.0, logit_R1)
        others_RC -= (log_rest_R1 + log_shared_R1).astype(others_RC.dtype)
        np.copyto(others_RC, logit_R1 - log_shared_R1 - log_count_R1, where=is_best_RC, casting="same_kind")
        return others_RC

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def _log_softmax(below_RC: np.ndarray, temperature: float) -> np.ndarray:
    """Return the log-softmax of scores whose largest one in each row is 0; a row without candidates stays -inf."""
    logs_RC = below_RC / below_RC.dtype.type(temperature)
    total_R1 = np.exp(logs_RC).sum(axis=1, keepdims=True)
    logs_RC -= np.log(np.where(total_R1 > 0, total_R1, 1))
    return logs_RC
