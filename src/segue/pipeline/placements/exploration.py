"""Random exploration at the end of a list, with the exact probability of every draw for off-policy evaluation.

Shape letters: n candidates of a slot, G points of a grid, V catalog size with PAD.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.pipeline.placements.list_builder import SlotCandidates, SlotPolicy

GRID_POINTS = 256
"""Number of points between 0 and 1 where the beta distributions of Thompson sampling are compared."""


@dataclass(frozen=True)
class ExploreConfig:
    """Method and range of random exploration."""

    method: Literal["none", "epsilon", "thompson", "plackett-luce"] = "none"
    """'epsilon': sometimes any of the candidates; 'thompson': by the probability that an item has the highest click
    rate; 'plackett-luce': by rank."""
    first_position: Annotated[int, Range(ge=1)] = 4
    """First position that is drawn, from 1; the positions before it never are."""
    num_candidates: Annotated[int, Range(ge=1)] = 50
    """Number of best remaining items that take part in each draw, at least 1."""
    epsilon: Annotated[float, Range(ge=0, le=1)] = 0.1
    """Share of uniform draws of 'epsilon' and 'thompson', at least 0 and at most 1. Without it Thompson probabilities
    of some items are so small that no log can evaluate a policy that recommends them."""
    temperature: Annotated[float, Range(gt=0)] = 1.0
    """Exponent of 'plackett-luce', above 0: an item at rank r is drawn in proportion to r to the power -1 /
    temperature."""
    prior_strength: Annotated[float, Range(gt=0)] = 20.0
    """Number of impressions that a score, a click probability, counts for in 'thompson', above 0."""

    def __post_init__(self) -> None:
        if self.method not in METHODS and self.method != "none":
            raise ValueError(f"method must be none, {', '.join(METHODS)}, got '{self.method}'.")
        check_ranges(self)


@dataclass(frozen=True)
class Feedback:
    """Impressions and clicks of each item, the evidence of Thompson sampling."""

    views_V: np.ndarray
    """Number of impressions of each item."""
    clicks_V: np.ndarray
    """Number of impressions with a click; at most the number of impressions."""


class Explorer:
    """Exploration policy: draws, and probabilities of draws."""

    def __init__(self, config: ExploreConfig, feedback: Feedback | None = None) -> None:
        self.config = config
        self._feedback = feedback

    def probabilities(self, slot: SlotCandidates) -> np.ndarray:
        """Return the probability of each candidate of a slot to be drawn, float64 [n]; 0 outside the best
        ``num_candidates``."""
        out = np.zeros(len(slot.items))
        count = min(len(out), self.config.num_candidates)
        if self.config.method == "none" or slot.position + 1 < self.config.first_position or count == 1:
            out[0] = 1.0
            return out
        pool = SlotCandidates(slot.position, slot.items[:count], slot.scores[:count], slot.ranks[:count])
        out[:count] = METHODS[self.config.method](pool, self.config, self._feedback)
        return out

    def policy(self, rng: np.random.Generator) -> SlotPolicy:
        """Return the slot policy for ``build_list`` that draws with these probabilities."""

        def choose(slot: SlotCandidates) -> tuple[int, float]:
            share = self.probabilities(slot)
            if share[0] == 1.0:
                return 0, 1.0
            ends = np.cumsum(share)
            # Never behind the last item that can be drawn, however the sum is rounded.
            last = int(np.flatnonzero(share)[-1])
            choice = min(int(np.searchsorted(ends, rng.random() * ends[-1], side="right")), last)
            return choice, float(share[choice])

        return choose

    def replay_policy(self, logged_items: np.ndarray, propensities: list["LoggedPropensity"]) -> SlotPolicy:
        """Return the slot policy for ``build_list`` that follows a logged list and records this policy's probabilities.

        Behind an item that this policy would not have recommended, every probability is 0.

        Args:
            logged_items: item indices of the logged list.
            propensities: receives one entry per position.
        """

        def choose(slot: SlotCandidates) -> tuple[int, float]:
            matches = (
                np.flatnonzero(slot.items == logged_items[slot.position])
                if slot.position < len(logged_items)
                else np.empty(0, np.intp)
            )
            lost = bool(propensities) and propensities[-1].probability == 0
            share = np.zeros(len(slot.items)) if lost else self.probabilities(slot)
            choice = int(matches[0]) if len(matches) else 0
            propensities.append(LoggedPropensity(float(share[choice]) if len(matches) else 0.0, slot.items, share))
            return choice, propensities[-1].probability

        return choose


@dataclass(frozen=True)
class LoggedPropensity:
    """Probabilities of this policy at one position of a logged list."""

    probability: float
    """Probability of the logged item."""
    items: np.ndarray
    """Items that this policy could have drawn."""
    probabilities: np.ndarray
    """Their probabilities; all 0 where this policy would not have come to this position."""


def _epsilon(slot: SlotCandidates, config: ExploreConfig, feedback: Feedback | None) -> np.ndarray:
    share = np.full(len(slot.items), config.epsilon / len(slot.items))
    share[0] += 1.0 - config.epsilon
    return share


def _plackett_luce(slot: SlotCandidates, config: ExploreConfig, feedback: Feedback | None) -> np.ndarray:
    """Return probabilities of draws without replacement in proportion to fixed weights (Plackett 1975; Luce 1959).

    A weight depends on the rank, not on the score: a rank means the same in every pipeline, and diversification is
    kept.
    """
    log_weights = -np.log1p(slot.ranks) / config.temperature
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def _thompson(slot: SlotCandidates, config: ExploreConfig, feedback: Feedback | None) -> np.ndarray:
    """Return P(item i has the highest click rate) with beta-distributed rates (Thompson 1933), computed instead of
    sampled.

    The distributions live on GRID_POINTS points: P(i) = sum over points of P(i there) * product over the others of
    P(other below it). Half of another item's mass at the point itself counts as below. The product over all others is
    one over those before times one over those behind.
    """
    if (slot.scores < 0).any() or (slot.scores > 1).any():
        raise ValueError(
            f"Thompson exploration takes scores for click probabilities, between 0 and 1, got one of "
            f"{slot.scores[(slot.scores < 0) | (slot.scores > 1)][0]:g}: rank by a click model, or explore otherwise."
        )
    views = np.zeros(len(slot.items)) if feedback is None else feedback.views_V[slot.items]
    clicks = np.zeros(len(slot.items)) if feedback is None else feedback.clicks_V[slot.items]
    mean = np.clip(slot.scores, 1e-3, 1 - 1e-3)
    hits = config.prior_strength * mean + clicks
    misses = config.prior_strength * (1 - mean) + views - clicks
    mass_nG = _beta_on_grid(hits, misses)
    upto_nG = np.cumsum(mass_nG, axis=1)
    below_nG = upto_nG - mass_nG / 2
    ones = np.ones((1, GRID_POINTS))
    before_nG = np.concatenate([ones, np.cumprod(below_nG, axis=0)[:-1]])
    behind_nG = np.concatenate([np.cumprod(below_nG[::-1], axis=0)[::-1][1:], ones])
    share = np.maximum((mass_nG * before_nG * behind_nG).sum(axis=1), 0.0)
    mixed: np.ndarray = (1.0 - config.epsilon) * share / share.sum() + config.epsilon / len(share)
    return mixed


def _beta_on_grid(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Return beta distributions as masses at the centers of GRID_POINTS intervals, float64 [n, G]."""
    x_G = (np.arange(GRID_POINTS) + 0.5) / GRID_POINTS
    log_nG = (hits[:, None] - 1) * np.log(x_G) + (misses[:, None] - 1) * np.log1p(-x_G)
    mass_nG = np.exp(log_nG - log_nG.max(axis=1, keepdims=True))
    return mass_nG / mass_nG.sum(axis=1, keepdims=True)


METHODS: dict[str, Callable[[SlotCandidates, ExploreConfig, Feedback | None], np.ndarray]] = {
    "epsilon": _epsilon,
    "thompson": _thompson,
    "plackett-luce": _plackett_luce,
}
"""Method -> probabilities of a draw."""
