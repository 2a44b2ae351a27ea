"""Expected clicks of the simulator by hand and against many simulated clicks."""

import itertools

import numpy as np
import pytest

from segue.evaluation.click_simulator import ClickSimulator

SIMULATOR = ClickSimulator(
    np.array([[0, 0.5, 0.2, 0.4], [0, 0.1, 0.9, 0.3]]), continue_probability=0.8, continue_after_click=0.5
)


def test_expected_clicks_by_hand() -> None:
    def always(user_type: int, items: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([1 + len(items)]), np.array([1.0])

    # The next position is examined with .5 after a click and .8 without one: .5 * .5 + .5 * .8 = .65; .1 and .9: .77.
    assert SIMULATOR.expected_clicks(always, 2) == pytest.approx((0.5 + 0.65 * 0.2 + 0.1 + 0.77 * 0.9) / 2)


def test_expected_clicks_are_the_mean_of_simulated_ones() -> None:
    def either(user_type: int, items: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        left = [i for i in (1, 2, 3) if i not in items]
        share = np.arange(1.0, len(left) + 1)
        return np.array(left), share / share.sum()

    rng, total = np.random.default_rng(0), 60_000
    user_type_B = rng.integers(0, 2, total)
    lists, probabilities = [], []
    for permutation in itertools.permutations((1, 2, 3)):
        lists.append(permutation)
        chance = 1.0
        for position, item in enumerate(permutation):
            items, share = either(0, permutation[:position])
            chance *= float(share[items == item][0])
        probabilities.append(chance)
    lists_BK = np.array(lists)[rng.choice(len(lists), total, p=probabilities)]
    clicks_BK = SIMULATOR.simulate_clicks(user_type_B, lists_BK, rng)
    error = clicks_BK.sum(axis=1).std() / np.sqrt(total)
    assert abs(clicks_BK.sum(axis=1).mean() - SIMULATOR.expected_clicks(either, 3)) < 4 * error


def test_positions_that_are_not_examined_are_not_clicked() -> None:
    simulator = ClickSimulator(np.ones((1, 4)), continue_probability=0.5, continue_after_click=0.0)
    clicks_BK = simulator.simulate_clicks(
        np.zeros(50, dtype=int), np.tile([1, 2, 3], (50, 1)), np.random.default_rng(0)
    )
    assert clicks_BK.tolist() == [[1, 0, 0]] * 50


def test_a_random_simulator_is_reproducible_and_its_padding_is_never_clicked() -> None:
    one, two = (ClickSimulator.random(np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.click_XA, two.click_XA)
    assert (one.click_XA[:, 0] == 0).all() and (one.click_XA[:, 1:] > 0).all() and (one.click_XA < 1).all()
