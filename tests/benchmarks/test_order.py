"""Benchmark of order sensitivity, on a small ring whose items follow an order."""

import json
from pathlib import Path

import numpy as np
import pytest

from segue.data.datasets.synthetic import ring_sequences
from segue.data.evaluation_cases import EvaluationCases
from segue.data.splits.targets import all_positions
from segue.evaluation.order_sensitivity import order_sensitivity
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.counting.popularity import Popularity, PopularityConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def order(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import order as script

    return script


@pytest.fixture(scope="module")
def rows():
    return ring_sequences(np.random.default_rng(0), users=120, items=20, length=10, noise=0.2)


def last(rows) -> EvaluationCases:
    cases = all_positions(rows)
    return cases.take(cases.histories.lengths == 9)


def test_each_shuffle_equals_the_order_sensitivity_of_one_shuffle(order, rows):
    markov = Markov.fit(rows, 21, MarkovConfig())
    loss = order.order_loss(markov, last(rows), exclude_seen=False, shuffles=3)
    single = [
        order_sensitivity(markov, last(rows), np.random.default_rng((0, t)), exclude_seen=False) for t in range(3)
    ]
    assert loss["each_shuffle"] == [result.shuffled for result in single]
    assert loss["ndcg@10"] == single[0].in_order
    assert loss["shuffled"] == pytest.approx(np.mean(loss["each_shuffle"]))
    assert loss["difference"] == pytest.approx(loss["ndcg@10"] - loss["shuffled"])
    assert 0 < loss["interval"][0] < loss["difference"] < loss["interval"][1]
    assert loss["share_lost"] > 0.3
    assert loss["cases"] == 120
    assert order.verdict(loss) == "order is used"


def test_a_model_that_is_blind_to_order_changes_in_no_case(order, rows):
    popularity = Popularity.fit(rows, 21, PopularityConfig())
    loss = order.order_loss(popularity, last(rows), exclude_seen=True)
    assert (loss["difference"], loss["interval"], loss["largest_change_of_a_case"]) == (0.0, [0.0, 0.0], 0.0)
    assert order.verdict(loss) == "order is not used: no case changed"


@pytest.mark.parametrize(
    ("interval", "text"),
    [([-0.2, -0.1], "shuffling helps"), ([-0.1, 0.1], "some cases change, the mean not beyond chance")],
)
def test_the_other_verdicts(order, interval, text):
    assert order.verdict({"largest_change_of_a_case": 0.5, "interval": interval}) == text


def test_a_row_for_each_model_and_setting_and_a_repeated_one_is_replaced(order, rows, tmp_path, monkeypatch):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    lines = [f"{user} {item}" for user, row in enumerate(rows.to_lists()) for item in row]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(order, "DATA", tmp_path)
    monkeypatch.setattr(order, "RESULTS", tmp_path)
    monkeypatch.setattr(order.sys.modules["machine"], "RESULTS", tmp_path)
    order.main(["popularity", "markov:smoothing=0.5"])
    order.main(["markov", "popularity"])
    loss = json.loads((tmp_path / "order.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in loss["results"]] == ["popularity", "markov (smoothing=0.5)", "markov"]
    assert [row["given"] for row in loss["results"]] == [{}, {"smoothing": 0.5}, {}]
    assert {"cpu", "cores", "commit", "seed", "date"} <= set(loss["about"])
    assert "leave-last-out" in loss["protocol"]
