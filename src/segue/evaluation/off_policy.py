"""What another pipeline's lists would have earned, from the log of one that drew by chance and wrote down its odds.

A logged probability is that of the shown item at its place, given the items above it; the other pipeline's is that
with which it would have shown the same. A list's first k places have the product of them, and what people do at place
k depends on those alone (McInerney et al. 2020). The value is the reward of a whole list, on the mean.

Shape letters: B requests, K places.
"""

from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054
"""Half the width of a normal 95 % interval in standard errors."""


@dataclass(frozen=True)
class Estimate:
    """A value and how far it could be off."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    effective_sample_size: float
    """So many requests of the other pipeline's own would tell as much: (sum of weights)^2 / sum of their squares over
    whole lists (Kish 1965). Below some dozens the interval is not to be trusted."""


def inverse_propensity(
    rewards_BK: np.ndarray, logged_BK: np.ndarray, target_BK: np.ndarray, *, groups_B: np.ndarray | None = None
) -> Estimate:
    """IPS (Horvitz & Thompson 1952): each reward weighted by how much likelier the other pipeline shows it. Without
    bias; its spread is that of the weights. Requests of one group (a person) may hang together."""
    weights_BK = importance_weights(rewards_BK, logged_BK, target_BK)
    return _estimate((weights_BK * rewards_BK).sum(axis=1), weights_BK, groups_B)


def self_normalized(
    rewards_BK: np.ndarray, logged_BK: np.ndarray, target_BK: np.ndarray, *, groups_B: np.ndarray | None = None
) -> Estimate:
    """SNIPS (Swaminathan & Joachims 2015): at each place divided by the sum of weights, which are 1 on the mean. A
    little bias, less spread. The interval is that of the ratio's linear part. ValueError where no weight is left."""
    weights_BK = importance_weights(rewards_BK, logged_BK, target_BK)
    mean_K = weights_BK.mean(axis=0)
    if (mean_K == 0).any():
        raise ValueError(
            f"The other pipeline would have shown none of the logged lists down to place {int(np.argmin(mean_K)) + 1}: "
            "the log says nothing about it."
        )
    value_K = (weights_BK * rewards_BK).mean(axis=0) / mean_K
    spread_B = (weights_BK * (rewards_BK - value_K) / mean_K).sum(axis=1)
    return _estimate(value_K.sum() + spread_B, weights_BK, groups_B)


def doubly_robust(
    rewards_BK: np.ndarray,
    logged_BK: np.ndarray,
    target_BK: np.ndarray,
    *,
    predicted_BK: np.ndarray,
    expected_BK: np.ndarray,
    groups_B: np.ndarray | None = None,
) -> Estimate:
    """DR (Dudik, Langford & Li 2011; for lists Kiyohara et al. 2022): a model's prediction, corrected by the weighted
    error it makes on the log. Right where the odds are; the better the model, the narrower.

    ``predicted_BK``: what the model expects of the logged item at its place; ``expected_BK``: what it expects there of
    the other pipeline, on the mean over what that might show given the items above. The model must not have seen these
    rewards.
    """
    weights_BK = importance_weights(rewards_BK, logged_BK, target_BK)
    for name, array_BK in (("predicted_BK", predicted_BK), ("expected_BK", expected_BK)):
        _check_shape(name, array_BK, rewards_BK)
    above_BK = np.concatenate([np.ones((len(weights_BK), 1)), weights_BK[:, :-1]], axis=1)
    value_BK = above_BK * expected_BK + weights_BK * (rewards_BK - predicted_BK)
    return _estimate(value_BK.sum(axis=1), weights_BK, groups_B)


def importance_weights(rewards_BK: np.ndarray, logged_BK: np.ndarray, target_BK: np.ndarray) -> np.ndarray:
    """float64 [B, K]: how much likelier the other pipeline shows the list down to each place. ValueError where arrays
    do not fit, a logged probability is not above 0 and up to 1, or another's is not one."""
    for name, array_BK in (("logged_BK", logged_BK), ("target_BK", target_BK)):
        _check_shape(name, array_BK, rewards_BK)
    if not ((logged_BK > 0) & (logged_BK <= 1)).all():
        wrong = logged_BK[~((logged_BK > 0) & (logged_BK <= 1))][0]
        raise ValueError(f"A logged probability must be above 0 and up to 1, got {wrong:g}: that item was shown.")
    if not ((target_BK >= 0) & (target_BK <= 1)).all():
        wrong = target_BK[~((target_BK >= 0) & (target_BK <= 1))][0]
        raise ValueError(f"A probability of the other pipeline must be between 0 and 1, got {wrong:g}.")
    return np.cumprod(target_BK / logged_BK, axis=1)


def _check_shape(name: str, array_BK: np.ndarray, rewards_BK: np.ndarray) -> None:
    if rewards_BK.ndim != 2 or array_BK.shape != rewards_BK.shape:
        raise ValueError(
            f"rewards_BK must be requests x places and {name} alike, got the shapes {rewards_BK.shape} and "
            f"{array_BK.shape}."
        )


def _estimate(value_B: np.ndarray, weights_BK: np.ndarray, groups_B: np.ndarray | None) -> Estimate:
    """The mean with its interval; where requests are grouped, errors are summed by group first, since what one person
    does hangs together (Liang & Zeger 1986).

    A few large weights make the mean skewed: it is more often too low than too high, and a normal interval around it
    misses the truth above. So its ends are moved by Hall's transformation (1992, "On the removal of skewness by
    transformation": his cubic that can be inverted), which leaves a normal interval where nothing is skewed.
    """
    mean = float(value_B.mean())
    errors: np.ndarray = value_B - mean
    if groups_B is not None:
        errors = np.bincount(np.unique(groups_B, return_inverse=True)[1], weights=errors)
    count = len(errors)
    if count < 2:
        raise ValueError(f"An interval needs at least two requests (or groups), got {count}.")
    squares = float((errors**2).sum())
    error = float(np.sqrt(squares * count / (count - 1)) / len(value_B))
    skew = float((errors**3).sum()) / count / (squares / count) ** 1.5 if squares else 0.0
    low, high = (mean - error * _unskewed(z, skew / np.sqrt(count)) for z in (Z, -Z))
    whole_B = weights_BK[:, -1]
    total = float((whole_B**2).sum())
    effective = float(whole_B.sum()) ** 2 / total if total else 0.0
    return Estimate(mean, low, high, effective)


def _unskewed(z: float, skew: float) -> float:
    """Where the studentised mean has the normal quantile z; ``skew``: of one error, over the root of how many."""
    if abs(skew) < 1e-9:
        return z
    return float(3.0 / skew * (np.cbrt(1.0 + skew * (z - skew / 6.0)) - 1.0))
