"""segue train-ranker, and its ranker in a pipeline, as a user types them."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.support.cli import run

FILE = """
[[source]]
model = "popularity"
num_candidates = 12

[blend]
method = "learned"

[rank]
method = "none"
model = "{ranker}"
num_candidates = 12
"""
QUICK = "embedding_dim=8 epochs=6 batch_size=32 learning_rate=0.02 dropout=0.0 newest_share=0.5 num_retrieved=5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log where users go round a ring of twelve teas, and a ranker trained on it."""
    where = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    lines = ["customer,product,time"]
    for user in range(450):
        start, time = int(rng.integers(12)), int(rng.integers(100_000))
        lines += [f"u{user},tea{(start + s) % 12},{1_700_000_000 + time + 60 * s}" for s in range(9)]
    (where / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (where / "items.csv").write_text("product,title\ntea3,The third\n", encoding="utf-8")
    sets = [part for one in QUICK.split() for part in ("--set", one)]
    log, items = str(where / "shop.csv"), str(where / "items.csv")
    command = ["train-ranker", log, "--model", "dual-gru", "--items", items, "--out", str(where / "ranker"), "--json"]
    done = run(*command, *sets)
    result = json.loads(done.stdout)
    assert result["test"]["auc"] > 0.8
    assert result["test"]["ece"] < 0.15
    assert result["model"] == "dual-gru"
    assert 0 < len(result["reliability"]) <= 10
    assert "training dual-gru: epoch 1, loss" in done.stderr
    return where


def test_metrics_as_a_table(folder: Path) -> None:
    sets = [part for one in QUICK.replace("epochs=6", "epochs=1").split() for part in ("--set", one)]
    done = run("train-ranker", str(folder / "shop.csv"), "--model", "pooled", *sets, "--out", str(folder / "p"))
    assert "AUC" in done.stdout
    assert "Predicted and observed click rates of the test cases" in done.stdout
    assert f'Next: rank.model = "{folder / "p"}"' in done.stdout.replace("\n", "")


def test_rank_prints_probabilities_of_a_ranker(folder: Path) -> None:
    result = json.loads(
        run("rank", str(folder / "ranker"), "--history", "tea1,tea2", "--items", "tea9,tea3,coffee", "--json").stdout
    )
    rows = result["items"]
    assert [row["item_id"] for row in rows] == ["tea3", "tea9", "coffee"]
    assert rows[0]["probability"] > rows[1]["probability"] > rows[2]["probability"] == 0
    shown = run("rank", str(folder / "ranker"), "--history", "tea1,tea2", "--items", "tea3").stdout
    assert "The third" in shown


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> subprocess.CompletedProcess[str]:
    """Popularity with the ranker as second stage, in the folder "run"."""
    (folder / "shop.toml").write_text(FILE.format(ranker=folder / "ranker"), encoding="utf-8")
    command = ["pipeline", str(folder / "shop.csv"), str(folder / "shop.toml"), "--out", str(folder / "run")]
    return run(*command)


def test_a_pipeline_uses_the_ranker_in_every_command(folder: Path, pipeline: subprocess.CompletedProcess[str]) -> None:
    """Popularity alone gives every user the same list."""
    assert "The ranker dual-gru counts with weight" in pipeline.stderr
    command = [
        "pipeline",
        str(folder / "shop.csv"),
        str(folder / "shop.toml"),
        "--out",
        str(folder / "again"),
        "--json",
    ]
    result = json.loads(run(*command).stdout)
    assert result["notes"]["ranker"]["weight"] > 0
    assert result["metrics"]["recall@5"] > 0.6
    for history, following in (("tea1,tea2", "tea3"), ("tea7,tea8", "tea9")):
        shown = run("recommend", str(folder / "run"), "--history", history, "--k", "1", "--json")
        assert json.loads(shown.stdout)["items"][0]["item_id"] == following
        ranked = run("rank", str(folder / "run"), "--history", history, "--items", f"tea11,{following}", "--json")
        assert json.loads(ranked.stdout)["items"][0]["item_id"] == following


@pytest.mark.usefixtures("pipeline")
def test_items_that_the_ranker_raised_are_explained(folder: Path) -> None:
    """The event with the largest effect is found by leaving it out; popularity ignores all events."""
    command = ["recommend", str(folder / "run"), "--history", "tea7,tea8", "--k", "2", "--explain", "--why-not", "tea3"]
    result = json.loads(run(*command, "--json").stdout)
    assert result["items"][0]["item_id"] == "tea9"
    assert result["items"][0]["because"][0]["item_id"] == "tea8"
    assert result["why_not"]["reason"] == "ranked lower"


def test_errors_of_the_user(folder: Path) -> None:
    done = run("train-ranker", str(folder / "shop.csv"), "--model", "deepfm", code=2)
    assert done.stderr.endswith("segue: There is no ranker 'deepfm'. Known rankers: pooled, din, dien, dual-gru.\n")
    done = run("recommend", str(folder / "ranker"), "--history", "tea1", code=2)
    assert "segue: This is a ranker, dual-gru: it orders candidates and finds none itself." in done.stderr
