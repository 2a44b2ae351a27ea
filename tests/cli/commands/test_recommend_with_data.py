"""Lists, reasons and probabilities of the command line under the live catalog of a server's data directory."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from tests.support.cli import run
from tests.support.server_process import ServerProcess, wait_until
from tests.support.shop_pipelines import IDS, PRICES, save_pipeline

PLACEMENTS: list[dict[str, Any]] = [
    {"name": "default", "rules": {"exclude_seen": False}},
    {"name": "cheap", "rules": {"filter": "price < 5", "exclude_seen": False}},
    {"name": "seen", "rules": {"exclude_seen": ["view"]}},
]
USERS = {"ann": ["i2", "i20"], "bob": ["i7"], "cat": ["新", "i9"]}
CHEAP = [item for item in IDS if PRICES[item] == 1 and item != "i3"]


class Shop(NamedTuple):
    run: Path
    data: Path
    single: Path
    lists: dict[str, list[str]]
    """Lists of the server by user."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server that runs, with changed items and rules, and what it recommends."""
    folder = tmp_path_factory.mktemp("shop")
    server = ServerProcess(save_pipeline("ranks", folder / "run", PLACEMENTS), folder / "data").wait_ready()

    def send(method: str, path: str, body: Any = None) -> Any:
        status, text = server.request(method, path, body)
        assert status == 200, text
        return json.loads(text)

    try:
        send("PUT", "/v1/items/%E6%96%B0", {"title": "新 Thing i9", "price": 1, "brand": "b", "stock": True})
        send("PATCH", "/v1/items/i5", {"price": 99, "title": "Dear"})
        send("PATCH", "/v1/items/i4", {"available": False})
        send("DELETE", "/v1/items/i3")
        send("PUT", "/v1/placements/cheap", {"rules": {"filter": "price == 1", "exclude_seen": False}})
        for user, items in USERS.items():
            send("POST", "/v1/events", {"events": [{"user_id": user, "item_id": item} for item in items]})

        def list_of_cat() -> Any:
            return send("POST", "/v1/recommend", {"user_id": "cat", "k": 30})["items"]

        wait_until(lambda: any(item["id"] == "新" for item in list_of_cat()))
        before = list_of_cat()
        bought = [{"user_id": user, "item_id": "新", "event": "buy"} for user in ("dan", "eve")]
        send("POST", "/v1/events", {"events": bought})  # in one commit, so that its first events change lists once
        wait_until(lambda: list_of_cat() != before)
        wait_until(lambda: list_of_cat() == (time.sleep(1.0) or list_of_cat()))  # events of all processes are in
        lists = {user: send("POST", "/v1/recommend", {"user_id": user, "k": 30})["items"] for user in USERS}
        single = folder / "markov"
        lines = [f"u{user},{IDS[(user + step) % 8]},{step}" for user in range(9) for step in range(4)]
        (folder / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(lines), encoding="utf-8")
        run("train", folder / "log.csv", "--model", "markov", "--out", single)
        yield Shop(folder / "run", folder / "data", single, {u: [i["id"] for i in rows] for u, rows in lists.items()})
    finally:
        server.kill()


def recommend(shop: Shop, *arguments: str) -> dict[str, Any]:
    done = run("recommend", shop.run, *arguments, "--json", *([] if "--data" in arguments else ["--data", shop.data]))
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def ids(result: dict[str, Any]) -> list[str]:
    return [row["item_id"] for row in result["items"]]


@pytest.mark.parametrize("user", USERS)
def test_the_list_of_a_user_is_the_servers(shop: Shop, user: str) -> None:
    result = recommend(shop, "--user", user, "--k", "30", "--explain")
    assert result["history"] == USERS[user]
    assert ids(result) == shop.lists[user]
    assert not {"i3", "i4"} & set(ids(result))
    titles = {row["item_id"]: row["title"] for row in result["items"]}
    assert titles.get("i5", "Dear") == "Dear" and titles.get("新", "新 Thing i9") == "新 Thing i9"


def test_live_rules_and_columns_hold(shop: Shop) -> None:
    result = recommend(shop, "--history", "i20", "--placement", "cheap", "--k", "40")
    assert set(ids(result)) == {"新", *CHEAP}
    assert "i5" not in ids(recommend(shop, "--history", "i20", "--filter", "price < 90", "--k", "40"))
    seen = recommend(shop, "--user", "ann", "--placement", "seen", "--k", "40")
    assert not set(USERS["ann"]) & set(ids(seen)) and not any("event types" in note for note in seen["notes"])


