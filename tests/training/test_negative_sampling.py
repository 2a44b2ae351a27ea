"""Drawn candidates: distinct, never PAD, by the stated distribution, repeatable, and unbiased once corrected."""

import numpy as np
import pytest

from segue.training.negative_sampling import NegativeSampler, NegativeSource, all_items

NOTHING = np.empty(0, dtype=np.int32)


def test_every_item_is_all_but_pad() -> None:
    every = all_items(5)
    assert every.items.tolist() == [1, 2, 3, 4]
    assert every.offset.tolist() == [0.0] * 4


def test_frequencies_follow_popularity_to_the_power() -> None:
    counts = np.array([99.0, 1.0, 4.0, 16.0])
    sampler = NegativeSampler(counts, 1, 0.5)
    rng = np.random.default_rng(0)
    drawn = np.bincount([int(sampler.draw(rng, NOTHING).items[0]) for _ in range(7000)], minlength=4)
    assert drawn[0] == 0
    assert drawn[1:] / 7000 == pytest.approx(np.array([1, 2, 4]) / 7, abs=0.02)


def test_power_0_is_uniform_over_all_items_seen_or_not() -> None:
    sampler = NegativeSampler(np.array([5.0, 0.0, 1.0, 1000.0, 3.0]), 1, 0.0)
    assert sampler.probability_V.tolist() == [0.0, 0.25, 0.25, 0.25, 0.25]


def test_distinct_ascending_and_corrected_for_the_drawing() -> None:
    sampler = NegativeSampler(np.array([0.0, 1.0, 1.0]), 10, 0.0)
    drawn = sampler.draw(np.random.default_rng(0), NOTHING)
    assert drawn.items.tolist() == [1, 2]
    # offset = log(times drawn) - log(draws * q), so exp(offset) * draws * q are the times, which add up to the draws
    assert (np.exp(drawn.offset) * 10 * 0.5).sum() == pytest.approx(10)


def test_in_batch_takes_the_targets_and_folds_repeats() -> None:
    counts = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    drawn = NegativeSampler(counts, 7, 0.5, source="in-batch").draw(np.random.default_rng(0), np.array([4, 2, 4, 4]))
    assert drawn.items.tolist() == [2, 4]
    # each of the four targets meets three others, drawn from the log's frequencies 0.2 and 0.4
    assert drawn.offset == pytest.approx([np.log(1 / (3 * 0.2)), np.log(3 / (3 * 0.4))])


def test_mixed_counts_both_kinds_of_draws_over_both_expectations() -> None:
    counts = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    sampler = NegativeSampler(counts, 50, 0.0, source="mixed")
    drawn = sampler.draw(np.random.default_rng(0), np.array([4, 2, 4, 4]))
    alone = NegativeSampler(counts, 50, 0.0).draw(np.random.default_rng(0), NOTHING)
    times = np.exp(alone.offset) * 50 * 0.25 + np.array([0, 1, 0, 3])
    expected = 50 * 0.25 + 3 * np.array([0.1, 0.2, 0.3, 0.4])
    assert drawn.items.tolist() == [1, 2, 3, 4]
    assert drawn.offset == pytest.approx(np.log(times / expected), rel=1e-5)


@pytest.mark.parametrize("source", ["popularity", "in-batch", "mixed"])
def test_a_lone_target_has_a_finite_offset(source: NegativeSource) -> None:
    drawn = NegativeSampler(np.ones(4), 3, 0.5, source=source).draw(np.random.default_rng(0), np.array([2]))
    assert np.isfinite(drawn.offset).all()
    assert (2 in drawn.items) or source == "popularity"


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("source", ["popularity", "in-batch", "mixed"])
def test_the_partition_is_unbiased_with_log_q_and_only_with_it(
    source: NegativeSource, power: float, corrected: bool
) -> None:
    """A target's partition estimated over many batches: itself, and 11 more targets drawn from the log."""
    rng = np.random.default_rng(5)
    counts = np.arange(40.0)
    scores = rng.normal(size=40)
    sampler = NegativeSampler(counts, 8, power, source=source, corrected=corrected)
    target, rounds, total = 7, 20_000 if corrected else 2_000, 0.0
    others_drawn = rng.choice(40, (rounds, 11), p=counts / counts.sum())
    for others in others_drawn:
        drawn = sampler.draw(rng, np.append(others, target))
        kept = drawn.items != target
        total += np.exp(scores[drawn.items[kept]] + drawn.offset[kept]).sum()
    wanted = np.exp(np.delete(scores, [0, target])).sum()
    if corrected:
        assert total / rounds == pytest.approx(wanted, rel=0.03)
    else:
        assert abs(total / rounds / wanted - 1) > 0.3


@pytest.mark.parametrize("source", ["popularity", "in-batch", "mixed"])
def test_more_draws_come_closer(source: NegativeSource) -> None:
    """Consistent: the logarithm too, which one small set estimates too low."""
    rng = np.random.default_rng(6)
    counts = np.arange(40.0)
    scores = rng.normal(size=40)
    wanted = np.log(np.exp(np.delete(scores, [0, 7])).sum())
    wrong = []
    for draws in (8, 80, 800):
        sampler = NegativeSampler(counts, draws, 0.5, source=source)
        found = []
        for _ in range(200):
            drawn = sampler.draw(rng, np.append(rng.choice(40, draws, p=counts / counts.sum()), 7))
            kept = drawn.items != 7
            found.append(np.log(np.exp(scores[drawn.items[kept]] + drawn.offset[kept]).sum()))
        wrong.append(float(np.mean(np.abs(np.array(found) - wanted))))
    assert wrong[0] > 2 * wrong[1] > 4 * wrong[2]


def test_same_generator_same_draw() -> None:
    sampler = NegativeSampler(np.arange(100.0), 30, 0.75)
    one, two = (sampler.draw(np.random.default_rng(3), NOTHING) for _ in range(2))
    assert one.items.tolist() == two.items.tolist()


def test_needs_a_negative() -> None:
    with pytest.raises(ValueError, match=r"^The number of negatives must be at least 1, got 0\.$"):
        NegativeSampler(np.ones(3), 0, 0.0)
