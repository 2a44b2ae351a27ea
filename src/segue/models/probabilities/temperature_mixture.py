"""Mixture of two softmaxes of the same scores: a sharp one, and a flat one for the choices that no score explains.

One temperature cannot state both. Where the next item is the best one in 60 % of the cases and any popular item in the
others, a small temperature gives the others too little, and a large one the best item.

Shape letters: R rows, C candidates.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np

from segue.config.ranges import Range, check_ranges


@dataclass(frozen=True)
class TemperatureMixture:
    """(1 - flat share) * softmax(score / temperature) + flat share * softmax(score / flat temperature).

    It rises with the score, so that the order of the items stays.
    """

    temperature: Annotated[float, Range(gt=0)] = 1.0
    """Divisor of the scores in the sharp softmax, above 0."""
    flat_temperature: Annotated[float, Range(gt=0)] = 1.0
    """Divisor of the scores in the flat softmax, above 0."""
    flat_share: Annotated[float, Range(ge=0, le=1)] = 0.0
    """Share of the flat softmax, 0 to 1."""

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
            return sharp_RC
        share, rest = (scores_RC.dtype.type(np.log(x)) for x in (self.flat_share, max(1 - self.flat_share, 1e-30)))
        # In logarithms: far below the best item a probability is 0 in floating point, and the item would be excluded.
        logs_RC: np.ndarray = np.logaddexp(sharp_RC + rest, _log_softmax(below_RC, self.flat_temperature) + share)
        return logs_RC

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def _log_softmax(below_RC: np.ndarray, temperature: float) -> np.ndarray:
    """Return the log-softmax of scores whose largest one in each row is 0; a row without candidates stays -inf."""
    logs_RC = below_RC / below_RC.dtype.type(temperature)
    total_R1 = np.exp(logs_RC).sum(axis=1, keepdims=True)
    logs_RC -= np.log(np.where(total_R1 > 0, total_R1, 1))
    return logs_RC
