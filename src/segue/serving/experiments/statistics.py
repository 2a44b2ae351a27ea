"""Who sees what, and what came of it: splits by person, team-draft interleaving, and honest intervals.

Pure functions without state. Shape letters: P people, L lists.
"""

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Z_95 = 1.959964
SAMPLE_RATIO_ALPHA = 0.001
"""A split that chance would give more rarely than this is broken, and so is whatever was measured with it (Fabijan et
al. 2019, "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments")."""

T = TypeVar("T")


def hash_to_unit(user_key: str, salt: str) -> float:
    """A number in [0, 1) that depends on the person and the experiment alone: the same in every process, for ever.

    >>> place("ann", "one") == place("ann", "one") != place("ann", "two")
    True
    """
    digest = hashlib.blake2b(f"{salt}\x00{user_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign_variant(user_key: str, salt: str, shares: Mapping[str, float]) -> str:
    """The variant of a person: shares are laid end to end on [0, 1), and the person's place lies in one of them.

    What the shares leave over belongs to the last one.
    """
    where, end = hash_to_unit(user_key, salt), 0.0
    for name, share in shares.items():
        end += share
        if where < end:
            return name
    return name


def team_draft(first: Sequence[T], second: Sequence[T], k: int, rng: random.Random) -> list[tuple[T, int]]:
    """k items of two lists by turns, each with the list (0 or 1) that chose it.

    Radlinski, Kurup, Joachims 2008, "How does clickthrough data reflect retrieval quality?", algorithm 2: the team
    with fewer players chooses next, a coin decides between equals; each takes its best item that is not yet taken.
    A click counts for the team whose item it is.
    """
    lists, at = (first, second), [0, 0]
    taken: dict[T, int] = {}
    sizes = [0, 0]
    while len(taken) < k:
        for one in (0, 1):
            while at[one] < len(lists[one]) and lists[one][at[one]] in taken:
                at[one] += 1
        team = int(sizes[1] < sizes[0] or (sizes[0] == sizes[1] and rng.random() < 0.5))
        if at[team] == len(lists[team]):
            team = 1 - team
        if at[team] == len(lists[team]):
            break
        taken[lists[team][at[team]]] = team
        sizes[team] += 1
    return list(taken.items())


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; None where there is nothing to estimate it from."""

    value: float | None
    low: float | None = None
    high: float | None = None


def ratio_estimate(hits_P: np.ndarray, lists_P: np.ndarray) -> Interval:
    """Hits a list, where lists of one person go together: the delta method for a ratio of means over people.

    Deng, Knoblich, Lu 2018, "Applying the Delta Method in Metric Analytics", section 3.1. One person's lists resemble
    each other, so an interval over lists would be too narrow.
    """
    total = float(lists_P.sum())
    if total == 0:
        return Interval(None)
    value = float(hits_P.sum()) / total
    error = _standard_error(hits_P, lists_P)
    if error is None:
        return Interval(value)
    return Interval(value, value - Z_95 * error, value + Z_95 * error)


def ratio_difference(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Interval:
    """How far the second ratio (hits_P, lists_P) lies above the first, over different people."""
    if first[1].sum() == 0 or second[1].sum() == 0:
        return Interval(None)
    value = float(second[0].sum() / second[1].sum() - first[0].sum() / first[1].sum())
    errors = [_standard_error(*one) for one in (first, second)]
    if errors[0] is None or errors[1] is None:
        return Interval(value)
    error = math.hypot(errors[0], errors[1])
    return Interval(value, value - Z_95 * error, value + Z_95 * error)


def _standard_error(hits_P: np.ndarray, lists_P: np.ndarray) -> float | None:
    """Of sum(hits) / sum(lists): that of the mean residual, over the mean number of lists. None for fewer than two."""
    people = len(lists_P)
    if people < 2:
        return None
    residual_P = hits_P - hits_P.sum() / lists_P.sum() * lists_P
    return float(residual_P.std(ddof=1) / math.sqrt(people) / lists_P.mean())


def sample_ratio_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The chance that a sound split of these shares gives counts at least as far off: Pearson's chi-square test.

    Two or three variants; ValueError for more, and for shares that do not add up to 1.
    """
    if len(counts) != len(shares) or not 2 <= len(counts) <= 3 or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise ValueError(f"A split has two or three variants whose shares add up to 1, got {list(shares)}.")
    total = sum(counts)
    if total == 0:
        return 1.0
    if any(count and not share for count, share in zip(counts, shares, strict=True)):
        return 0.0
    apart = sum(
        (count - share * total) ** 2 / (share * total) for count, share in zip(counts, shares, strict=True) if share
    )
    freedom = sum(share > 0 for share in shares) - 1
    if freedom == 0:
        return 1.0
    return math.erfc(math.sqrt(apart / 2)) if freedom == 1 else math.exp(-apart / 2)


@dataclass(frozen=True)
class PreferenceTest:
    """What interleaved lists say: how many people clicked more on the one or the other team's items."""

    first: int
    second: int
    ties: int
    share: Interval
    """The second team's share of the people who had a preference (Wilson's interval)."""
    p_value: float
    """Of the sign test: the chance of a preference so strong where there is none."""


def preference_test(first_P: np.ndarray, second_P: np.ndarray) -> PreferenceTest:
    """The outcome of an interleaving from each person's clicks on the first and on the second team's items."""
    wins, losses = int((second_P > first_P).sum()), int((second_P < first_P).sum())
    ties = int(((first_P == second_P) & (first_P > 0)).sum())
    return PreferenceTest(losses, wins, ties, _wilson(wins, wins + losses), _sign_test(wins, losses))


def _wilson(wins: int, total: int) -> Interval:
    if total == 0:
        return Interval(None)
    share, z2 = wins / total, Z_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return Interval(share, middle - half, middle + half)


def _sign_test(wins: int, losses: int) -> float:
    """Two-sided and exact: twice the smaller tail of a fair coin's throws."""
    total, fewer = wins + losses, min(wins, losses)
    logs = (
        math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1) - total * math.log(2)
        for i in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(one) for one in logs))
