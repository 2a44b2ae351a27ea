"""segue recommend reads times and contexts of a log's events, for one user as for all, in models and pipelines."""

import csv
import json
from pathlib import Path

import polars as pl
import pytest
from tests.support.cli import run

import segue
from segue.estimators.histories import context_types, with_model_contexts

NETWORK = (
    "{embedding_dim = 8, epochs = 2, batch_tokens = 128, covisitation_weight = 0, contexts = ['device', 'region']}"
)
FILE = f"""
[[source]]
model = "gru4rec"
settings = {NETWORK}

[[source]]
model = "markov"
num_candidates = 2

[blend]
method = "weighted"
weights = {{markov = 0.01}}

[rank]
method = "none"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users on a phone go one item on, users at a desk two; a pipeline and a model of times and contexts."""
    where = tmp_path_factory.mktemp("contexts")
    lines = ["user,item,time,device"]
    for user in range(60):
        device, step = ("phone", 1) if user % 2 else ("desk", 2)
        pauses = (60, 60, 4000, 60, 60, 90_000, 60, 60)
        at = 1_700_000_000 + user
        for n, pause in enumerate(pauses):
            at += pause
            lines.append(f"u{user},i{(user + n * step) % 12},{at},{device}")
    (where / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    regions = ["user_id,region", *[f"u{user},{'north' if user % 3 else 'south'}" for user in range(60)]]
    (where / "users.csv").write_text("\n".join(regions) + "\n", encoding="utf-8")
    (where / "shop.toml").write_text(FILE, encoding="utf-8")
    users = ("--users", where / "users.csv")
    run("pipeline", where / "log.csv", where / "shop.toml", *users, "--out", where / "pipeline", "--no-refit")
    sets = [
        part
        for value in ("embedding_dim=8", "epochs=2", "batch_tokens=128", "covisitation_weight=0", "time_inputs=['gap']")
        for part in ("--set", value)
    ]
    command = ("train", where / "log.csv", "--model", "gru4rec", "--context", "device,region", *users, *sets)
    run(*command, "--out", where / "model", "--no-refit")
    return where


def one(folder: Path, model: str, user: str, *options: object) -> dict[str, float]:
    command = ("recommend", folder / model, "--user", user, "--log", folder / "log.csv", "--k", 12, "--json")
    return {row["item_id"]: row["score"] for row in json.loads(run(*command, *options).stdout)["items"]}


def every(folder: Path, model: str, *options: object) -> dict[str, dict[str, float]]:
    out = folder / "lists.csv"
    run("recommend", folder / model, "--all-users", "--log", folder / "log.csv", "--out", out, "--k", 12, *options)
    lists: dict[str, dict[str, float]] = {}
    with out.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            lists.setdefault(row["user_id"], {})[row["item_id"]] = float(row["score"])
    return lists


@pytest.mark.parametrize("model", ["pipeline", "model"])
def test_one_user_and_all_users_read_the_same_events(folder: Path, model: str) -> None:
    users = ("--users", folder / "users.csv")
    lists = every(folder, model, *users)
    for user in ("u0", "u1", "u5"):
        assert one(folder, model, user, *users) == pytest.approx(lists[user], abs=1e-5)
    loaded = segue.load(folder / model)
    log = loaded.read_events(folder / "log.csv")
    rows, names = log.sequences(loaded.catalog)
    mine = loaded.recommend_sequences(rows.take([names.index("u5")]), k=12)[0]
    without_region = one(folder, model, "u5")
    assert dict(mine) == pytest.approx(without_region, abs=1e-5)
    assert without_region != pytest.approx(lists["u5"], abs=1e-5)  # the region counts
    bare = log.with_context([])
    rows, _ = bare.sequences(loaded.catalog)
    alone = loaded.recommend_sequences(rows.take([names.index("u5")]), k=12)[0]
    assert dict(alone) != pytest.approx(without_region, abs=1e-5)  # so does the device


def test_a_context_that_the_log_lacks_is_named(folder: Path) -> None:
    command = ("recommend", folder / "pipeline", "--user", "u1", "--log", folder / "log.csv")
    sentence = "The model knows the context region, which the log does not have: recommended without it."
    assert sentence in run(*command).stderr
    assert sentence not in run(*command, "--users", folder / "users.csv").stderr
    refused = run(*command[:2], "--history", "i1", "--users", folder / "users.csv", code=2).stderr
    assert refused == "segue: --users is the table of the users of --log: give --log.\n"


def test_contexts_of_a_model_are_found_in_every_kind_of_it(folder: Path) -> None:
    pipeline, model = segue.load(folder / "pipeline"), segue.load(folder / "model")
    types = {"device": "category", "region": "category"}
    assert context_types(pipeline.scorer) == context_types(model.scorer) == types
    frame = pl.DataFrame({"user_id": ["u"], "item_id": ["i1"], "timestamp": [1_700_000_000], "region": ["north"]})
    log, missing = with_model_contexts(pipeline.scorer, segue.read_events(frame))
    assert (dict(log.context), missing) == ({"region": "category"}, ["device"])
    plain = segue.read_events(folder / "log.csv")
    markov = segue.Markov().fit(plain)
    assert with_model_contexts(markov.fitted.scorer, plain) == (plain, [])
