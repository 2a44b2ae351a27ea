"""segue update and add-items with a pipeline, as a user types them."""

import json
import shutil
from pathlib import Path

import pytest
from tests.support.cli import run

FILE = """
[[source]]
model = "markov"

[[source]]
model = "content-knn"

[blend]
method = "weighted"
weights = {content-knn = 0.01}

[rank]
method = "none"
"""


def events(users: range, items: int, begin: int) -> str:
    rows = [
        f"u{user},tea{(user + s) % items},{1_700_000_000 + begin + 600 * s + user % 60}"
        for user in users
        for s in range(8)
    ]
    return "\n".join(["customer,product,time", *rows]) + "\n"


def products(numbers: range) -> str:
    return "\n".join(["product,title,price", *[f"tea{i},Tea in box {i // 4},{i}" for i in numbers]]) + "\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ring of twelve teas and its pipeline; today's users go round a ring of fourteen."""
    where = tmp_path_factory.mktemp("shop")
    (where / "shop.csv").write_text(events(range(60), 12, 0), encoding="utf-8")
    (where / "today.csv").write_text(events(range(100, 300), 14, 10_000), encoding="utf-8")
    (where / "items.csv").write_text(products(range(12)), encoding="utf-8")
    (where / "arrivals.csv").write_text(products(range(12, 15)), encoding="utf-8")
    (where / "shop.toml").write_text(FILE, encoding="utf-8")
    run("pipeline", where / "shop.csv", where / "shop.toml", "--items", where / "items.csv", "--out", where / "run")
    return where


@pytest.fixture
def folder(shop: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop, tmp_path / "shop"))


def best(model: Path, history: str) -> str:
    return str(
        json.loads(run("recommend", model, "--history", history, "--k", 1, "--json").stdout)["items"][0]["item_id"]
    )


def test_a_pipeline_is_updated_with_the_events_of_a_day(folder: Path) -> None:
    command = ("update", folder / "run", folder / "today.csv", "--replay", folder / "shop.csv")
    done = run(*command, "--items", folder / "arrivals.csv", "--out", folder / "next", "--json")
    report = json.loads(done.stdout)
    assert report["promoted"] and report["new_items"] == 3
    assert report["sources"] == {
        "markov": "fitted again on 2,080 events",
        "content-knn": "fitted again on 2,080 events",
    }
    assert "today.csv is read as at training" in done.stderr
    assert (best(folder / "next", "tea12"), best(folder / "next", "tea3")) == ("tea13", "tea4")
    assert best(folder / "run", "tea3") == "tea4"
    shown = run(*command).stdout.splitlines()
    assert shown[1:3] == [
        "Source markov: fitted again on 2,080 events.",
        "Source content-knn: fitted again on 2,080 events.",
    ]
    assert shown[3].startswith("The weights of the blend, its trees and temperatures, and a ranker's net stay")
    assert shown[4].startswith("Promoted: version ") and shown[4].endswith(" 2 new items.")


def test_an_update_that_would_forget_is_refused_in_a_sentence(folder: Path) -> None:
    manifest = (folder / "run" / "manifest.json").read_bytes()
    done = run("update", folder / "run", folder / "today.csv", code=2)
    assert done.stderr.endswith(
        "segue: 480 of the 480 events that this pipeline was counted on are in neither log, and markov and the "
        "popularity of items would forget them: give the older log with --replay, run 'segue pipeline' on the whole "
        "log, or forget them with --allow-loss.\n"
    )
    assert (folder / "run" / "manifest.json").read_bytes() == manifest
    assert "Promoted" in run("update", folder / "run", folder / "today.csv", "--allow-loss").stdout


def test_items_of_an_update_are_read_with_the_types_of_the_training(folder: Path) -> None:
    """In a table of one item every title is a text of its own, and a missing price would be guessed as a category."""
    (folder / "one.csv").write_text("product,title,price\ntea12,Box,\n", encoding="utf-8")
    command = ("update", folder / "run", folder / "today.csv", "--replay", folder / "shop.csv", "--items")
    assert json.loads(run(*command, folder / "one.csv", "--json").stdout)["promoted"]
    about = json.loads((folder / "run" / "manifest.json").read_text(encoding="utf-8"))["about"]
    assert about["item_columns"]["price"] == "number"


def test_new_items_join_a_pipeline_at_once(folder: Path) -> None:
    command = ("add-items", folder / "run", folder / "arrivals.csv")
    done = run(*command, "--out", folder / "more", "--json")
    result = json.loads(done.stdout)
    assert (result["new_items"], result["items"]) == (3, 15)
    assert (result["scored_by"], result["not_scored_by"]) == (["content-knn"], ["markov"])
    assert "WARNING" not in done.stderr  # that no arrival is known is as it should be
    listed = json.loads(run("recommend", folder / "more", "--history", "tea12", "--k", 15, "--json").stdout)["items"]
    assert {"tea13", "tea14"} == {item["item_id"] for item in listed if item["source"] == "content-knn"}
    assert next(item["title"] for item in listed if item["item_id"] == "tea13") == "Tea in box 3"
    shown = run(*command).stdout.splitlines()
    assert shown[0].startswith("3 new items, 15 in all: version ")
    assert shown[1:] == [
        "Recommended by: content-knn.",
        "Without a score until an update with their events: markov.",
    ]
    update = ("update", folder / "run", folder / "today.csv", "--replay", folder / "shop.csv", "--json")
    assert json.loads(run(*update).stdout)["new_items"] == 0  # they have joined already
    assert run(*command).stdout.splitlines()[0].startswith("0 new items, 15 in all: version ")
    assert best(folder / "run", "tea12") == "tea13"


def test_arrivals_that_are_known_items_in_another_spelling_are_named(folder: Path) -> None:
    (folder / "odd.csv").write_text("product,title,price\nTEA3,Tea,3\ntea12,Tea,12\n", encoding="utf-8")
    done = run("add-items", folder / "run", folder / "odd.csv", "--json")
    assert json.loads(done.stdout)["new_items"] == 1
    assert (
        "WARNING: 1 ids of the items table are ids of the log in another spelling, as 'TEA3' for 'tea3'" in done.stderr
    )


def test_a_pipeline_without_a_source_of_cold_items_is_refused(folder: Path) -> None:
    (folder / "plain.toml").write_text('[[source]]\nmodel = "markov"\n[rank]\nmethod = "none"\n', encoding="utf-8")
    run("pipeline", folder / "shop.csv", folder / "plain.toml", "--out", folder / "plain")
    done = run("add-items", folder / "plain", folder / "arrivals.csv", code=2)
    assert "segue: No source of this pipeline scores items without events (markov): train it with" in done.stderr