def test_sequences_and_similar_items_keep_the_live_rules(shop: Shop) -> None:
    sequence = recommend(shop, "--user", "cat", "--steps", "20", "--strategy", "greedy")
    assert sequence["history"] == USERS["cat"] and not {"i3", "i4"} & set(ids(sequence))
    similar = json.loads(run("similar", shop.run, "--item", "新", "--data", shop.data, "--k", "38", "--json").stdout)
    assert not {"i3", "i4", "新"} & set(ids(similar)) and len(ids(similar)) == 38


@pytest.mark.parametrize(
    ("item", "arguments", "reason"),
    [
        ("i3", (), "forbidden"),
        ("i4", (), "forbidden"),
        ("i5", ("--placement", "cheap"), "forbidden"),
        ("新", ("--placement", "cheap", "--filter", "price > 1"), "forbidden"),
        ("新", ("--k", "1"), "ranked lower"),
        ("i30", ("--k", "1"), None),
        ("i77", (), "unknown"),
    ],
)
def test_why_not_knows_the_live_catalog(shop: Shop, item: str, arguments: tuple[str, ...], reason: str | None) -> None:
    why = recommend(shop, "--user", "cat", "--why-not", item, *arguments)["why_not"]
    assert why["reason"] == reason or (reason is None and why["reason"] in ("ranked lower", "not found", "listed"))
    assert why["sentence"]["zh"] and why["sentence"]["en"]


def test_lists_of_all_users_are_the_servers(shop: Shop, tmp_path: Path) -> None:
    run("recommend", shop.run, "--all-users", "--data", shop.data, "--k", "30", "--out", tmp_path / "lists.csv")
    lists = pl.read_csv(tmp_path / "lists.csv")
    assert sorted(lists["user_id"].unique()) == [*USERS, "dan", "eve"]
    for user in USERS:
        assert lists.filter(pl.col("user_id") == user)["item_id"].to_list() == shop.lists[user]
    rows = [f"x,{item},{step}" for step, item in enumerate(USERS["cat"])]
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows), encoding="utf-8")
    options = ("--log", tmp_path / "log.csv", "--data", shop.data, "--k", "30", "--out", tmp_path / "other.csv")
    run("recommend", shop.run, "--all-users", *options)
    other = pl.read_csv(tmp_path / "other.csv")["item_id"].to_list()
    assert not {"i3", "i4"} & set(other) and other[:5] == shop.lists["cat"][:5]


def test_probabilities_name_items_that_are_in_no_list(shop: Shop) -> None:
    items = ["i4", "新", "i6", "zzz"]
    done = run("rank", shop.run, "--history", "i20,新", "--items", ",".join(items), "--data", shop.data, "--json")
    rows = {row["item_id"]: row for row in json.loads(done.stdout)["items"]}
    assert {item: rows[item]["recommendable"] for item in items} == {"i4": False, "新": True, "i6": True, "zzz": False}
    assert 0 < rows["新"]["probability"] < 1 and rows["i6"]["probability"] > 0 == rows["zzz"]["probability"]
    assert "Deleted or not available, so in no list: i4." in done.stderr


def test_a_single_model_hides_what_is_not_available(shop: Shop) -> None:
    for command in (
        ("recommend", "--history", "i0"),
        ("recommend", "--history", "i0", "--steps", "5"),
        ("similar", "--item", "i1"),
    ):
        rows = json.loads(run(command[0], shop.single, *command[1:], "--data", shop.data, "--json").stdout)
        assert not {"i3", "i4"} & set(ids(rows)) and ids(rows)


def test_a_folder_without_events_and_placements_twice_are_refused(shop: Shop, tmp_path: Path) -> None:
    done = run("recommend", shop.run, "--history", "i1", "--data", tmp_path, code=2)
    assert "has no readable event store of a server" in done.stderr
    done = run("recommend", shop.run, "--user", "nobody", "--data", shop.data, code=2)
    assert done.stderr == f"segue: There is no user 'nobody' in {shop.data}.\n"
    file = tmp_path / "p.toml"
    file.write_text('[[source]]\nmodel = "markov"\n[[placement]]\nname = "a"\n', encoding="utf-8")
    done = run("recommend", shop.run, "--history", "i1", "--data", shop.data, "--pipeline", file, code=2)
    assert "A data directory states the rules of the placements" in done.stderr
