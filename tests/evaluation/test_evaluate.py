"""Evaluation in blocks equals evaluation at once, reports its progress, and needs a case."""

from dataclasses import replace

import numpy as np
import pytest

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation import evaluate as evaluate_module
from segue.evaluation.evaluate import evaluate
from segue.evaluation.metrics import recall
from segue.evaluation.ranks import target_ranks

SIZE = 12


class ByHistory:
    """Scores that depend on the history alone, with ties; records the size of each batch."""

    name = "by-history"
    size = SIZE

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def scores(self, histories: Sequences) -> np.ndarray:
        self.batch_sizes.append(len(histories))
        rows = [np.roll(np.arange(SIZE) // 2, sum(row)) for row in histories.to_lists()]
        return np.stack(rows).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@pytest.fixture
def cases() -> EvaluationCases:
    rng = np.random.default_rng(3)
    histories = Sequences.from_lists(rng.integers(0, SIZE, length).tolist() for length in rng.integers(0, 30, 200))
    return EvaluationCases(
        histories, rng.integers(1, SIZE, 200).astype(np.int32), np.arange(200) // 4, None, {"why": 2}, 3
    )


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 2000, 1 << 30])
def test_blocks_change_nothing(cases, monkeypatch, exclude_seen, block_bytes):
    """Against one case at a time; a case whose target was seen is left out, also where it fills a block."""
    wanted, groups = [], []
    for n, (history, target) in enumerate(zip(cases.histories.to_lists(), cases.targets, strict=True)):
        if exclude_seen and target in history:
            continue
        one = Sequences.from_lists([history])
        seen = one if exclude_seen else None
        wanted += target_ranks(ByHistory().scores(one), np.array([target]), exclude=seen).ranks_N.tolist()
        groups.append(n // 4)
    monkeypatch.setattr(evaluate_module, "BLOCK_BYTES", block_bytes)
    scorer, reports = ByHistory(), []
    result = evaluate(scorer, cases, exclude_seen=exclude_seen, progress=lambda done, of: reports.append((done, of)))
    assert result.ranks.tolist() == wanted
    assert result.groups.tolist() == groups
    assert result.cases == len(wanted) + 3
    assert result.dropped == ({"why": 2, "target already seen": 200 - len(wanted)} if exclude_seen else {"why": 2})
    half = evaluate(scorer, cases, exclude_seen=exclude_seen, ties="half")
    assert half.metrics["recall@5"] == pytest.approx(sum(rank <= 5 for rank in wanted) / result.cases)
    assert result.metrics["recall@5"] == pytest.approx(recall(result.ranks, 5, result.ties).sum() / result.cases)
    assert reports == sorted(reports)
    assert reports[-1] == (200, 200)
    assert max(scorer.batch_sizes) == {1: 1, 1 << 30: len(wanted)}.get(block_bytes, max(scorer.batch_sizes))
    assert 0 not in scorer.batch_sizes


def test_the_bound_on_memory_counts_scores_and_histories(cases, monkeypatch):
    monkeypatch.setattr(evaluate_module, "BLOCK_BYTES", 2000)
    scorer = ByHistory()
    evaluate(scorer, cases, exclude_seen=False)
    stops = np.cumsum(scorer.batch_sizes)
    cost_N = 4 * SIZE + evaluate_module.EVENT_BYTES * cases.histories.lengths
    costs = [cost_N[stop - batch_sizes : stop] for batch_sizes, stop in zip(scorer.batch_sizes, stops, strict=True)]
    assert all(len(cost) == 1 or cost[1:].sum() <= 2000 for cost in costs)
    assert len(costs) < 200


def test_an_evaluation_without_cases_is_refused():
    seen = EvaluationCases(Sequences.from_lists([[1]]), np.array([1], np.int32), np.arange(1), None, {})
    with pytest.raises(ValueError) as caught:
        evaluate(ByHistory(), seen, exclude_seen=True)
    assert str(caught.value) == "There is no case to evaluate; dropped: {'target already seen': 1}."
    with pytest.raises(ValueError) as caught:
        evaluate(ByHistory(), seen.take([]), exclude_seen=False)
    assert str(caught.value) == "There is no case to evaluate; dropped: none."


def test_equal_ranks_have_equal_intervals(cases):
    one, two = (evaluate(ByHistory(), cases, exclude_seen=False) for _ in range(2))
    assert one.intervals == two.intervals
    assert one.metrics.keys() - one.intervals.keys() == {"coverage@5", "coverage@10", "coverage@20"}


def test_an_evaluation_records_query_times(cases):
    reports = replace(cases, times=np.arange(200)).with_target_times()
    assert not evaluate(ByHistory(), cases, exclude_seen=False).time_aware
    assert evaluate(ByHistory(), reports, exclude_seen=False).time_aware
