"""Estimates by hand, against the simulator's truth, and what they refuse."""

import re

import numpy as np
import pytest

from segue.evaluation.click_simulator import Policy, ClickSimulator
from segue.evaluation.off_policy import Estimate, doubly_robust, importance_weights, inverse_propensity, self_normalized

REWARDS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
LOGGED = np.array([[0.5, 0.5], [0.5, 1.0], [0.25, 0.5]])
TARGET = np.array([[1.0, 0.25], [0.25, 1.0], [0.5, 0.0]])
WEIGHTS = np.array([[2.0, 1.0], [0.5, 0.5], [2.0, 0.0]])


def test_by_hand() -> None:
    assert importance_weights(REWARDS, LOGGED, TARGET).tolist() == WEIGHTS.tolist()
    ips = inverse_propensity(REWARDS, LOGGED, TARGET)
    assert ips.value == pytest.approx((2 + 0.5 + 2) / 3)
    error = np.std([2, 0.5, 2], ddof=1) / np.sqrt(3)
    skew = np.mean([0.5**3, -1, 0.5**3]) / 0.5**1.5 / np.sqrt(3)
    studied = [(1.5 - end) / error for end in (ips.high, ips.low)]
    assert [t + skew * (t * t / 3 + 1 / 6) + skew**2 * t**3 / 27 for t in studied] == pytest.approx(
        [-1.959964, 1.959964]
    )
    assert 1.5 - ips.low > ips.high - 1.5  # the mean is more often too high here
    assert ips.effective_sample_size == pytest.approx(1.5**2 / 1.25)
    assert self_normalized(REWARDS, LOGGED, TARGET).value == pytest.approx((2 + 2) / 4.5 + 0.5 / 1.5)
    predicted, expected = np.full((3, 2), 0.5), np.array([[0.6, 0.3], [0.4, 0.2], [0.5, 0.5]])
    found = doubly_robust(REWARDS, LOGGED, TARGET, predicted_BK=predicted, expected_BK=expected)
    by_request = [0.6 + 2 * 0.3 + 2 * 0.5 - 1 * 0.5, 0.4 + 0.5 * 0.2 - 0.5 * 0.5 + 0.5 * 0.5, 0.5 + 2 * 0.5 + 2 * 0.5]
    assert found.value == pytest.approx(np.mean(by_request))


