"""Estimates by hand, against the simulator's truth, and what they refuse."""

import itertools
import re
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import stdtrit

from segue.evaluation.click_simulator import ClickSimulator, Policy
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
        [-4.302653, 4.302653]  # Student's t with 2 degrees of freedom
    )
    assert 1.5 - ips.low > ips.high - 1.5  # the mean is more often too high here
    assert ips.effective_sample_size == pytest.approx(1.5**2 / 1.25)
    assert self_normalized(REWARDS, LOGGED, TARGET).value == pytest.approx((2 + 2) / 4.5 + 0.5 / 1.5)
    predicted, expected = np.full((3, 2), 0.5), np.array([[0.6, 0.3], [0.4, 0.2], [0.5, 0.5]])
    estimate = doubly_robust(REWARDS, LOGGED, TARGET, predicted_BK=predicted, expected_BK=expected)
    by_request = [0.6 + 2 * 0.3 + 2 * 0.5 - 1 * 0.5, 0.4 + 0.5 * 0.2 - 0.5 * 0.5 + 0.5 * 0.5, 0.5 + 2 * 0.5 + 2 * 0.5]
    assert estimate.value == pytest.approx(np.mean(by_request))


def test_values_without_skewness_have_the_interval_of_student() -> None:
    rewards = np.array([[0.0], [1.0], [2.0], [3.0]])
    estimate = inverse_propensity(rewards, np.ones((4, 1)), np.ones((4, 1)))
    error = np.std([0, 1, 2, 3], ddof=1) / 2
    assert (estimate.low, estimate.high) == pytest.approx((1.5 - 3.182446 * error, 1.5 + 3.182446 * error))
    constant = inverse_propensity(np.ones((4, 1)), np.ones((4, 1)), np.ones((4, 1)))
    assert (constant.low, constant.high) == (1.0, 1.0)


def test_the_logging_policy_itself_has_the_plain_mean() -> None:
    rng = np.random.default_rng(0)
    rewards, logged = rng.integers(0, 2, (50, 3)).astype(float), rng.uniform(0.1, 1, (50, 3))
    for estimate in (inverse_propensity(rewards, logged, logged), self_normalized(rewards, logged, logged)):
        assert estimate.value == pytest.approx(rewards.sum(axis=1).mean())
        assert estimate.effective_sample_size == pytest.approx(50)


def test_groups_widen_the_interval_of_correlated_requests() -> None:
    rewards = np.repeat([[1.0], [0.0], [1.0], [0.0]], 5, axis=0)
    one = np.ones_like(rewards)
    apart = inverse_propensity(rewards, one, one)
    together = inverse_propensity(rewards, one, one, groups_B=np.repeat(["a", "b", "c", "d"], 5))
    assert together.value == apart.value
    assert together.high - together.value == pytest.approx(3.182446 * np.std([1, 0, 1, 0], ddof=1) / 2)
    assert together.high > apart.high


def test_a_few_large_errors_leave_few_degrees_of_freedom() -> None:
    """200 values of a normal distribution have its interval; one large weight among them widens it by a third."""
    rewards = np.random.default_rng(0).normal(size=(200, 1))
    ones, target = np.ones((200, 1)), np.full((200, 1), 0.5)
    plain = inverse_propensity(rewards, ones, ones)
    assert plain.high - plain.low == pytest.approx(2 * 1.97 * rewards.std(ddof=1) / np.sqrt(200), rel=0.01)
    rewards[0], target[0] = 60.0, 1.0
    errors = (target * rewards)[:, 0] - (target * rewards).mean()
    assert len(errors) * (errors**4).sum() / (errors**2).sum() ** 2 > 150  # kurtosis: 2 * 200 / 150 < 3 degrees
    skewed = inverse_propensity(rewards, ones, target)
    normal = 2 * 1.959964 * errors.std(ddof=1) / np.sqrt(200)
    assert skewed.high - skewed.low > 1.33 * normal


