"""segue compare and plan with files of pipelines, and segue pipeline with side data, as a user types them."""

import json
from pathlib import Path

import pytest
from tests.support.cli import run

RING = """
[log]
columns = {user_id = "customer", item_id = "product", timestamp = "time"}

[[source]]
model = "markov"

[rank]
method = "none"
"""
ONLY_TV = RING.replace('"time"}', '"time"}\nwhere = "device == \'tv\'"')
NETWORK = """
[[source]]
model = "gru4rec"
settings = {embedding_dim = 4, epochs = 1, covisitation_weight = 0}

[[source]]
model = "content-knn"

[[source]]
model = "new"

[rank]
method = "none"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty users go round a ring of twelve teas; the table has one more tea, and a column that misleads the guess."""
    where = tmp_path_factory.mktemp("compare")
    lines = ["customer,product,time,device"]
    for user in range(40):
        kind = "tv" if user % 2 else "phone"
        lines += [f"u{user},tea{(user + s) % 12},{1_700_000_000 + 600 * s + user},{kind}" for s in range(8)]
    (where / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    products = ["product,title,price", *[f"tea{i},Tea number {i},{i}" for i in range(13)]]
    (where / "items.csv").write_text("\n".join(products) + "\n", encoding="utf-8")
    (where / "users.csv").write_text("user_id,region\nu1,north\nu2,south\n", encoding="utf-8")
    (where / "ring.toml").write_text(RING, encoding="utf-8")
    (where / "network.toml").write_text(NETWORK, encoding="utf-8")
    return where


def test_pipelines_stand_in_one_table_with_models(folder: Path) -> None:
    models = f"popularity,{folder / 'ring.toml'},markov"
    rows = json.loads(run("compare", folder / "shop.csv", "--models", models, "--k", "1,10", "--json").stdout)
    assert [row["model"] for row in rows] == ["popularity", str(folder / "ring.toml"), "markov"]
    assert len({row["data"] for row in rows}) == len({row["test_cases"] for row in rows}) == 1
    assert rows[1]["metrics"]["recall@1"] == 1.0 > rows[0]["metrics"]["recall@1"]
    assert rows[1]["intervals"]["ndcg@10"] == [1.0, 1.0]
    shown = run("compare", folder / "shop.csv", "--models", models).stdout
    assert shown.index("ring.toml") < shown.index("popularity")
    assert "is ahead of" in shown


def test_side_data_reach_the_sources_of_compared_pipelines(folder: Path) -> None:
    sides = ("--items", folder / "items.csv", "--users", folder / "users.csv", "--features", "price")
    command = ("compare", folder / "shop.csv", "--models", f"{folder / 'network.toml'},popularity", "--no-refit")
    rows = json.loads(run(*command, *sides, "--context", "device,region", "--json").stdout)
    features = rows[0]["notes"]["models"]
    own = next(notes["features"] for key, notes in features.items() if key.startswith("gru4rec"))
    assert (own["features"], own["contexts"]) == (["price"], ["device", "region"])
    missing = run(*command, code=2).stderr
    assert missing.endswith("segue: The source content-knn compares items by their features: give an items table.\n")
    plain = ("compare", folder / "shop.csv", "--models", folder / "ring.toml", *sides)
    assert "Only neural models are trained on features, and there is none" in run(*plain, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--models", "popularity,nowhere.toml"], "segue: There is no file nowhere.toml.\n"),
        (["--models", "RING", "--set", "decay=0.5"], "segue: --set changes models, and --models names none: settings "),
        (["--models", "RING,OTHER"], "read the log in two ways in [log]: give --log-config.\n"),
    ],
)
def test_what_cannot_be_compared_is_refused_first(folder: Path, arguments: list[str], sentence: str) -> None:
    (folder / "other.toml").write_text(ONLY_TV, encoding="utf-8")
    given = [
        a.replace("RING", str(folder / "ring.toml")).replace("OTHER", str(folder / "other.toml")) for a in arguments
    ]
    done = run("compare", folder / "shop.csv", *given, code=2)
    assert sentence in done.stderr
    assert "training" not in done.stderr


def test_the_table_of_the_log_in_a_compared_file_is_used(folder: Path) -> None:
    (folder / "other.toml").write_text(ONLY_TV, encoding="utf-8")
    command = ("compare", folder / "shop.csv", "--models", f"popularity,{folder / 'other.toml'}", "--json")
    half = json.loads(run(*command).stdout)
    whole = json.loads(run("compare", folder / "shop.csv", "--models", "popularity", "--json").stdout)
    assert half[0]["test_cases"] == half[1]["test_cases"] < whole[0]["test_cases"]


def test_a_file_where_a_model_is_expected_gets_a_way_out(folder: Path) -> None:
    file = folder / "ring.toml"
    for arguments in (
        ("train", folder / "shop.csv", "--model", file, "--out", folder / "x"),
        ("compare", folder / "shop.csv", "--models", f"{file}+covisit"),
    ):
        assert "is the file of a pipeline, not the name of a model: 'segue pipeline'" in run(*arguments, code=2).stderr


def test_plan_of_a_pipeline(folder: Path) -> None:
    command = ("plan", folder / "shop.csv", "--model", folder / "network.toml", "--items", folder / "items.csv")
    result = json.loads(run(*command, "--features", "price", "--json").stdout)
    assert [(row["source"], row["plan"] is None) for row in result["sources"]] == [
        ("gru4rec", False),
        ("content-knn", True),
        ("new", True),
    ]
    assert result["without_estimate"] == ["content-knn", "new"]
    assert result["needed_gb"] == result["sources"][0]["plan"]["needed_gb"]
    shown = run(*command).stdout
    assert "Not in the sum: content-knn, new, the blend and the evaluation." in shown
    only = run("plan", folder / "shop.csv", "--model", folder / "ring.toml").stdout
    assert only.split("\n")[1].split()[:4] == ["markov", "one", "pass", "over"]
    refused = run(*command[:4], "--set", "epochs=3", code=2).stderr
    assert refused == "segue: --set changes the settings of a model: those of a pipeline stand in its file.\n"


def test_a_plan_counts_features_and_refuses_them_without_a_table(folder: Path) -> None:
    command = ("plan", folder / "shop.csv", "--set", "embedding_dim=8", "--json")
    plain = json.loads(run(*command).stdout)
    sides = ("--items", folder / "items.csv", "--features", "title,price")
    assert json.loads(run(*command, *sides).stdout)["items"] == plain["items"] + 1
    assert "name the table with --items" in run(*command, "--features", "price", code=2).stderr


def test_a_pipeline_takes_items_users_features_and_contexts(folder: Path, tmp_path: Path) -> None:
    sides = ("--items", folder / "items.csv", "--users", folder / "users.csv")
    more = ("--features", "price", "--context", "region")
    command = ("pipeline", folder / "shop.csv", folder / "network.toml", "--out", tmp_path / "run")
    run(*command, *sides, *more, "--no-refit")
    about = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))["about"]
    assert about["item_columns"] == {"title": "text", "price": "number"}
    assert about["log"]["context"] == ["region"]
    listed = json.loads(run("recommend", tmp_path / "run", "--history", "tea3", "--k", 13, "--json").stdout)["items"]
    assert "tea12" in [item["item_id"] for item in listed if item["source"] != "popularity"]
    assert "name the table with --items" in run(*command, "--features", "price", code=2).stderr
