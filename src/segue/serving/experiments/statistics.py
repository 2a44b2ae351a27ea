"""Statistics of experiments: assignment of users to variants, team-draft interleaving, confidence intervals and tests.

Pure functions without state. Shape letters: U users, L lists.
"""

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Z_95 = 1.959964
"""Quantile of the normal distribution for a 95 % interval."""
SAMPLE_RATIO_ALPHA = 0.001
"""p-value below which a split is taken as broken, and its results as invalid (Fabijan et al. 2019, "Diagnosing Sample
Ratio Mismatch in Online Controlled Experiments")."""

T = TypeVar("T")


def hash_to_unit(user_key: str, salt: str) -> float:
    """Return a number in [0, 1) that depends only on the user and the salt, equal in every process and version.

    >>> hash_to_unit("ann", "one") == hash_to_unit("ann", "one") != hash_to_unit("ann", "two")
    True

    Args:
        user_key: user or session.
        salt: name of the experiment.
    """
    digest = hashlib.blake2b(f"{salt}\x00{user_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign_variant(user_key: str, salt: str, shares: Mapping[str, float]) -> str:
    """Return the variant of a user: the interval of [0, 1) that contains the user's hash.

    Args:
        user_key: user or session.
        salt: name of the experiment.
        shares: length of each variant's interval, in order. The last variant gets the rest.
    """
    position, end = hash_to_unit(user_key, salt), 0.0
    for name, share in shares.items():
        end += share
        if position < end:
            return name
    return name


def team_draft(first: Sequence[T], second: Sequence[T], k: int, rng: random.Random) -> list[tuple[T, int]]:
    """Interleave two lists by team draft; return k items, each with the list (0 or 1) that chose it.

    Radlinski, Kurup, Joachims 2008, "How does clickthrough data reflect retrieval quality?", algorithm 2. The team with
    fewer items chooses next, at random if they are equal. It takes its best item that is not yet chosen. A click is
    credited to the team of its item.

    Args:
        first: ranked items of team 0.
        second: ranked items of team 1.
        k: largest number of items.
        rng: generator of the coin flips.
    """
    lists, next_rank = (first, second), [0, 0]
    chosen: dict[T, int] = {}
    sizes = [0, 0]
    while len(chosen) < k:
        for team in (0, 1):
            while next_rank[team] < len(lists[team]) and lists[team][next_rank[team]] in chosen:
                next_rank[team] += 1
        team = int(sizes[1] < sizes[0] or (sizes[0] == sizes[1] and rng.random() < 0.5))
        if next_rank[team] == len(lists[team]):
            team = 1 - team
        if next_rank[team] == len(lists[team]):
            break
        chosen[lists[team][next_rank[team]]] = team
        sizes[team] += 1
    return list(chosen.items())


@dataclass(frozen=True)
class Interval:
    """Estimate with its 95 % confidence interval; None without data."""

    value: float | None
    low: float | None = None
    high: float | None = None


def ratio_estimate(hits_U: np.ndarray, lists_U: np.ndarray) -> Interval:
    """Return hits per list with an interval by the delta method for a ratio of means over users.

    Deng, Knoblich, Lu 2018, "Applying the Delta Method in Metric Analytics", section 3.1. The lists of one user are
    correlated, so an interval over lists would be too narrow.

    Args:
        hits_U: clicked lists or purchases of each user.
        lists_U: lists of each user.
    """
    total = float(lists_U.sum())
    if total == 0:
        return Interval(None)
    value = float(hits_U.sum()) / total
    error = _standard_error(hits_U, lists_U)
    if error is None:
        return Interval(value)
    return Interval(value, value - Z_95 * error, value + Z_95 * error)


def ratio_difference(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Interval:
    """Return the second ratio minus the first, over different users.

    Args:
        first: (hits_U, lists_U) of the first group.
        second: the same of the second group.
    """
    if first[1].sum() == 0 or second[1].sum() == 0:
        return Interval(None)
    value = float(second[0].sum() / second[1].sum() - first[0].sum() / first[1].sum())
    errors = [_standard_error(*group) for group in (first, second)]
    if errors[0] is None or errors[1] is None:
        return Interval(value)
    error = math.hypot(errors[0], errors[1])
    return Interval(value, value - Z_95 * error, value + Z_95 * error)


def _standard_error(hits_U: np.ndarray, lists_U: np.ndarray) -> float | None:
    """Return the standard error of sum(hits) / sum(lists): that of the mean residual, over the mean number of lists.

    None for fewer than two users.
    """
    users = len(lists_U)
    if users < 2:
        return None
    residual_U = hits_U - hits_U.sum() / lists_U.sum() * lists_U
    return float(residual_U.std(ddof=1) / math.sqrt(users) / lists_U.mean())


def sample_ratio_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the p-value of Pearson's chi-square test of the users per variant against the declared shares.

    Args:
        counts: users of each variant.
        shares: declared shares; they add up to 1.

    Raises:
        ValueError: there are fewer than two or more than three variants, or the shares do not add up to 1.
    """
    if len(counts) != len(shares) or not 2 <= len(counts) <= 3 or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise ValueError(f"A split has two or three variants whose shares add up to 1, got {list(shares)}.")
    total = sum(counts)
    if total == 0:
        return 1.0
    if any(count and not share for count, share in zip(counts, shares, strict=True)):
        return 0.0
    chi_square = sum(
        (count - share * total) ** 2 / (share * total) for count, share in zip(counts, shares, strict=True) if share
    )
    freedom = sum(share > 0 for share in shares) - 1
    if freedom == 0:
        return 1.0
    return math.erfc(math.sqrt(chi_square / 2)) if freedom == 1 else math.exp(-chi_square / 2)


@dataclass(frozen=True)
class PreferenceTest:
    """Result of interleaving: users by the team whose items they clicked more often."""

    first: int
    second: int
    ties: int
    share: Interval
    """Share of the second team among the users with a preference (Wilson's interval)."""
    p_value: float
    """p-value of the two-sided sign test."""


def preference_test(first_U: np.ndarray, second_U: np.ndarray) -> PreferenceTest:
    """Test the preference of users between the two teams of interleaved lists.

    Args:
        first_U: clicks of each user on items of the first team.
        second_U: clicks on items of the second team.
    """
    wins, losses = int((second_U > first_U).sum()), int((second_U < first_U).sum())
    ties = int(((first_U == second_U) & (first_U > 0)).sum())
    return PreferenceTest(losses, wins, ties, _wilson(wins, wins + losses), _sign_test(wins, losses))


def _wilson(wins: int, total: int) -> Interval:
    if total == 0:
        return Interval(None)
    share, z2 = wins / total, Z_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return Interval(share, middle - half, middle + half)


def _sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p-value: twice the smaller tail of the binomial distribution with p = 1/2."""
    total, fewer = wins + losses, min(wins, losses)
    logs = (
        math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1) - total * math.log(2)
        for i in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))