def test_the_error_of_self_normalized_weights_is_that_of_leaving_one_user_out() -> None:
    rng = np.random.default_rng(3)
    rewards, logged, target = rng.integers(0, 2, (40, 2)).astype(float), rng.uniform(0.05, 1, (40, 2)), np.ones((40, 2))
    users = np.repeat(np.arange(20), 2)
    whole = self_normalized(rewards, logged, target, groups_B=users)
    without = [self_normalized(rewards[users != u], logged[users != u], target[users != u]).value for u in range(20)]
    errors = whole.value - np.array(without)
    centered = errors - errors.mean()
    degrees = 2 * 20 / (20 * (centered**4).sum() / (centered**2).sum() ** 2 - 1)
    error = np.sqrt((centered**2).sum() * 20 / 19)
    assert whole.high - whole.value == pytest.approx(float(stdtrit(min(19, degrees), 0.975)) * error)
    assert whole.high - whole.value == pytest.approx(whole.value - whole.low)


def by_score(score_XA: np.ndarray, temperature: float) -> Policy:
    """Without replacement, by exp(score / temperature)."""

    def policy(user_type: int, items: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        left = np.array([i for i in range(1, score_XA.shape[1]) if i not in items])
        share = np.exp(score_XA[user_type, left] / temperature)
        return left, share / share.sum()

    return policy


@dataclass(frozen=True)
class PolicyTables:
    """Every list of two of five items, with the probabilities and predictions of each user type, in that order."""

    lists_LK: np.ndarray
    logged_XLK: np.ndarray
    target_XLK: np.ndarray
    expected_XLK: np.ndarray

    @classmethod
    def of(cls, simulator: ClickSimulator, old: Policy, new: Policy, model_XA: np.ndarray) -> "PolicyTables":
        num_types, num_items = simulator.click_XA.shape
        lists = list(itertools.permutations(range(1, num_items), 2))
        logged, target, expected = (np.zeros((num_types, len(lists), 2)) for _ in range(3))
        for user_type, (n, items), position in itertools.product(range(num_types), enumerate(lists), range(2)):
            for policy, table in ((old, logged), (new, target)):
                candidates, share = policy(user_type, items[:position])
                table[user_type, n, position] = share[candidates == items[position]][0]
            expected[user_type, n, position] = share @ model_XA[user_type, candidates]
        return cls(np.array(lists), logged, target, expected)


def simulate_log(
    simulator: ClickSimulator, tables: PolicyTables, model_XA: np.ndarray, rng: np.random.Generator, requests: int
) -> dict[str, np.ndarray]:
    """Lists of the old policy with their clicks, and the probabilities of the new one."""
    user_type_B = rng.integers(0, len(simulator.click_XA), requests)
    chance_BL = tables.logged_XLK.prod(axis=2)[user_type_B]
    ends_BL = np.cumsum(chance_BL, axis=1)
    list_B = (rng.random((requests, 1)) * ends_BL[:, -1:] >= ends_BL).sum(axis=1)
    lists_BK = tables.lists_LK[list_B]
    return {
        "rewards_BK": simulator.simulate_clicks(user_type_B, lists_BK, rng),
        "logged_BK": tables.logged_XLK[user_type_B, list_B],
        "target_BK": tables.target_XLK[user_type_B, list_B],
        "predicted_BK": model_XA[user_type_B[:, None], lists_BK],
        "expected_BK": tables.expected_XLK[user_type_B, list_B],
    }


def estimates(data: dict[str, np.ndarray]) -> dict[str, Estimate]:
    odds = {name: data[name] for name in ("rewards_BK", "logged_BK", "target_BK")}
    return {"ips": inverse_propensity(**odds), "snips": self_normalized(**odds), "dr": doubly_robust(**data)}


def test_the_true_value_lies_within_93_of_100_intervals() -> None:
    """IPS, SNIPS and doubly robust of another policy; the reward model of the last is wrong on purpose."""
    rng = np.random.default_rng(5)
    simulator = ClickSimulator.random(rng, num_user_types=3, num_items=6)
    old, new = by_score(rng.normal(size=(3, 6)), 2.0), by_score(simulator.click_XA * 4, 1.0)
    truth = simulator.expected_clicks(new, 2)
    assert truth > simulator.expected_clicks(old, 2) + 0.02  # there is something to be estimated
    model_XA = simulator.click_XA * 0.7
    within = dict.fromkeys(("ips", "snips", "dr"), 0)
    widths: dict[str, float] = dict.fromkeys(within, 0.0)
    tables = PolicyTables.of(simulator, old, new, model_XA)
    for _ in range(1000):
        for name, estimate in estimates(simulate_log(simulator, tables, model_XA, rng, 300)).items():
            within[name] += estimate.low <= truth <= estimate.high
            widths[name] += (estimate.high - estimate.low) / 1000
    assert min(within.values()) >= 930, within
    assert widths["dr"] < widths["ips"]


def now_and_then(score_XA: np.ndarray, epsilon: float) -> Policy:
    """The best item, or any with a probability of epsilon."""

    def policy(user_type: int, items: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        left = np.array([i for i in range(1, score_XA.shape[1]) if i not in items])
        share = np.full(len(left), epsilon / len(left))
        share[score_XA[user_type, left].argmax()] += 1.0 - epsilon
        return left, share

    return policy


def test_the_true_value_lies_within_the_intervals_of_few_effective_lists() -> None:
    """200 lists with the information of 20, a few of them with large weights: 92 of 100 intervals hold the truth.

    Plain errors of the ratio and a normal quantile hold it in 88 of 100.
    """
    rng = np.random.default_rng(6)
    simulator = ClickSimulator.random(rng, num_user_types=3, num_items=6)
    old, new = now_and_then(rng.normal(size=(3, 6)), 0.3), by_score(np.log(simulator.click_XA + 1e-9), 0.5)
    truth, model_XA = simulator.expected_clicks(new, 2), simulator.click_XA * 0.7
    tables = PolicyTables.of(simulator, old, new, model_XA)
    within, effective = dict.fromkeys(("ips", "snips", "dr"), 0), []
    for _ in range(1000):
        for name, estimate in estimates(simulate_log(simulator, tables, model_XA, rng, 200)).items():
            within[name] += estimate.low <= truth <= estimate.high
        effective.append(estimate.effective_sample_size)
    assert 15 < np.mean(effective) < 25
    assert min(within.values()) >= 920, within


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logged_BK": np.ones((2, 2))}, "rewards_BK must be requests x positions and logged_BK alike, got the shapes"),
        (
            {"logged_BK": np.array([[0.5, 0.0]] * 3)},
            "A logged probability must be above 0 and up to 1, got 0: that item was logged.",
        ),
        (
            {"target_BK": np.array([[0.5, 1.5]] * 3)},
            "A probability of the target policy must be between 0 and 1, got 1.5.",
        ),
        (
            {"predicted_BK": np.ones((3, 3))},
            "rewards_BK must be requests x positions and predicted_BK alike, got the shapes (3, 2) and (3, 3).",
        ),
    ],
)
def test_invalid_arrays_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    data = {"rewards_BK": REWARDS, "logged_BK": LOGGED, "target_BK": TARGET}
    data |= {"predicted_BK": REWARDS, "expected_BK": REWARDS} | change
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        doubly_robust(**data)


def test_a_log_without_information() -> None:
    never = np.array([[1.0, 0.0]] * 3)
    message = (
        "The target policy would have returned none of the logged lists down to position 2: the log has no "
        "information about it."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        self_normalized(REWARDS, LOGGED, never)
    message = "An interval needs at least two requests (or groups), got 1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        inverse_propensity(REWARDS, LOGGED, TARGET, groups_B=np.zeros(3))
