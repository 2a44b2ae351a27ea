"""Drawn candidates: distinct, never PAD, by the stated distribution, repeatable."""

import numpy as np
import pytest

from segue.training.negatives import Sampler, every_item


def test_every_item_is_all_but_pad() -> None:
    every = every_item(5)
    assert every.items.tolist() == [1, 2, 3, 4]
    assert every.offset.tolist() == [0.0] * 4


def test_frequencies_follow_popularity_to_the_power() -> None:
    counts = np.array([99.0, 1.0, 4.0, 16.0])
    sampler = Sampler(counts, 1, 0.5)
    rng = np.random.default_rng(0)
    drawn = np.bincount([int(sampler.draw(rng).items[0]) for _ in range(7000)], minlength=4)
    assert drawn[0] == 0
    assert drawn[1:] / 7000 == pytest.approx(np.array([1, 2, 4]) / 7, abs=0.02)


def test_distinct_ascending_and_corrected_for_the_drawing() -> None:
    sampler = Sampler(np.array([0.0, 1.0, 1.0]), 10, 0.0)
    drawn = sampler.draw(np.random.default_rng(0))
    assert drawn.items.tolist() == [1, 2]
    # offset = log(times drawn) - log(draws * q), so exp(offset) * draws * q are the times, which add up to the draws
    assert (np.exp(drawn.offset) * 10 * 0.5).sum() == pytest.approx(10)


def test_same_generator_same_draw() -> None:
    sampler = Sampler(np.arange(100.0), 30, 0.75)
    one, two = (sampler.draw(np.random.default_rng(3)) for _ in range(2))
    assert one.items.tolist() == two.items.tolist()


def test_needs_a_negative() -> None:
    with pytest.raises(ValueError, match=r"^The number of negatives must be at least 1, got 0\.$"):
        Sampler(np.ones(3), 0, 0.0)
