"""Classic models on logs with known accuracy. Needs those logs: their folder is in SEGUE_DATA."""

import os
from pathlib import Path

import pytest

from segue.data.readers.events import read_events
from segue.data.splits.split import split_log
from segue.evaluation.evaluate import evaluate
from segue.workflows.fit_model import fit_model

DATA = Path(os.environ.get("SEGUE_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.slow


def find_log(*parts):
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there: set SEGUE_DATA to the folder that holds the benchmark logs.")
    return path


@pytest.fixture(scope="module")
def beauty():
    return split_log(read_events(find_log("beauty", "sequences.txt"), format="sequences"), "leave-last-out")


@pytest.fixture(scope="module")
def rsc15():
    log, test = (read_events(find_log("rsc15-sample", name)) for name in ("train_full.tsv", "test.tsv"))
    return split_log(log, "fixed", test=test)


@pytest.mark.parametrize(
    ("name", "floors"),
    [
        ("popularity", {"recall@10": 0.0105, "ndcg@10": 0.005}),
        ("markov", {"recall@10": 0.071, "ndcg@10": 0.046}),
        ("covisit", {"recall@5": 0.062, "recall@10": 0.084, "ndcg@10": 0.053}),
        ("item-knn", {"recall@10": 0.069, "ndcg@10": 0.042}),
        ("session-knn", {"recall@10": 0.082, "ndcg@10": 0.052}),
    ],
)
def test_beauty_leave_last_out(beauty, name, floors):
    """Trained without the validation event, seen items excluded; a tenth better than the floor would be a leak."""
    metrics = evaluate(fit_model(name, beauty).scorer, beauty.test, exclude_seen=beauty.exclude_seen).metrics
    for metric, floor in floors.items():
        assert floor <= metrics[metric] <= 1.1 * floor, metric


@pytest.mark.parametrize(
    ("name", "floors"),
    [
        ("popularity", {"recall@20": 0.085, "mrr@20": 0.025}),
        ("markov", {"recall@20": 0.61, "mrr@20": 0.34}),
        ("covisit", {"recall@20": 0.66, "mrr@20": 0.34}),
        ("item-knn", {"recall@20": 0.45, "mrr@20": 0.185}),
        ("session-knn", {"recall@20": 0.69, "mrr@20": 0.36}),
    ],
)
def test_rsc15_sample_every_position(rsc15, name, floors):
    """Conservative ties, seen items not excluded."""
    scorer = fit_model(name, rsc15, refit=True).scorer
    metrics = evaluate(scorer, rsc15.test, exclude_seen=rsc15.exclude_seen, ties="conservative").metrics
    for metric, floor in floors.items():
        assert floor <= metrics[metric] <= 1.1 * floor, metric
