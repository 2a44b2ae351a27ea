"""Metrics of equal scores: tables worked by hand, and the mean over every order of the equal scores."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.evaluate import evaluate
from segue.evaluation.expected_set_metrics import expected_set_metrics, joint_ranks, position_probability
from segue.evaluation.metrics import BY_RANK
from segue.evaluation.multi_step import evaluate_multi_step, set_metrics
from segue.evaluation.ranks import target_ranks


class Fixed:
    """Scorer of one row of scores for every history."""

    name = "fixed"

    def __init__(self, scores: list[float]) -> None:
        self.row = np.array([99.0, *scores], dtype=np.float32)
        self.size = len(self.row)

    def scores(self, histories: Sequences) -> np.ndarray:
        return np.tile(self.row, (len(histories), 1))

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


def cases_of(targets: list[int], histories: list[list[int]] | None = None) -> EvaluationCases:
    rows = Sequences.from_lists([[]] * len(targets) if histories is None else histories)
    return EvaluationCases(rows, np.array(targets, np.int32), np.arange(len(targets)), None, {})


@pytest.mark.parametrize(
    ("items", "expected"),
    [(19, {"recall@10": 0.526, "ndcg@10": 0.239, "mrr@10": 0.154}), (20, {"recall@10": 0.5, "ndcg@10": 0.227})],
)
def test_a_constant_model_scores_as_a_random_order_does(items: int, expected: dict[str, float]) -> None:
    result = evaluate(Fixed([1.0] * items), cases_of([1, 7, items]), exclude_seen=False, ks=(10, 25))
    assert {name: round(result.metrics[name], 3) for name in expected} == expected
    assert result.metrics["mrr@10"] == pytest.approx(sum(1 / r for r in range(1, 11)) / items)
    assert result.metrics["recall@25"] == 1.0
    assert result.tie_rule == "expected"
    assert result.ties.tolist() == [items] * 3


TIED = [0.5, 0.8, 0.5, 0.1, 0.5]
"""Items 1, 3 and 5 are equal, item 2 is above them and item 4 below: the ranks 2, 3 and 4 are equally likely."""
TABLE = {
    # rule:       recall@1 @2    @3    ndcg@3                              mrr@3            map@2
    "expected": [0, 1 / 3, 2 / 3, (1 / np.log2(3) + 1 / 2) / 3, (1 / 2 + 1 / 3) / 3, (1 / 2) / 3],
    "half": [0, 0, 1, 1 / 2, 1 / 3, 0],
    "conservative": [0, 0, 0, 0, 0, 0],
    "optimistic": [0, 1, 1, 1 / np.log2(3), 1 / 2, 1 / 2],
}


@pytest.mark.parametrize("rule", TABLE)
def test_every_rule_by_hand(rule: str) -> None:
    found = evaluate(Fixed(TIED), cases_of([3]), exclude_seen=False, ks=(1, 2, 3), ties=rule).metrics  # type: ignore[arg-type]
    names = ("recall@1", "recall@2", "recall@3", "ndcg@3", "mrr@3", "map@2")
    assert [found[name] for name in names] == pytest.approx(TABLE[rule])
    assert found["precision@3"] == pytest.approx(found["recall@3"] / 3)


def test_excluded_items_do_not_share_ranks() -> None:
    result = evaluate(Fixed(TIED), cases_of([3], [[1, 1, 2, 0]]), exclude_seen=True, ks=(1,))
    assert result.ranks.tolist() == [1.5]
    assert result.ties.tolist() == [2]
    assert result.metrics["recall@1"] == 0.5


def test_targets_outside_the_catalog_stay_misses() -> None:
    cases = cases_of([3])
    missed = EvaluationCases(cases.histories, cases.targets, cases.groups, None, {}, missed=1)
    result = evaluate(Fixed(TIED), missed, exclude_seen=False, ks=(3,))
    assert result.metrics["recall@3"] == pytest.approx(1 / 3)


@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_metrics_are_the_mean_over_every_order(seed: int, size: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, size).astype(np.float32)
    target = int(rng.integers(1, size))
    above, equal = int((scores[1:] > scores[target]).sum()), int((scores[1:] == scores[target]).sum())
    orders = list(permutations(range(equal)))  # place 0 is the target's
    ranks = np.array([above + 1 + order[0] for order in orders], dtype=np.float64)
    found = target_ranks(scores[None], np.array([target]))
    for name, metric in BY_RANK.items():
        value = metric(found.ranks_N, k, found.ties_N)
        assert value.tolist() == pytest.approx([metric(ranks, k, None).mean()]), name


@given(st.integers(0, 10_000), st.integers(3, 7), st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_set_metrics_are_the_mean_over_every_order(seed: int, size: int, k: int) -> None:
    """All orders of all items that agree with the scores, each as a list without ties."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, size).astype(np.float32)
    targets = rng.permutation(np.arange(1, size))[: rng.integers(1, size)]
    orders = [
        order for order in permutations(range(1, size)) if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    lists = np.zeros((len(orders), k), dtype=np.int64)
    for row, order in zip(lists, orders, strict=True):
        row[: len(order)] = order[:k]
    wanted = set_metrics(np.isin(lists, targets), np.full(len(orders), len(targets)))
    relevant = np.ones((1, len(targets)), dtype=bool)
    above, ties = joint_ranks(scores[None], targets[None], relevant)
    found = expected_set_metrics(above, ties, relevant, k)
    assert {name: value[0] for name, value in found.items()} == pytest.approx(
        {name: value.mean() for name, value in wanted.items()}
    )
    positions = np.array([[order.index(t) for t in targets] for order in orders])
    exact = (positions == np.arange(len(targets))).mean(axis=0)
    assert position_probability(above, ties)[0].tolist() == pytest.approx(exact.tolist())


def test_several_steps_of_a_scorer_are_expectations_and_of_a_list_are_not() -> None:
    """Nineteen equal items, two held-out steps: a list in order of index finds both, a random order 10 / 19 of each."""
    cases = EvaluationCases(
        Sequences.from_lists([[]]),
        np.array([1], np.int32),
        np.arange(1),
        None,
        {},
        futures=Sequences.from_lists([[1, 2]]),
    )
    scorer = Fixed([1.0] * 19)
    drawn = evaluate_multi_step(scorer, cases, exclude_seen=False, k=10)
    listed = evaluate_multi_step(
        lambda rows, k: np.arange(1, k + 1, dtype=np.int32)[None], cases, exclude_seen=False, k=10
    )
    assert drawn.metrics["recall@10"] == pytest.approx(10 / 19)
    assert drawn.curve == pytest.approx([10 / 19] * 2)
    assert drawn.exact == pytest.approx([1 / 19] * 2)
    assert (drawn.tie_rule, listed.tie_rule) == ("expected", "none: a list has one order")
    assert listed.metrics["recall@10"] == 1.0


def test_several_steps_of_a_scorer_leave_seen_items_out() -> None:
    cases = EvaluationCases(
        Sequences.from_lists([[3]]),
        np.array([3], np.int32),
        np.arange(1),
        None,
        {},
        futures=Sequences.from_lists([[3, 1]]),
    )
    result = evaluate_multi_step(Fixed(TIED), cases, exclude_seen=True, k=2)
    assert result.metrics["recall@2"] == pytest.approx(1 / 2)  # item 2, then 1 or 5
    assert result.dropped == {"events already seen": 1}
