"""Commands of an operator as they are typed: promote, rollback, report, import, export, batch recommendations."""

import json
import re
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from tests.support.cli import SEGUE, run

from segue.cli.commands import quickstart
from segue.serving.client.client import Client
from segue.serving.schemas.requests import EventIn, RecommendRequest


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "shop.csv"
    rows = [f"u{p},i{(p + s) % 12},{1_700_000_000 + 600 * s + p}" for p in range(40) for s in range(8)]
    path.write_text("user,item,time\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def runs(log: Path) -> list[Path]:
    out = []
    for name in ("markov", "popularity"):
        run("train", log, "--model", name, "--out", log.parent / name)
        out.append(log.parent / name)
    return out


@pytest.fixture
def served(tmp_path: Path, runs: list[Path]):
    """A registry with one version, and a server on it."""
    folder = tmp_path / "models"
    run("promote", folder, runs[0])
    server, url = quickstart.start(folder, 0)
    yield folder, url
    server.terminate()
    server.wait(timeout=30)


def test_a_version_is_promoted_listed_and_rolled_back_under_requests(served, runs: list[Path]) -> None:
    folder, url = served
    with Client(url) as client:
        first = client.recommend(RecommendRequest(history=["i3"], k=1))
        assert first.items[0].id == "i4"
        done = run("promote", folder, runs[1], "--json")
        second = json.loads(done.stdout)["live"]
        deadline = time.monotonic() + 10
        while client.recommend(RecommendRequest()).model_version != second and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.models().roles == {"live": second, "previous": first.model_version}
        listed = json.loads(run("models", folder, "--json").stdout)
        assert {row["version"]: row["role"] for row in listed} == {second: "live", first.model_version: ""}
        assert "popularity" in run("models", folder).stdout
        done = run("rollback", folder)
        assert done.stdout == f"Live: version {first.model_version}.\n"
        assert done.stderr == f"A server on {folder} loads this within a second.\n"
        canary = run("promote", folder, second, "--canary", 0.5, "--interleave", 0.25)
        assert f"Canary: version {second} for 50.0% of the users, interleaved lists for 25.0%." in canary.stdout
        refused = run("promote", folder, "nope", code=2)
        assert refused.stderr == f"segue: {folder} has no version 'nope': 'segue models {folder}' lists them.\n"


def test_clicks_are_reported(served) -> None:
    folder, url = served
    with Client(url) as client:
        for i in range(6):
            answer = client.recommend(RecommendRequest(user_id=f"u{i}", k=2, placement="home"))
            if i % 2:
                item = answer.items[0].id
                client.events([EventIn(item_id=item, user_id=f"u{i}", recommendation_id=answer.recommendation_id)])
    data = folder.with_name("models-data")
    deadline = time.monotonic() + 10
    cell: dict[str, object] = {}
    while cell.get("clicked") != 3 and time.monotonic() < deadline:
        done = run("report", data, "--json", code=None)
        cell = json.loads(done.stdout)["cells"][0] if done.returncode == 0 and '"lists"' in done.stdout else {}
        time.sleep(0.02)
    assert (cell["placement"], cell["lists"], cell["clicked"]) == ("home", 6, 3)
    assert "50.00 % (" in run("report", data).stdout


def test_users_of_an_imported_log_have_histories_from_the_first_request_on(
    tmp_path: Path, runs: list[Path], log: Path
) -> None:
    data = tmp_path / "data"
    command = [*SEGUE, "serve", runs[0], "--port", "0", "--data", data, "--history", log]
    server = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "Serving on" in line)
        with Client(line.split()[2].rstrip(";")) as client:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                try:
                    answer = client.recommend(RecommendRequest(user_id="u1", k=1))
                    break
                except OSError:
                    time.sleep(0.05)
            assert answer.items[0].id == "i9"
            assert len(client.user("u1").events) == 8
            assert client.erase("u1").events == 8
    finally:
        server.terminate()
        server.communicate(timeout=30)
    exported = json.loads(run("export", data, "--out", tmp_path / "out.parquet", "--json").stdout)
    assert exported["events"] == 39 * 8
    done = run("train", log, "--model", "markov", "--out", tmp_path / "next", "--erased", data)
    assert "8 events of erased users are filtered out." in done.stderr
    again = run("import", log, "--data", data, "--json")
    assert json.loads(again.stdout)["duplicates"] == 39 * 8
    missing = run("train", log, "--model", "markov", "--out", tmp_path / "next", "--erased", tmp_path, code=2)
    assert re.search(rf"{re.escape(str(tmp_path))} has no list of erased users: name a server's data", missing.stderr)


def test_contexts_are_imported_and_exported(tmp_path: Path) -> None:
    log, users = tmp_path / "shop.csv", tmp_path / "users.csv"
    log.write_text("user,item,time,device\nann,x,1700000000,tv\nbob,y,1700000001,\n")
    users.write_text("user_id,region\nann,north\n")
    options = ("--users", users, "--context", "device,region")
    run("import", log, "--data", tmp_path / "data", *options)
    run("export", tmp_path / "data", "--out", tmp_path / "out.csv", "--context", "device,region")
    found = pl.read_csv(tmp_path / "out.csv")
    assert found["context"].to_list() == ['{"device":"tv","region":"north"}', "{}"]
    assert found.select("device", "region").rows() == [("tv", "north"), (None, None)]
    refused = run("import", log, "--data", tmp_path / "data", "--context", "region", code=2)
    assert "segue: The log has no column 'region' to take as context. Its columns: user_id, " in refused.stderr


def test_lists_for_all_users(tmp_path: Path, runs: list[Path], log: Path) -> None:
    out = tmp_path / "lists.parquet"
    done = run("recommend", runs[0], "--all-users", "--log", log, "--out", out, "--k", 3, "--json")
    assert json.loads(done.stdout) == {"users": 40, "k": 3, "out": str(out)}
    found = pl.read_parquet(out)
    assert found.height == 120
    assert found.filter((pl.col("user_id") == "u0") & (pl.col("rank") == 1))["item_id"].to_list() == ["i8"]
    refused = run("recommend", runs[0], "--all-users", code=2)
    assert refused.stderr == "segue: --all-users needs --log or --data, and --out, and neither --history nor --user.\n"


def test_a_wrong_origin_and_rate_are_refused(runs: list[Path]) -> None:
    done = run("serve", runs[0], "--origin", "shop.example", code=2)
    assert done.stderr == "segue: 'shop.example' is no origin: write it like https://shop.example.\n"
    done = run("serve", runs[0], "--rate", "0", code=2)
    assert done.stderr == "segue: requests_per_s must be above 0, or none, got 0.0.\n"
