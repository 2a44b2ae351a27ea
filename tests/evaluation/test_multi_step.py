"""Lists against the next several events: every number worked by hand, every refusal in full."""

import json

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.multi_step import evaluate_multi_step, multi_step_difference, set_metrics

LOG2_3 = np.log2(3)


def cases_of(rows, futures):
    targets = np.array([future[0] for future in futures], dtype=np.int32)
    return EvaluationCases(
        Sequences.from_lists(rows), targets, np.arange(len(rows)), None, {}, futures=Sequences.from_lists(futures)
    )


def fixed(lists):
    """A generator of fixed lists."""
    return lambda histories, k: np.array(lists, dtype=np.int32)[: len(histories), :k]


HISTORIES = [[1, 2], [3], [4]]
FUTURES = [[5, 6, 7, 8], [5, 9, 9, 6], [7, 8, 9, 1]]
LISTS = [[6, 5, 7], [9, 1, 2], [2, 3, 5]]
"""
        history  came next   list    right at      set        in the list, by horizon   at its very step
ann     1 2      5 6 7 8     6 5 7   1 2 3         5 6 7 8    1 1 1 0                   - - x
bob     3        5 9 9 6     9 1 2   1             5 6 9      0 1 1 0                   - - -
cem     4        7 8 9 1     2 3 5   never         1 7 8 9    0 0 0 0                   - - -
"""


def test_every_number_by_hand():
    result = evaluate_multi_step(fixed(LISTS), cases_of(HISTORIES, FUTURES), exclude_seen=False, k=3)
    best = 1 + 1 / LOG2_3 + 0.5
    assert result.metrics == pytest.approx(
        {
            "recall@3": (3 / 4 + 1 / 3 + 0) / 3,
            "ndcg@3": (1 + 1 / best + 0) / 3,
            "map@3": (1 + 1 / 3 + 0) / 3,
            "exact@3": (1 / 3 + 0 + 0) / 3,
        }
    )
    assert result.curve == pytest.approx([1 / 3, 2 / 3, 2 / 3, 0])
    assert result.exact == pytest.approx([0, 0, 1 / 3])
    assert (result.cases, result.steps, result.k, result.dropped) == (3, 4, 3, {})
    assert result.tie_rule == "none: a list has one order"
    low, high = result.intervals["recall@3"]
    assert low <= result.metrics["recall@3"] <= high


def test_set_metrics_by_hand():
    """Relevant at positions 1, 3 and 4 of five, of six relevant: recall 3/6, precisions 1, 2/3, 3/4."""
    result = set_metrics(np.array([[True, False, True, True, False]]), np.array([6]))
    ideal = 1 + 1 / LOG2_3 + 1 / 2 + 1 / np.log2(5) + 1 / np.log2(6)
    assert result["recall@5"][0] == 0.5
    assert result["ndcg@5"][0] == pytest.approx((1 + 1 / 2 + 1 / np.log2(5)) / ideal)
    assert result["map@5"][0] == pytest.approx((1 + 2 / 3 + 3 / 4) / 5)


def test_seen_items_leave_the_relevant_set():
    """Of ann's future, 1 is in her history; cem has nothing new ahead."""
    requested = cases_of([[1, 2], [3], [4]], [[1, 5, 6], [5, 9, 9], [4, 4, 4]])
    result = evaluate_multi_step(fixed([[5, 7], [1, 9], [1, 2]]), requested, exclude_seen=True, k=2)
    assert result.cases == 2
    assert result.dropped == {"events already seen": 4, "cases with nothing new ahead": 1}
    assert result.metrics["recall@2"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert result.curve == pytest.approx([0, 1, 1 / 2])  # only bob has a first step that counts
    assert np.isnan(result.hits_NS[0, 0])
    stays = evaluate_multi_step(fixed([[5, 1], [1, 9], [1, 2]]), requested, exclude_seen=False, k=2)
    assert (stays.cases, stays.dropped) == (3, {})
    assert stays.metrics["recall@2"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_filler_is_never_right_and_short_futures_end():
    requested = cases_of([[1], [2]], [[5], [6, 7, 8]])
    result = evaluate_multi_step(fixed([[5, PAD, PAD], [PAD, PAD, PAD]]), requested, exclude_seen=True, k=3)
    assert result.curve == pytest.approx([1 / 2, 0, 0])
    assert result.metrics["recall@3"] == pytest.approx(1 / 2)
    assert result.metrics["ndcg@3"] == pytest.approx(1 / 2)
    assert result.exact == pytest.approx([1 / 2, 0, 0])


def test_a_list_in_batches_equals_one_at_once():
    rng = np.random.default_rng(0)
    rows = [[int(i)] for i in rng.integers(1, 30, 50)]
    futures = [rng.integers(1, 30, 6).tolist() for _ in range(50)]
    lists = {row[0]: rng.permutation(np.arange(30, 60))[:5] - 25 for row in rows}

    def write(histories, k):
        return np.array([lists[int(row[0])] for row in histories], dtype=np.int32)

    whole, parts = (
        evaluate_multi_step(write, cases_of(rows, futures), exclude_seen=False, k=5, batch_size=b) for b in (1024, 7)
    )
    assert whole.to_dict() == parts.to_dict()


def test_it_is_json():
    result = evaluate_multi_step(fixed(LISTS), cases_of(HISTORIES, FUTURES), exclude_seen=False, k=3).to_dict()
    assert json.loads(json.dumps(result)) == result
    assert {"metrics", "intervals", "curve", "exact", "cases", "dropped", "exclude_seen", "tie_rule"} <= set(result)


def test_differences_by_hand():
    """At horizons 2 and 3 the first finds ann's and bob's two each, the second only one of ann's."""
    requested = cases_of(HISTORIES, FUTURES)
    first = evaluate_multi_step(fixed(LISTS), requested, exclude_seen=False, k=3)
    second = evaluate_multi_step(fixed([[6, 2, 3], [1, 2, 3], [1, 2, 3]]), requested, exclude_seen=False, k=3)
    gain = multi_step_difference(first, second, range(2, 4), np.random.default_rng(0))
    assert (gain["first"], gain["second"]) == pytest.approx((2 / 3, 1 / 6))
    assert gain["difference"] == pytest.approx(1 / 2)
    assert gain["ratio"] == pytest.approx(4)
    assert gain["horizons"] == [2, 3]
    assert gain["interval"][0] <= 0.5 <= gain["interval"][1]


def test_refusals():
    requested = cases_of(HISTORIES, FUTURES)
    plain = EvaluationCases(requested.histories, requested.targets, requested.groups, None, {})
    for write, cases, exclude, sentence in (
        (
            fixed(LISTS),
            plain,
            False,
            "These cases hold one target each: cut the log with leave-last-n-out to evaluate several steps.",
        ),
        (
            fixed([[5, 5, 6]] * 3),
            requested,
            False,
            "A list holds an item twice: generate it without repeats to evaluate it.",
        ),
        (fixed([[5, 6, 1]] * 3), requested, True, "A list holds an item of its history, which this protocol excludes."),
        (fixed([[5, 6]] * 3), requested, False, "3 histories need lists of shape (3, 3), got (3, 2)."),
        (
            fixed([[5, 6, 7]]),
            cases_of([[1]], [[1, 1]]),
            True,
            "There is no case to evaluate; dropped: {'events already seen': 2, 'cases with nothing new ahead': 1}.",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            evaluate_multi_step(write, cases, exclude_seen=exclude, k=3)
        assert str(caught.value) == sentence
