"""A network and the co-visit rule together: what was learned, plus what was counted."""

from collections.abc import Mapping

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.scorer import Scorer

MIN_LOG_PRIOR = 1e-4
"""Added to a co-visit score before its logarithm: what an item is worth that was never seen near the history."""


class WithCovisitationPrior:
    """score(j) = the network's logit of j + weight * log(co-visit score of j + 1e-4).

    Both are log-probabilities up to a constant for each row, so this is a product of experts: a small network need
    not spend its few dimensions on remembering which two items are bought together.
    """

    def __init__(self, scorer: Scorer, prior: CoVisit, weight: float) -> None:
        self.inner = scorer
        self.prior = prior
        self.weight = weight

    @classmethod
    def restore(cls, scorer: Scorer, arrays: Mapping[str, np.ndarray]) -> "WithCovisitationPrior":
        """The same around a restored network, from what ``arrays`` gave."""
        own = {name.removeprefix("prior."): value for name, value in arrays.items() if name.startswith("prior.")}
        config = CoVisitConfig(decay=float(own["decay"][0]))
        return cls(scorer, CoVisit.restore(own, config), float(own["weight"][0]))

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def size(self) -> int:
        return self.inner.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]; an empty history has no neighborhood and keeps the network's answer."""
        known = histories.drop_unknown()
        return self.add_to_logits(self.inner.scores(known), known)

    def add_to_logits(self, logits_BV: np.ndarray, known: Sequences) -> np.ndarray:
        """The network's logits with the prior's on top, in place."""
        if self.weight > 0:
            logs_BV = log_prior(self.prior, known)
            logits_BV += np.float32(self.weight) * logs_BV
        return logits_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """The network's arrays, and the prior's with 'prior.' before their names."""
        own = {**self.prior.arrays(), "decay": np.array([self.prior.decay]), "weight": np.array([self.weight])}
        return {**self.inner.arrays(), **{f"prior.{name}": value for name, value in own.items()}}

    def prior_arrays(self) -> np.ndarray:
        """float32 [V]: what the prior adds for an item that the history never came near."""
        return np.float32(self.weight) * log_sum(self.prior.popularity_V)

    def lifts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(items near one known history that is not empty, ascending; how much more than ``rest`` the prior adds for
        each): with these two a score is known without a row of all of them."""
        near, sums = self.prior.lifts(items)
        rest = self.prior.popularity_V[near]
        return near, np.float32(self.weight) * (log_sum(sums + rest) - log_sum(rest))


def log_prior(prior: CoVisit, histories: Sequences) -> np.ndarray:
    """log(co-visit score + floor), float32 [B, V]; zeros for an empty history and in the PAD column."""
    logs_BV = log_sum(prior.scores(histories))
    logs_BV[histories.lengths == 0] = 0.0
    logs_BV[:, PAD] = 0.0
    return logs_BV


def log_sum(scores_BV: np.ndarray) -> np.ndarray:
    """log(co-visit score + floor), float32 [B, V], column by column."""
    logs_BV: np.ndarray = np.log(np.maximum(scores_BV, 0.0) + np.float32(MIN_LOG_PRIOR))
    return logs_BV
