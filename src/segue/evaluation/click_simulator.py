"""People whose clicks are known by heart: to check what is claimed of pipelines against the truth.

A person looks at a list from the top. An item that is looked at is clicked with a probability that depends on the
person's kind and the item; then the next place is looked at with a probability that is smaller after a click (a
cascade: Craswell et al. 2008; Chapelle & Zhang 2009). Shape letters: B requests, K places, X kinds of people, A items
(0 is PAD).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Policy = Callable[[int, tuple[int, ...]], tuple[np.ndarray, np.ndarray]]
"""(kind of person, items shown so far) -> (items that may come next, their probabilities, which sum to 1)."""


@dataclass(frozen=True)
class ClickSimulator:
    """The truth."""

    click_XA: np.ndarray
    """float64: how likely an item that is looked at is clicked."""
    continue_probability: float = 0.9
    """How likely the next place is looked at after no click."""
    continue_after_click: float = 0.5
    """How likely after a click."""

    @classmethod
    def random(cls, rng: np.random.Generator, num_user_types: int = 4, num_items: int = 9) -> "ClickSimulator":
        """Tastes as products of three hidden traits; rates mostly between .05 and .5."""
        logit_XA = rng.normal(size=(num_user_types, 3)) @ rng.normal(size=(3, num_items)) * 0.7 - 1.5
        click_XA = 1.0 / (1.0 + np.exp(-logit_XA))
        click_XA[:, 0] = 0.0
        return cls(click_XA)

    def simulate_clicks(self, user_type_B: np.ndarray, lists_BK: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What people do with these lists, float64 [B, K] of 0 and 1."""
        looking_B = np.ones(len(user_type_B), dtype=bool)
        out_BK = np.zeros(lists_BK.shape)
        for place in range(lists_BK.shape[1]):
            hit_B = looking_B & (rng.random(len(user_type_B)) < self.click_XA[user_type_B, lists_BK[:, place]])
            out_BK[:, place] = hit_B
            looking_B &= rng.random(len(user_type_B)) < np.where(
                hit_B, self.continue_after_click, self.continue_probability
            )
        return out_BK

    def expected_clicks(self, policy: Policy, list_length: int) -> float:
        """Clicks a list earns under a policy, on the mean over kinds of people that come equally often. Exact: every
        list that can be shown is gone through."""
        kinds = len(self.click_XA)
        return sum(self._rest(policy, kind, (), list_length) for kind in range(kinds)) / kinds

    def _rest(self, policy: Policy, kind: int, shown: tuple[int, ...], places: int) -> float:
        """Clicks at the places still to come, for somebody who looks at the next."""
        if len(shown) == places:
            return 0.0
        total = 0.0
        for item, share in zip(*policy(kind, shown), strict=True):
            if share > 0:
                rate = float(self.click_XA[kind, item])
                looks = rate * self.continue_after_click + (1.0 - rate) * self.continue_probability
                total += float(share) * (rate + looks * self._rest(policy, kind, (*shown, int(item)), places))
        return total
