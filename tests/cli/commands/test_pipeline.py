"""segue pipeline, rank and recommend --explain, as a user types them."""

import json
import math
from pathlib import Path

import pytest
from tests.support.cli import run

FILE = """
[[source]]
model = "markov"

[[source]]
model = "covisit"
num_candidates = 8

[blend]
method = "reciprocal-rank"

[rank]
method = "none"

[[placement]]
name = "cheap"
rules = {filter = "price < 5"}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log where forty users go round a ring of twelve teas, and its pipeline."""
    where = tmp_path_factory.mktemp("shop")
    lines = ["customer,product,time"]
    for user in range(40):
        lines += [f"u{user},tea{(user + s) % 12},{1_700_000_000 + 600 * s + user}" for s in range(8)]
    (where / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    products = ["product,title,price", *[f"tea{i},Tea number {i},{i}" for i in range(12)]]
    (where / "items.csv").write_text("\n".join(products) + "\n", encoding="utf-8")
    (where / "shop.toml").write_text(FILE, encoding="utf-8")
    log, items = str(where / "shop.csv"), str(where / "items.csv")
    done = run("pipeline", log, str(where / "shop.toml"), "--items", items, "--out", str(where / "run"), "--json")
    result = json.loads(done.stdout)
    assert result["metrics"]["recall@10"] > 0.9
    assert result["model"] == "pipeline"
    assert (where / "run" / "manifest.json").exists()
    return where


def test_a_source_of_item_features_reads_the_items_table(folder: Path) -> None:
    (folder / "content.toml").write_text(
        FILE.replace('model = "covisit"\nnum_candidates = 8', 'model = "content-knn"'), encoding="utf-8"
    )
    table = (folder / "items.csv").read_text(encoding="utf-8") + "tea12,Tea number 11,11\n"
    (folder / "new.csv").write_text(table, encoding="utf-8")
    settings, out = str(folder / "content.toml"), str(folder / "content")
    run("pipeline", str(folder / "shop.csv"), settings, "--items", str(folder / "new.csv"), "--out", out)
    listed = json.loads(run("recommend", out, "--history", "tea11", "--k", "12", "--json").stdout)["items"]
    assert [item["source"] for item in listed if item["item_id"] == "tea12"] == ["content-knn"]


def test_a_list_with_explanations(folder: Path) -> None:
    done = run("recommend", str(folder / "run"), "--history", "tea1,tea2", "--k", "3", "--explain", "--json")
    result = json.loads(done.stdout)
    first = result["items"][0]
    assert first["item_id"] == "tea3"
    assert first["source"] == "markov"
    assert first["ranks"] == {"markov": 1, "covisit": 1}
    assert first["because"][0]["item_id"] == "tea2"
    assert first["reason"]["en"].startswith("Often chosen next after Tea number 2")
    assert "接下来常常选它" in first["reason"]["zh"]
    shown = run("recommend", str(folder / "run"), "--history", "tea1,tea2", "--k", "3", "--explain").stdout
    assert "Often chosen next after Tea number 2" in shown


def test_a_placement_and_why_not(folder: Path) -> None:
    command = ["recommend", str(folder / "run"), "--history", "tea5", "--placement", "cheap", "--json"]
    result = json.loads(run(*command, "--why-not", "tea6").stdout)
    assert {row["item_id"] for row in result["items"]} == {f"tea{i}" for i in range(5)}
    assert result["why_not"]["sentence"]["en"] == "The rules do not allow it: it does not pass the filter price < 5."
    assert result["why_not"]["rules"] == ["filter"]
    seen = json.loads(run(*command[:4], "--filter", "price > 1", "--why-not", "tea5", "--json").stdout)
    assert seen["why_not"]["rules"] == ["exclude_seen"]
    assert seen["why_not"]["sentence"]["en"].endswith("it is the last item of the history.")


def test_other_placements_without_training_again(folder: Path) -> None:
    path = folder / "other.toml"
    path.write_text(FILE.replace("cheap", "dear").replace("price < 5", "price > 9"), encoding="utf-8")
    done = run(
        "recommend", str(folder / "run"), "--history", "tea1", "--pipeline", str(path), "--placement", "dear", "--json"
    )
    assert {row["item_id"] for row in json.loads(done.stdout)["items"]} == {"tea10", "tea11"}


def test_rank_prints_probabilities(folder: Path) -> None:
    command = ["rank", str(folder / "run"), "--history", "tea1,tea2", "--items", "tea9,tea3,coffee"]
    result = json.loads(run(*command, "--json").stdout)["items"]
    assert [row["item_id"] for row in result] == ["tea3", "tea9", "coffee"]
    assert result[0]["probability"] > result[1]["probability"] > result[2]["probability"] == 0
    assert not result[2]["known"]
    assert "Tea number 3" in run(*command).stdout


def test_a_single_model_states_calibrated_probabilities_and_samples_by_them(folder: Path) -> None:
    """After tea1 always comes tea2; the softmax of a Markov chain's shares would give it less than a third."""
    if not (folder / "single").exists():
        run("train", str(folder / "shop.csv"), "--model", "markov", "--out", str(folder / "single"))
    saved = json.loads((folder / "single" / "manifest.json").read_text(encoding="utf-8"))["about"]["notes"]
    assert saved["calibration"]["cases"] > 20
    single, history = str(folder / "single"), ["--history", "tea1"]
    ranked = json.loads(run("rank", single, *history, "--items", "tea2,tea7,tea99", "--json").stdout)["items"]
    assert ranked[0]["item_id"] == "tea2"
    assert ranked[0]["probability"] > 0.9
    assert ranked[-1] == {"item_id": "tea99", "probability": 0.0, "known": False}
    sampled = [
        json.loads(
            run(
                "recommend", single, *history, "--steps", "1", "--strategy", "sample", "--seed", seed, *more, "--json"
            ).stdout
        )["items"][0]
        for more in ([], ["--temperature", "1000"])
        for seed in range(8)
    ]
    assert {row["item_id"] for row in sampled[:8]} == {"tea2"}
    assert sampled[0]["score"] == pytest.approx(math.log(ranked[0]["probability"]), abs=0.05)
    assert len({row["item_id"] for row in sampled[8:]}) > 3
    assert "--steps" in run("recommend", single, *history, "--temperature", "1", code=2).stderr
    assert "temperature" in run("recommend", single, *history, "--steps", "1", "--temperature", "0", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["recommend", "run", "--history", "tea1", "--placement", "attic"],
            "segue: There is no placement 'attic'. The placements: cheap, default.\n",
        ),
        (
            ["recommend", "single", "--history", "tea1", "--explain"],
            "segue: This is a single model, markov: train a pipeline with 'segue pipeline'.\n",
        ),
    ],
)
def test_errors_of_the_user(folder: Path, arguments: list[str], sentence: str) -> None:
    if not (folder / "single").exists():
        run("train", str(folder / "shop.csv"), "--model", "markov", "--out", str(folder / "single"))
    command, where, *rest = arguments
    assert run(command, str(folder / where), *rest, code=2).stderr.endswith(sentence)
