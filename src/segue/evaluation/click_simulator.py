"""Click simulator with known click probabilities, to check off-policy estimates against the true value.

A user examines a list from the top. An examined item is clicked with a probability that depends on the type of the user
and on the item. The next position is examined with a probability that is lower after a click (cascade models: Craswell
et al. 2008; Chapelle & Zhang 2009). Shape letters: B requests, K positions, X user types, A items (0 is PAD).

>>> simulator = ClickSimulator(np.array([[0.0, 0.5, 0.2]]), continue_probability=0.8, continue_after_click=0.5)
>>> def in_order(user_type, items):
...     return np.array([1 + len(items)]), np.array([1.0])
>>> round(simulator.expected_clicks(in_order, list_length=2), 4)
0.63
>>> lists = np.tile([1, 2], (20_000, 1))
>>> clicks = simulator.simulate_clicks(np.zeros(20_000, dtype=int), lists, np.random.default_rng(0))
>>> round(float(clicks.sum(axis=1).mean()), 1)
0.6
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Policy = Callable[[int, tuple[int, ...]], tuple[np.ndarray, np.ndarray]]
"""(user type, items of the list so far) -> (candidates of the next position, their probabilities, which sum to 1)."""


@dataclass(frozen=True)
class ClickSimulator:
    """Click probabilities of every user type and item, and probabilities to examine the next position."""

    click_XA: np.ndarray
    """float64: click probability of an examined item; 0 for PAD."""
    continue_probability: float = 0.9
    """Probability to examine the next position without a click at this one."""
    continue_after_click: float = 0.5
    """Probability to examine the next position after a click at this one."""

    @classmethod
    def random(cls, rng: np.random.Generator, num_user_types: int = 4, num_items: int = 9) -> "ClickSimulator":
        """Return a simulator with random preferences: products of three latent factors, click probabilities mostly 0.05
        to 0.5.

        Args:
            rng: generator of the factors.
            num_user_types: number of user types.
            num_items: number of items with PAD.
        """
        logit_XA = rng.normal(size=(num_user_types, 3)) @ rng.normal(size=(3, num_items)) * 0.7 - 1.5
        click_XA = 1.0 / (1.0 + np.exp(-logit_XA))
        click_XA[:, 0] = 0.0
        return cls(click_XA)

    def simulate_clicks(self, user_type_B: np.ndarray, lists_BK: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Simulate the clicks on lists, float64 [B, K] of 0 and 1.

        Args:
            user_type_B: user type of each request.
            lists_BK: items of each list.
            rng: generator of clicks and examinations.
        """
        examines_B = np.ones(len(user_type_B), dtype=bool)
        out_BK = np.zeros(lists_BK.shape)
        for position in range(lists_BK.shape[1]):
            hit_B = examines_B & (rng.random(len(user_type_B)) < self.click_XA[user_type_B, lists_BK[:, position]])
            out_BK[:, position] = hit_B
            examines_B &= rng.random(len(user_type_B)) < np.where(
                hit_B, self.continue_after_click, self.continue_probability
            )
        return out_BK

    def expected_clicks(self, policy: Policy, list_length: int) -> float:
        """Return the expected number of clicks per list under a policy, over equally frequent user types.

        It is exact: every list that the policy can return is enumerated.

        Args:
            policy: probabilities of the next item.
            list_length: number of positions.
        """
        num_types = len(self.click_XA)
        return sum(self._rest(policy, user_type, (), list_length) for user_type in range(num_types)) / num_types

    def _rest(self, policy: Policy, user_type: int, items: tuple[int, ...], list_length: int) -> float:
        """Return the expected clicks at the remaining positions, for a user who examines the next one."""
        if len(items) == list_length:
            return 0.0
        total = 0.0
        for item, share in zip(*policy(user_type, items), strict=True):
            if share > 0:
                rate = float(self.click_XA[user_type, item])
                continues = rate * self.continue_after_click + (1.0 - rate) * self.continue_probability
                total += float(share) * (
                    rate + continues * self._rest(policy, user_type, (*items, int(item)), list_length)
                )
        return total
