"""Ranks by hand, and models that must not score well: constant, random, broken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.evaluate import evaluate
from segue.evaluation.ranks import has_rankable_target, target_ranks

SCORES = np.array([[9.0, 0.5, 0.8, 0.5, 0.1, 0.5]], dtype=np.float32)
"""One case; PAD's 9 must not count. Items by score: 2, then 1 = 3 = 5, then 4."""


@pytest.mark.parametrize(
    ("target", "ties", "rank"),
    [
        (2, "half", 1.0),
        (1, "expected", 3.0),
        (1, "half", 3.0),  # one above, two equals: 1 + 1 + 2 / 2
        (1, "conservative", 4.0),
        (1, "optimistic", 2.0),
        (4, "half", 5.0),
        (4, "conservative", 5.0),
    ],
)
def test_ranks_by_hand(target: int, ties: str, rank: float) -> None:
    ranks = target_ranks(SCORES, np.array([target]), ties=ties)  # type: ignore[arg-type]
    assert ranks.ranks_N.tolist() == [rank]
    assert ranks.ties_N.tolist() == [3 if ties == "expected" else 1]


def test_excluded_items_are_not_in_the_race() -> None:
    seen = Sequences.from_lists([[2, 3, 3, 0]])  # above, equal (twice), PAD
    assert target_ranks(SCORES, np.array([1]), exclude=seen).ranks_N.tolist() == [1.5]


def test_targets_without_a_rank_are_refused() -> None:
    broken = SCORES.copy()
    broken[0, 4] = np.nan
    message = r"^A score is NaN, or a target's score is not finite: the model is broken and gets no rank\.$"
    with pytest.raises(ValueError, match=message):
        target_ranks(broken, np.array([1]))
    with pytest.raises(ValueError, match=message):
        target_ranks(np.full((1, 5), -np.inf, np.float32), np.array([1]))
    with pytest.raises(ValueError, match=r"^A target is among the excluded items, so it has no rank: drop that case"):
        target_ranks(SCORES, np.array([1]), exclude=Sequences.from_lists([[1]]))
    with pytest.raises(
        ValueError, match=r"^The tie rule must be one of expected, half, conservative, optimistic, got 'mean'\.$"
    ):
        target_ranks(SCORES, np.array([1]), ties="mean")  # type: ignore[arg-type]


@given(st.integers(0, 10_000), st.integers(2, 9), st.sampled_from(["expected", "half", "conservative", "optimistic"]))
@settings(deadline=None, max_examples=150)
def test_ranks_against_a_naive_count(seed: int, size: int, ties: str) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (5, size)).astype(np.float32)
    targets = rng.integers(1, size, 5)
    seen = [[i for i in rng.integers(0, size, 3).tolist() if i != t] for t in targets.tolist()]
    wanted, wanted_ties = [], []
    for row, target, out in zip(scores, targets, seen, strict=True):
        others = [s for i, s in enumerate(row) if i not in (0, target) and i not in out]
        above, equal = sum(s > row[target] for s in others), sum(s == row[target] for s in others)
        share = {"expected": 0.5, "half": 0.5, "conservative": 1.0, "optimistic": 0.0}[ties]
        wanted.append(1 + above + share * equal)
        wanted_ties.append(equal + 1 if ties == "expected" else 1)
    result = target_ranks(scores, targets, exclude=Sequences.from_lists(seen), ties=ties)  # type: ignore[arg-type]
    assert result.ranks_N.tolist() == wanted
    assert result.ties_N.tolist() == wanted_ties


def test_has_rankable_target() -> None:
    assert has_rankable_target(Sequences.from_lists([[1, 2], [3], []]), np.array([2, 2, 2])).tolist() == [
        False,
        True,
        True,
    ]


class Made:
    """A scorer of given scores."""

    name = "made"

    def __init__(self, make: object, size: int) -> None:
        self.make, self.size = make, size

    def scores(self, histories: Sequences) -> np.ndarray:
        return self.make((len(histories), self.size)).astype(np.float32)  # type: ignore[operator,no-any-return]

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


def many(n: int = 4000, size: int = 1001) -> EvaluationCases:
    rng = np.random.default_rng(0)
    return EvaluationCases(
        Sequences.from_lists([[1]] * n), rng.integers(2, size, n).astype(np.int32), np.arange(n), None, {}
    )


def test_a_random_model_scores_as_chance() -> None:
    rng = np.random.default_rng(1)
    result = evaluate(Made(rng.random, 1001), many(), exclude_seen=False, ks=(10,))
    assert result.metrics["recall@10"] == pytest.approx(0.01, abs=0.005)
    low, high = result.intervals["recall@10"]
    assert low <= result.metrics["recall@10"] <= high < 0.02


@pytest.mark.parametrize("ties", ["half", "conservative"])
def test_a_constant_model_never_hits(ties: str) -> None:
    result = evaluate(Made(np.zeros, 1001), many(), exclude_seen=False, ks=(10, 20), ties=ties)  # type: ignore[arg-type]
    assert result.metrics["recall@20"] == result.metrics["ndcg@10"] == 0.0


def test_optimistic_ties_would_flatter_the_constant_model() -> None:
    result = evaluate(Made(np.zeros, 1001), many(), exclude_seen=False, ks=(10,), ties="optimistic")
    assert result.metrics["recall@10"] == 1.0


def test_one_nan_beside_a_finite_target_is_refused() -> None:
    scores_BV = np.array([[0.0, 0.3, 0.2, np.nan]], dtype=np.float32)  # a comparison would rank the target above it
    with pytest.raises(ValueError, match="the model is broken"):
        target_ranks(scores_BV, np.array([1]))


def test_a_nan_model_is_refused() -> None:
    with pytest.raises(ValueError, match="the model is broken"):
        evaluate(Made(lambda shape: np.full(shape, np.nan), 1001), many(20), exclude_seen=False)
