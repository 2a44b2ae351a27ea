"""segue train-ranker, and its ranker in a pipeline, as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SEGUE = [sys.executable, "-m", "segue.cli.main"]
FILE = """
[[source]]
model = "popularity"
take = 12

[blend]
method = "learned"

[rank]
method = "none"
model = "{ranker}"
candidates = 12
"""
pytestmark = pytest.mark.xdist_group("train-ranker")
QUICK = "embedding_dim=8 epochs=6 batch=32 learning_rate=0.02 dropout=0.0 newest=0.5 retrieved=5"


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*SEGUE, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop where people walk round a ring of twelve teas, and a ranker that has learned it."""
    where = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    lines = ["customer,product,time"]
    for person in range(450):
        start, time = int(rng.integers(12)), int(rng.integers(100_000))
        lines += [f"u{person},tea{(start + s) % 12},{1_700_000_000 + time + 60 * s}" for s in range(9)]
    (where / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (where / "items.csv").write_text("product,title\ntea3,The third\n", encoding="utf-8")
    sets = [part for one in QUICK.split() for part in ("--set", one)]
    log, items = str(where / "shop.csv"), str(where / "items.csv")
    ask = ["train-ranker", log, "--model", "dual-gru", "--items", items, "--out", str(where / "ranker"), "--json"]
    done = run(*ask, *sets)
    told = json.loads(done.stdout)
    assert told["test"]["auc"] > 0.8
    assert told["test"]["ece"] < 0.15
    assert told["model"] == "dual-gru"
    assert 0 < len(told["reliability"]) <= 10
    assert "training dual-gru: epoch 1, loss" in done.stderr
    return where


def test_a_table_for_people(folder: Path) -> None:
    sets = [part for one in QUICK.replace("epochs=6", "epochs=1").split() for part in ("--set", one)]
    done = run("train-ranker", str(folder / "shop.csv"), "--model", "pooled", *sets, "--out", str(folder / "p"))
    assert "AUC" in done.stdout
    assert "Said and happened, on the test cases" in done.stdout
    assert f'Next: rank.model = "{folder / "p"}"' in done.stdout.replace("\n", "")


def test_rank_asks_a_ranker(folder: Path) -> None:
    told = json.loads(
        run("rank", str(folder / "ranker"), "--history", "tea1,tea2", "--items", "tea9,tea3,coffee", "--json").stdout
    )
    rows = told["items"]
    assert [row["item_id"] for row in rows] == ["tea3", "tea9", "coffee"]
    assert rows[0]["probability"] > rows[1]["probability"] > rows[2]["probability"] == 0
    shown = run("rank", str(folder / "ranker"), "--history", "tea1,tea2", "--items", "tea3").stdout
    assert "The third" in shown


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> subprocess.CompletedProcess[str]:
    """Popularity, with the ranker's word behind it; in the folder "run"."""
    (folder / "shop.toml").write_text(FILE.format(ranker=folder / "ranker"), encoding="utf-8")
    ask = ["pipeline", str(folder / "shop.csv"), str(folder / "shop.toml"), "--out", str(folder / "run")]
    return run(*ask)


def test_a_pipeline_takes_it_and_every_command_uses_it(
    folder: Path, pipeline: subprocess.CompletedProcess[str]
) -> None:
    """Popularity alone would show everybody the same list."""
    assert "The ranker dual-gru counts with weight" in pipeline.stderr
    ask = ["pipeline", str(folder / "shop.csv"), str(folder / "shop.toml"), "--out", str(folder / "again"), "--json"]
    told = json.loads(run(*ask).stdout)
    assert told["notes"]["ranker"]["weight"] > 0
    assert told["metrics"]["recall@5"] > 0.6
    for history, following in (("tea1,tea2", "tea3"), ("tea7,tea8", "tea9")):
        shown = run("recommend", str(folder / "run"), "--history", history, "--k", "1", "--json")
        assert json.loads(shown.stdout)["items"][0]["item_id"] == following
        ranked = run("rank", str(folder / "run"), "--history", history, "--items", f"tea11,{following}", "--json")
        assert json.loads(ranked.stdout)["items"][0]["item_id"] == following


@pytest.mark.usefixtures("pipeline")
def test_reasons_are_given_for_what_a_ranker_put_there(folder: Path) -> None:
    """The event that mattered is found by leaving it out, whoever it mattered to: popularity hears of no event."""
    ask = ["recommend", str(folder / "run"), "--history", "tea7,tea8", "--k", "2", "--explain", "--why-not", "tea3"]
    told = json.loads(run(*ask, "--json").stdout)
    assert told["items"][0]["item_id"] == "tea9"
    assert told["items"][0]["because"][0]["item_id"] == "tea8"
    assert told["why_not"]["reason"] == "ranked lower"


def test_what_is_refused(folder: Path) -> None:
    done = run("train-ranker", str(folder / "shop.csv"), "--model", "deepfm", code=2)
    assert done.stderr.endswith("segue: There is no ranker 'deepfm'. Known rankers: pooled, din, dien, dual-gru.\n")
    done = run("recommend", str(folder / "ranker"), "--history", "tea1", code=2)
    assert "segue: This is a ranker, dual-gru: it orders candidates and finds none itself." in done.stderr
