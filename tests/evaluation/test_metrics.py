"""Each metric against a table worked by hand, and against an independent implementation."""

import numpy as np
import pytest

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.bootstrap import bootstrap_intervals, paired_difference
from segue.evaluation.evaluate import evaluate
from segue.evaluation.metrics import BY_RANK, coverage, novelty, popularity_percentile

RANKS = np.array([1.0, 2.0, 3.5, 10.0, 11.0])
TABLE = {
    # rank:              1    2                  3.5                10                  11
    ("recall", 10): [1, 1, 1, 1, 0],
    ("recall", 2): [1, 1, 0, 0, 0],
    ("ndcg", 10): [1, 0.6309297536, 0.4608454206, 0.2890648263, 0],  # 1 / log2(rank + 1)
    ("mrr", 10): [1, 0.5, 0.2857142857, 0.1, 0],
    ("map", 2): [1, 0.5, 0, 0, 0],
    ("precision", 10): [0.1, 0.1, 0.1, 0.1, 0],
    ("precision", 2): [0.5, 0.5, 0, 0, 0],
}


@pytest.mark.parametrize(("name", "k"), TABLE)
def test_by_hand(name: str, k: int) -> None:
    assert BY_RANK[name](RANKS, k).tolist() == pytest.approx(TABLE[name, k])


def test_against_ir_measures() -> None:
    ir = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(0)
    size, n = 60, 40
    scores = rng.permuted(np.tile(np.arange(size, dtype=np.float32), (n, 1)), axis=1)
    targets = rng.integers(1, size, n)
    qrels = [ir.Qrel(str(q), str(int(t)), 1) for q, t in enumerate(targets)]
    run = [ir.ScoredDoc(str(q), str(i), float(scores[q, i])) for q in range(n) for i in range(1, size)]
    wanted = ir.calc_aggregate([ir.nDCG @ 10, ir.R @ 10, ir.RR @ 10, ir.P @ 10, ir.AP @ 10], qrels, run)

    class Given:
        name = "given"
        size = 60

        def scores(self, histories: Sequences) -> np.ndarray:
            return scores

        def arrays(self) -> dict[str, np.ndarray]:
            return {}

    cases = EvaluationCases(Sequences.from_lists([[]] * n), targets.astype(np.int32), np.arange(n), None, {})
    result = evaluate(Given(), cases, exclude_seen=False, ks=(10,)).metrics
    ours = [result[f"{name}@10"] for name in ("ndcg", "recall", "mrr", "precision", "map")]
    theirs = [wanted[m] for m in (ir.nDCG @ 10, ir.R @ 10, ir.RR @ 10, ir.P @ 10, ir.AP @ 10)]
    assert ours == pytest.approx(theirs)


def test_lists_by_hand() -> None:
    lists = np.array([[1, 2], [2, 0]])  # 0 is filler
    assert coverage(lists, 5) == 0.5  # items 1 and 2 of 4
    counts = np.array([99, 1, 3, 4, 0])  # PAD's count must not matter; events 1 + 3 + 4 = 8
    # percentile: item 1: (0 + 1) / 2 / 8, item 2: (1 + 4) / 2 / 8
    assert popularity_percentile(lists, counts) == pytest.approx((0.0625 + 0.3125 + 0.3125) / 3)
    plain = np.array([0, 1, 3, 4, 0])
    bits = [-np.log2(1 / 8), -np.log2(3 / 8), -np.log2(3 / 8)]
    assert novelty(lists, plain) == pytest.approx(np.mean(bits))


def test_missed_targets_count_as_misses() -> None:
    cases = EvaluationCases(
        Sequences.from_lists([[1]] * 3), np.array([2, 2, 2], np.int32), np.arange(3), None, {}, missed=1
    )

    class Right:
        name = "right"
        size = 4

        def scores(self, histories: Sequences) -> np.ndarray:
            return np.tile(np.array([0, 0, 1, 0], np.float32), (len(histories), 1))

        def arrays(self) -> dict[str, np.ndarray]:
            return {}

    result = evaluate(Right(), cases, exclude_seen=False, ks=(1,))
    assert result.metrics["recall@1"] == 0.75
    assert result.cases == 4


def test_seen_targets_are_dropped_and_counted() -> None:
    cases = EvaluationCases(
        Sequences.from_lists([[1, 2], [1]]), np.array([2, 2], np.int32), np.arange(2), None, {"why": 7}
    )

    class Flat:
        name = "flat"
        size = 4

        def scores(self, histories: Sequences) -> np.ndarray:
            return np.tile(np.array([0, 3, 2, 1], np.float32), (len(histories), 1))

        def arrays(self) -> dict[str, np.ndarray]:
            return {}

    result = evaluate(Flat(), cases, exclude_seen=True, ks=(1,))
    assert result.dropped == {"why": 7, "target already seen": 1}
    assert result.ranks.tolist() == [1.0]
    assert evaluate(Flat(), cases, exclude_seen=False, ks=(1,)).ranks.tolist() == [2.0, 2.0]


def test_interval_covers_the_mean_and_follows_groups() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(100), 20)
    taste = np.repeat(rng.random(100), 20)[None, :]  # cases of one person are all alike
    low, high = bootstrap_intervals(taste, people, np.random.default_rng(1))[0]
    wide = high - low
    assert low < taste.mean() < high
    low, high = bootstrap_intervals(taste, np.arange(2000), np.random.default_rng(1))[0]
    assert high - low < wide / 3  # cases taken for independent would promise far too much
    assert wide == pytest.approx(2 * 1.96 * np.std(taste) / np.sqrt(100), rel=0.25)


def test_interval_has_about_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        values = rng.random((1, 150))
        low, high = bootstrap_intervals(values, np.arange(150), rng, resamples=300)[0]
        held += low <= 0.5 <= high
    assert 178 <= held <= 200


def test_paired_difference_finds_what_unpaired_misses() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(500)
    better, lower, upper = paired_difference(hard + 0.01, hard, np.arange(500), np.random.default_rng(1))
    assert better == pytest.approx(0.01) and 0 < lower <= upper
    _, lower, upper = paired_difference(hard, rng.permutation(hard), np.arange(500), np.random.default_rng(1))
    assert lower < 0 < upper
    with pytest.raises(ValueError, match=r"^The two models were evaluated on 2 and 3 cases; they must be equal\.$"):
        paired_difference(np.zeros(2), np.zeros(3), np.arange(2), rng)
