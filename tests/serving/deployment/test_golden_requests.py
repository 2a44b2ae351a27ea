"""Golden requests: the histories of a self-test, and the lists that differ too much from the recorded ones."""

import math

import pytest

from segue.data.catalog import Catalog
from segue.serving.deployment.golden_requests import (
    EXPECTATIONS,
    UNKNOWN_ITEM,
    GoldenRequest,
    check_golden,
    expectations,
    golden_histories,
    record_golden,
)
from segue.serving.schemas.requests import Recommendation


class FixedModel:
    """Model whose lists are written down: a sound model cannot give most of these."""

    version = "0123456789ab"

    def __init__(self, pairs, ids="abcdefghijkl"):
        self.catalog = Catalog(ids)
        self.pairs = pairs
        self.requested = []

    def top_k(self, history, k):
        self.requested.append((list(history), k))
        return [Recommendation(item, score) for item, score in self.pairs][:k]


def of(ids, scores=None):
    return list(zip(ids, scores or range(len(ids), 0, -1), strict=True))


def refusal(pairs, *golden, ids="abcdefghijkl"):
    with pytest.raises(ValueError) as error:
        check_golden(FixedModel(pairs, ids), golden)
    return str(error.value)


FAILED = "Version 0123456789ab failed its self-test: after"


@pytest.mark.parametrize(
    ("size", "single", "runs"),
    [
        (1, [0], [(0, 1)]),
        (3, [0, 1, 2], [(0, 3), (1, 3), (2, 3)]),
        (9, [0, 1, 2, 3, 4, 5, 6, 7], [(0, 9), (2, 9), (4, 9), (6, 9)]),
        (100, [0, 12, 25, 37, 50, 62, 75, 87], [(0, 20), (25, 45), (50, 70), (75, 95)]),
    ],
)
def test_histories_reach_across_the_catalog(size, single, runs):
    catalog = Catalog([f"i{n}" for n in range(size)])
    histories = golden_histories(catalog)
    assert histories[:2] == [[], [UNKNOWN_ITEM]]
    assert histories[2 : 2 + len(single)] == [[f"i{n}"] for n in single]
    assert histories[2 + len(single) :] == [[f"i{n}" for n in range(*run)] for run in runs]


def test_a_recording_is_reproduced_by_its_model():
    model = FixedModel(of("cabdefghijkl"))
    golden = record_golden(model)
    assert [one.history for one in golden] == golden_histories(model.catalog)
    assert {(one.k, "".join(one.items), tuple(one.scores)) for one in golden} == {
        (10, "cabdefghij", tuple(range(12, 2, -1)))
    }
    assert model.requested[:3] == [([], 10), ([], 10), ([1], 10)], "unknown items are left out"
    check_golden(model, golden)


def golden(ids, scores=None, **more):
    scores = scores or [float(n) for n in range(len(ids), 0, -1)]
    return GoldenRequest(["a"], len(ids), list(ids), scores, **more)


@pytest.mark.parametrize(
    ("ids", "scores"),
    [
        ("abc", [3.0, 2.0, 1.0]),
        ("abc", [3.0029, 2.0019, 0.9991]),
        ("bac", [3.0, 2.9999, 1.0]),
        ("abz", [3.0, 2.0, 1.0]),
        ("acb", [3.0, 2.0, 1.0]),
    ],
)
def test_nearly_equal_lists_pass(ids, scores):
    request = golden("abc", [3.0, 2.9999 if ids == "bac" else 2.0, 1.0])
    check_golden(FixedModel(of(ids, scores), "abcz"), [request])


@pytest.mark.parametrize(
    ("ids", "scores"),
    [
        ("abc", [3.0, 2.0, 1.0021]),
        ("abc", [3.01, 2.0, 1.0]),
        ("yzc", [3.0, 2.0, 1.0]),
    ],
)
def test_other_lists_are_refused(ids, scores):
    assert refusal(of(ids, scores), golden("abc"), ids="abcyz") == (
        f"{FAILED} ['a'] it returns {list(ids)}, but ['a', 'b', 'c'] was recorded when it was added."
    )


def test_small_scores_are_compared_by_their_distance():
    check_golden(FixedModel(of("ab", [0.0009, 0.0])), [golden("ab", [0.0, 0.0])])
    assert "was recorded" in refusal(of("ab", [0.0011, 0.0]), golden("ab", [0.0, 0.0]))


@pytest.mark.parametrize("scores", [None, [2.0], [2.0, 1.0, 0.5]])
def test_a_recording_without_a_score_for_each_item_is_refused(scores):
    assert "was recorded" in refusal(of("ab"), GoldenRequest(["a"], 2, ["a", "b"], scores))


def test_a_recording_of_another_length_is_refused():
    assert "was recorded" in refusal(of("abc"), GoldenRequest(["a"], 3, ["a", "b"], [3.0, 2.0]))


@pytest.mark.parametrize(("pairs", "count"), [(of("ab"), 2), (of("abb"), 3), (of("abca"), 4)])
def test_lists_that_are_short_or_repeat_themselves_are_refused(pairs, count):
    k = max(3, count)
    assert refusal(pairs, GoldenRequest(list("abcdef"), k)) == (
        f"{FAILED} ['a', 'b', 'c', 'd', 'e'] it returns {count} items, not {k} different ones."
    )


def test_a_list_may_be_as_short_as_the_catalog():
    check_golden(FixedModel(of("ab"), "ab"), [GoldenRequest(["a"], 10)])


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(score):
    assert (
        refusal([("a", 1.0), ("b", score)], GoldenRequest(["c"], 2))
        == f"{FAILED} ['c'] a score is not a finite number."
    )


def test_the_first_missing_expectation_is_named():
    request = GoldenRequest(list("abcdef"), 2, expect=["b", "c", "d"])
    assert refusal(of("ba"), request) == (f"{FAILED} ['a', 'b', 'c', 'd', 'e'] the best 2 should hold 'c', and do not.")
    check_golden(FixedModel(of("ba")), [GoldenRequest([], 2, expect=["a", "b"])])
    assert "should hold 'c'" in refusal(of("ba"), GoldenRequest([], 2, expect=["a"]), request)


def test_the_operators_file(tmp_path):
    assert expectations(tmp_path) == []
    path = tmp_path / EXPECTATIONS
    path.write_text('[{"history": ["a"], "expect": ["b"]}, {"history": [], "k": 3}]')
    assert expectations(tmp_path) == [GoldenRequest(["a"], 10, expect=["b"]), GoldenRequest([], 3)]
    path.write_text('[{"history": [], "expected": []}]')
    with pytest.raises(ValueError) as error:
        expectations(tmp_path)
    assert str(error.value) == (
        f"{path} is no list of golden requests: Object contains unknown field `expected` - at `$[0]`."
    )
