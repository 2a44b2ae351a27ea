"""Chance at the list's tail, with the exact probability of every draw: what lets another pipeline be judged from logs.

Shape letters: n open items, G points of a grid, V catalog size with PAD.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.pipeline.placements.list_builder import SlotCandidates, SlotPolicy

GRID_POINTS = 256
"""So many points between 0 and 1 at which Thompson's beta distributions are compared."""


@dataclass(frozen=True)
class ExploreConfig:
    """How much chance, and where."""

    method: Literal["none", "epsilon", "thompson", "plackett-luce"] = "none"
    """'epsilon': now and then any of the pool; 'thompson': by how likely an item has the highest click rate;
    'plackett-luce': by place in the ranking."""
    first_position: int = 4
    """The list's tail begins here, from 1; places before it are never drawn."""
    num_candidates: int = 50
    """So many of the best items that are left take part in each draw."""
    epsilon: float = 0.1
    """The share of draws that are left wholly to chance ('epsilon' and 'thompson'): without it Thompson's odds of some
    items are so small that no log can judge a pipeline that would show them."""
    temperature: float = 1.0
    """'plackett-luce': an item at place r is drawn in proportion to r to the power -1 / temperature."""
    prior_strength: float = 20.0
    """'thompson': a score, which must be a click probability, counts like so many views."""

    def __post_init__(self) -> None:
        if self.method not in METHODS and self.method != "none":
            raise ValueError(f"method must be none, {', '.join(METHODS)}, got '{self.method}'.")
        for name in ("first_position", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must be between 0 and 1, got {self.epsilon}.")
        for name in ("temperature", "prior_strength"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Feedback:
    """What came of the items so far: Thompson's evidence."""

    views_V: np.ndarray
    """How often each was shown."""
    clicks_V: np.ndarray
    """How often it was taken then; never more than it was shown."""


class Explorer:
    """Draws, and says what it would have drawn."""

    def __init__(self, config: ExploreConfig, feedback: Feedback | None = None) -> None:
        self.config = config
        self._feedback = feedback

    def probabilities(self, slot: SlotCandidates) -> np.ndarray:
        """With what probability each of the open items comes to the place, float64 [n], 0 outside the pool."""
        out = np.zeros(len(slot.items))
        count = min(len(out), self.config.num_candidates)
        if self.config.method == "none" or slot.position + 1 < self.config.first_position or count == 1:
            out[0] = 1.0
            return out
        pool = SlotCandidates(slot.position, slot.items[:count], slot.scores[:count], slot.ranks[:count])
        out[:count] = METHODS[self.config.method](pool, self.config, self._feedback)
        return out

    def policy(self, rng: np.random.Generator) -> SlotPolicy:
        """For ``arrange``: draws with these probabilities."""

        def choose(open: SlotCandidates) -> tuple[int, float]:
            share = self.probabilities(open)
            if share[0] == 1.0:
                return 0, 1.0
            ends = np.cumsum(share)
            # Never behind the last item that can be drawn, however the sum is rounded.
            last = int(np.flatnonzero(share)[-1])
            pick = min(int(np.searchsorted(ends, rng.random() * ends[-1], side="right")), last)
            return pick, float(share[pick])

        return choose

    def replay_policy(self, logged_items: np.ndarray, propensities: list["LoggedPropensity"]) -> SlotPolicy:
        """For ``arrange``: follows a list that was shown and appends to ``found``, place by place, what this pipeline
        might have shown there, given the items above. Behind an item that it would not have shown, nothing is."""

        def choose(open: SlotCandidates) -> tuple[int, float]:
            there = (
                np.flatnonzero(open.items == logged_items[open.position])
                if open.position < len(logged_items)
                else np.empty(0, np.intp)
            )
            lost = bool(propensities) and propensities[-1].probability == 0
            share = np.zeros(len(open.items)) if lost else self.probabilities(open)
            pick = int(there[0]) if len(there) else 0
            propensities.append(LoggedPropensity(float(share[pick]) if len(there) else 0.0, open.items, share))
            return pick, propensities[-1].probability

        return choose


@dataclass(frozen=True)
class LoggedPropensity:
    """One place of a list that another pipeline showed."""

    probability: float
    """With which this pipeline would have shown the same item."""
    items: np.ndarray
    """What it might have shown."""
    probabilities: np.ndarray
    """With which; all 0 where it would not have come so far."""


def _epsilon(slot: SlotCandidates, config: ExploreConfig, feedback: Feedback | None) -> np.ndarray:
    share = np.full(len(slot.items), config.epsilon / len(slot.items))
    share[0] += 1.0 - config.epsilon
    return share


def _plackett_luce(slot: SlotCandidates, config: ExploreConfig, feedback: Feedback | None) -> np.ndarray:
    """Drawn without replacement in proportion to fixed worths (Plackett 1975; Luce 1959). A worth is by place in the
    ranking, not by score: a place means the same in every pipeline, and variety's order is kept."""
    log_worth = -np.log1p(slot.ranks) / config.temperature
    worth = np.exp(log_worth - log_worth.max())
    return worth / worth.sum()


def _thompson(slot: SlotCandidates, config: ExploreConfig, feedback: Feedback | None) -> np.ndarray:
    """P(i's click rate is the highest), each rate beta-distributed (Thompson 1933), computed instead of drawn.

    The betas live on GRID points: P(i) = sum over points of P(i there) * product over the others of P(other below it),
    half of what an other has at the very point counting as below. The product over all others is one over those before
    times one over those behind.
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
    """Beta distributions as masses on the middles of GRID intervals, float64 [n, G]."""
    x_G = (np.arange(GRID_POINTS) + 0.5) / GRID_POINTS
    log_nG = (hits[:, None] - 1) * np.log(x_G) + (misses[:, None] - 1) * np.log1p(-x_G)
    mass_nG = np.exp(log_nG - log_nG.max(axis=1, keepdims=True))
    return mass_nG / mass_nG.sum(axis=1, keepdims=True)


METHODS: dict[str, Callable[[SlotCandidates, ExploreConfig, Feedback | None], np.ndarray]] = {
    "epsilon": _epsilon,
    "thompson": _thompson,
    "plackett-luce": _plackett_luce,
}
"""Name -> the probabilities of a draw."""