def test_what_is_not_skewed_has_a_normal_interval() -> None:
    rewards = np.array([[0.0], [1.0], [2.0], [3.0]])
    found = inverse_propensity(rewards, np.ones((4, 1)), np.ones((4, 1)))
    error = np.std([0, 1, 2, 3], ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((1.5 - 1.959964 * error, 1.5 + 1.959964 * error))
    constant = inverse_propensity(np.ones((4, 1)), np.ones((4, 1)), np.ones((4, 1)))
    assert (constant.low, constant.high) == (1.0, 1.0)


def test_judging_the_logger_itself_is_the_plain_mean() -> None:
    rng = np.random.default_rng(0)
    rewards, logged = rng.integers(0, 2, (50, 3)).astype(float), rng.uniform(0.1, 1, (50, 3))
    for found in (inverse_propensity(rewards, logged, logged), self_normalized(rewards, logged, logged)):
        assert found.value == pytest.approx(rewards.sum(axis=1).mean())
        assert found.effective_sample_size == pytest.approx(50)


def test_groups_widen_what_hangs_together() -> None:
    rewards = np.repeat([[1.0], [0.0], [1.0], [0.0]], 5, axis=0)
    one = np.ones_like(rewards)
    apart = inverse_propensity(rewards, one, one)
    together = inverse_propensity(rewards, one, one, groups_B=np.repeat(["a", "b", "c", "d"], 5))
    assert together.value == apart.value
    assert together.high - together.value == pytest.approx(1.959964 * np.std([1, 0, 1, 0], ddof=1) / 2)
    assert together.high > apart.high


def by_score(score_XA: np.ndarray, temperature: float) -> Policy:
    """Without replacement, by exp(score / temperature)."""

    def policy(kind: int, shown: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        left = np.array([i for i in range(1, score_XA.shape[1]) if i not in shown])
        share = np.exp(score_XA[kind, left] / temperature)
        return left, share / share.sum()

    return policy


def log(
    world: ClickSimulator,
    old: Policy,
    new: Policy,
    model_XA: np.ndarray,
    rng: np.random.Generator,
    requests: int,
    places: int,
) -> dict[str, np.ndarray]:
    """What the old policy showed and earned, and what the new one has to say about it."""
    kind_B = rng.integers(0, len(world.click_XA), requests)
    lists_BK = np.zeros((requests, places), dtype=int)
    logged_BK, target_BK, expected_BK = (np.zeros((requests, places)) for _ in range(3))
    for b, kind in enumerate(kind_B.tolist()):
        for place in range(places):
            shown = tuple(lists_BK[b, :place].tolist())
            items, share = old(kind, shown)
            pick = int(rng.choice(len(items), p=share))
            lists_BK[b, place], logged_BK[b, place] = items[pick], share[pick]
            items, share = new(kind, shown)
            target_BK[b, place] = share[items == lists_BK[b, place]][0]
            expected_BK[b, place] = share @ model_XA[kind, items]
    return {
        "rewards_BK": world.simulate_clicks(kind_B, lists_BK, rng),
        "logged_BK": logged_BK,
        "target_BK": target_BK,
        "predicted_BK": model_XA[kind_B[:, None], lists_BK],
        "expected_BK": expected_BK,
    }


def estimates(data: dict[str, np.ndarray]) -> dict[str, Estimate]:
    odds = {name: data[name] for name in ("rewards_BK", "logged_BK", "target_BK")}
    return {"ips": inverse_propensity(**odds), "snips": self_normalized(**odds), "dr": doubly_robust(**data)}


def test_the_truth_lies_within_93_of_100_intervals() -> None:
    """Issue: IPS, SNIPS and doubly robust of another policy; the model of the last is wrong on purpose."""
    rng = np.random.default_rng(5)
    world = ClickSimulator.random(rng, num_user_types=3, num_items=6)
    old, new = by_score(rng.normal(size=(3, 6)), 2.0), by_score(world.click_XA * 4, 1.0)
    truth = world.expected_clicks(new, 2)
    assert truth > world.expected_clicks(old, 2) + 0.02  # there is something to be estimated
    model_XA = world.click_XA * 0.7
    within = dict.fromkeys(("ips", "snips", "dr"), 0)
    widths: dict[str, float] = dict.fromkeys(within, 0.0)
    for _ in range(100):
        for name, found in estimates(log(world, old, new, model_XA, rng, 300, 2)).items():
            within[name] += found.low <= truth <= found.high
            widths[name] += (found.high - found.low) / 100
    assert min(within.values()) >= 93, within
    assert widths["dr"] < widths["ips"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logged_BK": np.ones((2, 2))}, "rewards_BK must be requests x places and logged_BK alike, got the shapes"),
        (
            {"logged_BK": np.array([[0.5, 0.0]] * 3)},
            "A logged probability must be above 0 and up to 1, got 0: that item was shown.",
        ),
        (
            {"target_BK": np.array([[0.5, 1.5]] * 3)},
            "A probability of the other pipeline must be between 0 and 1, got 1.5.",
        ),
        (
            {"predicted_BK": np.ones((3, 3))},
            "rewards_BK must be requests x places and predicted_BK alike, got the shapes (3, 2) and (3, 3).",
        ),
    ],
)
def test_what_cannot_be_estimated(change: dict[str, np.ndarray], message: str) -> None:
    data = {"rewards_BK": REWARDS, "logged_BK": LOGGED, "target_BK": TARGET}
    data |= {"predicted_BK": REWARDS, "expected_BK": REWARDS} | change
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        doubly_robust(**data)


def test_a_log_that_says_nothing() -> None:
    never = np.array([[1.0, 0.0]] * 3)
    message = (
        "The other pipeline would have shown none of the logged lists down to place 2: the log says nothing about it."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        self_normalized(REWARDS, LOGGED, never)
    message = "An interval needs at least two requests (or groups), got 1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        inverse_propensity(REWARDS, LOGGED, TARGET, groups_B=np.zeros(3))
