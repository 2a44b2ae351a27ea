"""The simulator's truth against a great many clicks."""

import numpy as np
import pytest

from segue.evaluation.click_simulator import ClickSimulator

WORLD = ClickSimulator(
    np.array([[0, 0.5, 0.2, 0.4], [0, 0.1, 0.9, 0.3]]), continue_probability=0.8, continue_after_click=0.5
)


def test_value_by_hand() -> None:
    def always(kind: int, shown: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([1 + len(shown)]), np.array([1.0])

    # The next place is looked at with .5 after a click and .8 after none: .5 * .5 + .5 * .8 = .65; .1 and .9: .77.
    assert WORLD.expected_clicks(always, 2) == pytest.approx((0.5 + 0.65 * 0.2 + 0.1 + 0.77 * 0.9) / 2)


def test_value_is_the_mean_of_clicks() -> None:
    def either(kind: int, shown: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        left = [i for i in (1, 2, 3) if i not in shown]
        share = np.arange(1.0, len(left) + 1)
        return np.array(left), share / share.sum()

    rng, total = np.random.default_rng(0), 60_000
    kind_B = rng.integers(0, 2, total)
    lists = []
    for _ in range(total):
        shown: tuple[int, ...] = ()
        while len(shown) < 3:
            items, share = either(0, shown)
            shown += (int(rng.choice(items, p=share)),)
        lists.append(shown)
    clicks_BK = WORLD.simulate_clicks(kind_B, np.array(lists), rng)
    error = clicks_BK.sum(axis=1).std() / np.sqrt(total)
    assert abs(clicks_BK.sum(axis=1).mean() - WORLD.expected_clicks(either, 3)) < 4 * error


def test_after_nobody_looks_nobody_clicks() -> None:
    blind = ClickSimulator(np.ones((1, 4)), continue_probability=0.5, continue_after_click=0.0)
    clicks_BK = blind.simulate_clicks(np.zeros(50, dtype=int), np.tile([1, 2, 3], (50, 1)), np.random.default_rng(0))
    assert clicks_BK.tolist() == [[1, 0, 0]] * 50


def test_a_random_world_is_reproducible_and_its_padding_is_never_clicked() -> None:
    one, two = (ClickSimulator.random(np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.click_XA, two.click_XA)
    assert (one.click_XA[:, 0] == 0).all() and (one.click_XA[:, 1:] > 0).all() and (one.click_XA < 1).all()
