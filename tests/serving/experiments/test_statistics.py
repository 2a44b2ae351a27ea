"""Splits, interleaving and intervals, each against a naive computation or a result by hand."""

import math
import random

import numpy as np
import pytest

from segue.serving.experiments.statistics import (
    assign_variant,
    hash_to_unit,
    preference_test,
    ratio_difference,
    ratio_estimate,
    sample_ratio_p_value,
    team_draft,
)

SHARES = {"canary": 0.2, "interleaved": 0.3, "live": 0.5}


def test_a_user_keeps_the_variant_and_the_shares_hold():
    users = [f"p{i}" for i in range(20_000)]
    chosen = [assign_variant(p, "one", SHARES) for p in users]
    assert chosen == [assign_variant(p, "one", SHARES) for p in users]
    for name, share in SHARES.items():
        assert abs(chosen.count(name) / len(users) - share) < 0.015
    again = [assign_variant(p, "two", SHARES) for p in users]
    both = sum(a == b == "canary" for a, b in zip(chosen, again, strict=True)) / len(users)
    assert abs(both - 0.04) < 0.01, "another experiment splits people independently"


def test_a_growing_share_keeps_its_users():
    users = [f"p{i}" for i in range(2_000)]
    few = {p for p in users if assign_variant(p, "s", {"canary": 0.1, "live": 0.9}) == "canary"}
    more = {p for p in users if assign_variant(p, "s", {"canary": 0.4, "live": 0.6}) == "canary"}
    assert few < more


def test_hashes_are_uniform():
    places = np.array([hash_to_unit(f"p{i}", "x") for i in range(20_000)])
    counts, _ = np.histogram(places, bins=10, range=(0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9, "chi-square, 9 degrees, p = .001"


def naive_draft(first, second, k, rng):
    """The paper's algorithm line by line."""
    teams = ([], [])
    out = []
    while len(out) < k and any(i not in out for i in [*first, *second]):
        one = len(teams[0]) < len(teams[1]) or (len(teams[0]) == len(teams[1]) and rng.random() >= 0.5)
        team = 0 if one else 1
        left = [i for i in (first, second)[team] if i not in out]
        if not left:
            team = 1 - team
            left = [i for i in (first, second)[team] if i not in out]
        out.append(left[0])
        teams[team].append(left[0])
    return [(i, 0 if i in teams[0] else 1) for i in out]


def test_team_draft_equals_the_paper():
    rng = random.Random(1)
    for seed in range(300):
        size = rng.randrange(0, 8)
        first = rng.sample("abcdefghij", size)
        second = rng.sample("abcdefghij", rng.randrange(0, 8))
        k = rng.randrange(1, 10)
        assert team_draft(first, second, k, random.Random(seed)) == naive_draft(first, second, k, random.Random(seed))


def test_equal_lists_are_kept_and_shared_fairly():
    wins = [0, 0]
    for seed in range(2_000):
        drawn = team_draft("abcde", "abcde", 5, random.Random(seed))
        assert "".join(item for item, _ in drawn) == "abcde"
        wins[drawn[0][1]] += 1
    assert abs(wins[0] - 1_000) < 140


def test_an_interval_by_hand():
    """Two lists each, clicked lists 0, 1, 2: the ratio 1/2; residuals -1, 0, 1, their deviation 1, over sqrt(3) * 2."""
    found = ratio_estimate(np.array([0.0, 1, 2]), np.array([2.0, 2, 2]))
    assert found.value == 0.5
    assert found.high - found.value == pytest.approx(1.959964 / (2 * math.sqrt(3)))
    assert ratio_estimate(np.array([]), np.array([])).value is None
    assert ratio_estimate(np.array([1.0]), np.array([2.0])).low is None


def test_the_interval_covers_correlated_lists_of_a_user():
    """Each user clicks all lists or none: an interval over lists would cover the rate in about half of the cases."""
    rng = np.random.default_rng(0)
    held = apart = 0
    for _ in range(400):
        lists = rng.integers(1, 12, 300).astype(float)
        hits = lists * (rng.random(300) < 0.3)
        found = ratio_estimate(hits, lists)
        held += found.low <= 0.3 <= found.high
        other = lists[::-1] * (rng.random(300) < 0.3)
        between = ratio_difference((hits, lists), (other, lists[::-1]))
        apart += between.low <= 0 <= between.high
    assert 0.91 < held / 400 < 0.985
    assert 0.91 < apart / 400 < 0.985


def test_a_broken_split_is_detected_and_a_sound_one_is_not():
    assert sample_ratio_p_value([5000, 5000], [0.5, 0.5]) == 1.0
    # (5200 - 5000)^2 / 5000 twice is 16, for which a normal table gives 2 * (1 - Phi(4)) = 6.33e-5
    assert sample_ratio_p_value([5200, 4800], [0.5, 0.5]) == pytest.approx(6.334e-5, rel=1e-3)
    # three variants: chi-square 2 with two degrees of freedom is exp(-1)
    assert sample_ratio_p_value([110, 90, 100], [1 / 3, 1 / 3, 1 / 3]) == pytest.approx(math.exp(-1))
    assert sample_ratio_p_value([0, 0], [0.5, 0.5]) == 1.0
    assert sample_ratio_p_value([1, 9], [0.0, 1.0]) == 0.0
    assert sample_ratio_p_value([0, 50, 50], [0.0, 0.5, 0.5]) == 1.0
    with pytest.raises(ValueError) as error:
        sample_ratio_p_value([1, 2], [0.5, 0.6])
    assert str(error.value) == "A split has two or three variants whose shares add up to 1, got [0.5, 0.6]."


def test_a_preference_by_hand():
    found = preference_test(np.array([0, 0, 1, 2, 0]), np.array([1, 3, 0, 2, 0]))
    assert (found.first, found.second, found.ties) == (1, 2, 1)
    # three throws, at most one head: (1 + 3) / 8, both tails: 1
    assert found.p_value == 1.0
    ten = preference_test(np.zeros(10), np.ones(10))
    assert ten.p_value == pytest.approx(2 / 1024)
    # Wilson for 10 of 10: low = 10 / (10 + z^2)
    assert ten.share.low == pytest.approx(10 / (10 + 1.959964**2))
    assert ten.share.high == pytest.approx(1)
    assert preference_test(np.array([]), np.array([])).share.value is None
