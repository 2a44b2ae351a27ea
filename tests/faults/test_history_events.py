"""A model of some event types, as purchases alone: its histories in a server are those that it was trained on."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from tests.support.cli import run
from tests.support.server_process import ServerProcess

import segue

CLI = (sys.executable, "-m", "segue.cli.main", "serve")
ITEMS = [f"茶{number}" for number in range(9)]
VIEWED, BOUGHT = "浏览", "购买"
TOLD = f"Histories hold only events of the types {BOUGHT}: events of other types are stored and left out."


class Shop(NamedTuple):
    log: Path
    run: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Purchases walk a ring; after each of them the user views the item three before it."""
    folder, lines = tmp_path_factory.mktemp("shop"), ["用户ID,商品ID,时间,行为"]
    for user in range(30):
        for step in range(6):
            begin, item = f"2024-05-{1 + user % 9:02d} 1{step}:", (user + step) % len(ITEMS)
            lines.append(f"u{user},{ITEMS[item]},{begin}00:00,{BOUGHT}")
            lines += [f"u{user},{ITEMS[item - 3]},{begin}0{k}:00,{VIEWED}" for k in (1, 2)]
    (folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run("train", folder / "log.csv", "--events", BOUGHT, "--model", "markov", "--out", folder / "run")
    return Shop(folder / "log.csv", folder / "run")


def listed(server: ServerProcess, **request: Any) -> list[str]:
    status, text = server.request("POST", "/v1/recommend", {"k": 4, **request})
    assert status == 200, text
    return [item["id"] for item in json.loads(text)["items"]]


def send(server: ServerProcess, user: str, kind: str, *numbers: int) -> None:
    events = [{"user_id": user, "item_id": ITEMS[number], "event": kind} for number in numbers]
    assert server.request("POST", "/v1/events", {"events": events})[0] == 200


def test_a_server_of_several_processes_serves_the_histories_of_the_training(shop: Shop, tmp_path: Path) -> None:
    run("import", shop.log, "--data", tmp_path / "data")  # all event types, as without --run
    server = ServerProcess(shop.run, tmp_path / "data", "--workers", "2").wait_ready(1)
    try:
        assert TOLD in server.output
        assert [TOLD in note for note in json.loads(server.request("GET", "/v1/admin/models")[1])["notes"]] == [True]
        of_log = json.loads(run("recommend", shop.run, "--user", "u3", "--log", shop.log, "--json").stdout)
        assert of_log["history"] == [ITEMS[(3 + step) % 9] for step in range(6)]
        given = {"history": of_log["history"]}
        expected = listed(server, **given)
        for _ in range(6):  # connections of their own: the kernel spreads them over the processes
            assert listed(server, user_id="u3") == expected
        send(server, "ann", VIEWED, 5)
        send(server, "ann", BOUGHT, 3, 4)
        for _ in range(3):
            send(server, "ann", VIEWED, *[4, 6, 8] * 30)  # more than a history holds
        for _ in range(6):
            assert listed(server, user_id="ann") == listed(server, history=ITEMS[3:5]) != listed(server)
        view = {"item_id": ITEMS[7], "event": VIEWED}
        assert listed(server, user_id="ann", event=view) == listed(server, history=ITEMS[3:5])
        text = server.request("POST", "/v1/recommend", {"history": ITEMS[3:5], "event": {**view, "user_id": "x"}})[1]
        assert json.loads(text)["notes"] == [
            f"The event of the request, of the type '{VIEWED}', does not enter the history.",
            TOLD,
        ]
        buy = {"item_id": ITEMS[5], "event": BOUGHT}
        assert listed(server, user_id="ann", event=buy) == listed(server, history=ITEMS[3:6])
        assert len(json.loads(server.request("GET", "/v1/users/ann")[1])["events"]) == 275
        assert server.end()[0] == 0
    finally:
        server.kill()
    again = ServerProcess(shop.run, tmp_path / "data", command=CLI).wait_ready()
    try:
        assert listed(again, user_id="ann") == listed(again, history=ITEMS[3:6])
    finally:
        again.kill()
    run("export", tmp_path / "data", "--out", tmp_path / "events.parquet")
    kept = segue.load(shop.run).read_events(tmp_path / "events.parquet").frame
    assert kept.filter(pl.col("user_id") == "ann")["item_id"].to_list() == ITEMS[3:6]
    assert set(kept["event"]) == {BOUGHT}


def test_a_server_may_decline_and_count_all_types(shop: Shop, tmp_path: Path) -> None:
    options = ("--history-events", "all")
    server = ServerProcess(shop.run, tmp_path / "data", *options, command=CLI).wait_ready()
    try:
        send(server, "ann", BOUGHT, 0)
        send(server, "ann", VIEWED, 5)
        assert listed(server, user_id="ann") == listed(server, history=[ITEMS[0], ITEMS[5]])
        assert json.loads(server.request("GET", "/v1/admin/models")[1])["notes"] == []
    finally:
        server.kill()
