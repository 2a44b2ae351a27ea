"""One reading of a log: how it was read for the training holds for every later command on the model."""

import inspect
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from tests.support.cli import SEGUE, run

import segue
from segue.cli.main import COMMANDS
from segue.cli.reading import LogOptions
from segue.serving.client.client import Client
from segue.serving.store.event_reader import scan_events

WHERE = 'art != "return" and menge > 0'
COLUMNS = ("user_id=kunde", "item_id=isbn", "timestamp=wann", "event=art")
OPTIONS = [part for column in COLUMNS for part in ("--column", column)]
OPTIONS += ["--time-format", "%m/%d/%Y %I:%M:%S %p", "--time-zone", "Asia/Shanghai", "--encoding", "gb18030"]
OPTIONS += ["--where", WHERE]
"""Options that no command could guess."""
TABLE = """
[log]
columns = {user_id = "kunde", item_id = "isbn", timestamp = "wann", event = "art"}
time_format = "%m/%d/%Y %I:%M:%S %p"
time_zone = "Asia/Shanghai"
encoding = "gb18030"
where = 'art != "return" and menge > 0'
"""
USERS, ITEMS = 12, 8


class Row(NamedTuple):
    user: str
    item: str
    time_us: int


def write_log(path: Path, day: int = 0) -> list[Row]:
    """Write a log in GBK, with times of Shanghai and returns, and return the events that count."""
    begin = datetime(2024, 5, 1, 4, tzinfo=UTC) + timedelta(days=day)
    lines, kept = ["kunde,isbn,wann,art,menge"], []
    for step in range(9):
        for user in range(USERS):
            kind = "return" if (user + step) % 4 == 3 else "点击"
            amount = 0 if (user + step) % 7 == 6 else 1
            when = begin + timedelta(minutes=step * 11, seconds=user)
            local = (when + timedelta(hours=8)).strftime("%m/%d/%Y %I:%M:%S %p")
            item = f"茶{(user + step) % ITEMS}"
            lines.append(f"u{user},{item},{local},{kind},{amount}")
            if kind == "点击" and amount:
                kept.append(Row(f"u{user}", item, int(when.timestamp()) * 1_000_000))
    path.write_bytes(("\n".join(lines) + "\n").encode("gb18030"))
    return kept


class Shop(NamedTuple):
    """A log, its events, and a model that was trained on it with options."""

    log: Path
    events: list[Row]
    run: Path

    def history(self, user: str) -> list[str]:
        return [row.item for row in self.events if row.user == user]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    events = write_log(folder / "log.csv")
    done = run("train", folder / "log.csv", *OPTIONS, "--model", "markov", "--out", folder / "run")
    assert f"{len(events)} events kept" in done.stderr
    return Shop(folder / "log.csv", events, folder / "run")


def stored(data: Path) -> list[Row]:
    rows = [row.event for part in scan_events(data / "events.sqlite") for row in part]
    return sorted(Row(str(event.user_id), event.item_id, event.time_us) for event in rows)


def listed(*arguments: object) -> list[str]:
    items = json.loads(run("recommend", *arguments, "--json").stdout)["items"]
    return [row["item_id"] for row in items]


def events_of(log: segue.EventLog) -> list[Row]:
    return sorted(Row(*row) for row in log.frame.select("user_id", "item_id", "timestamp").iter_rows())


def test_every_command_that_reads_a_log_takes_the_same_options() -> None:
    readers = {"profile", "clean", "trend", "compare", "plan", "train", "train_ranker", "pipeline", "update"}
    readers |= {"recommend", "serve"}
    takes = {command.__name__ for command, _ in COMMANDS if _takes_log_options(command)}
    assert readers <= takes


def _takes_log_options(command: object) -> bool:
    parameters = inspect.signature(inspect.unwrap(command)).parameters.values()  # type: ignore[arg-type]
    return any(parameter.annotation is LogOptions for parameter in parameters)


def test_a_history_is_read_as_at_training(shop: Shop) -> None:
    done = run("recommend", shop.run, "--user", "u3", "--log", shop.log, "--json")
    assert json.loads(done.stdout)["history"] == shop.history("u3")
    (line,) = [line for line in done.stderr.splitlines() if "is read as at training" in line]
    assert line.startswith(f"{shop.log} is read as at training: --column user_id=kunde")
    assert "--time-zone Asia/Shanghai" in line and WHERE in line


def test_an_option_comes_before_the_description(shop: Shop) -> None:
    done = run("recommend", shop.run, "--user", "u3", "--log", shop.log, "--where", "none", "--json")
    assert len(json.loads(done.stdout)["history"]) == 9
    done = run("recommend", shop.run, "--user", "u3", "--log", shop.log, "--where", "menge > 0", "--json")
    assert len(shop.history("u3")) < len(json.loads(done.stdout)["history"]) < 9


def test_lists_for_all_users_are_made_from_what_was_trained_on(shop: Shop, tmp_path: Path) -> None:
    run("recommend", shop.run, "--all-users", "--log", shop.log, "--out", tmp_path / "lists.parquet", "--k", "2")
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    for user in ("u0", "u5"):
        own = lists.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert own == listed(shop.run, "--history", ",".join(shop.history(user)), "--k", "2")


def test_an_import_stores_what_was_trained_on(shop: Shop, tmp_path: Path) -> None:
    run("import", shop.log, "--data", tmp_path / "by-run", "--run", shop.run)
    run("import", shop.log, "--data", tmp_path / "by-options", *OPTIONS)
    run("import", shop.log, "--data", tmp_path / "by-model", "--log-config", shop.run)
    assert stored(tmp_path / "by-run") == sorted(shop.events)
    assert stored(tmp_path / "by-options") == sorted(shop.events)
    assert stored(tmp_path / "by-model") == sorted(shop.events)


def test_a_table_of_toml_describes_a_log_for_every_command(shop: Shop, tmp_path: Path) -> None:
    table = tmp_path / "shop.toml"
    table.write_text(TABLE, encoding="utf-8")
    counts = json.loads(run("profile", shop.log, "--log-config", table, "--json").stdout)
    assert counts["events"] == len(shop.events)
    run("import", shop.log, "--data", tmp_path / "data", "--log-config", table)
    assert stored(tmp_path / "data") == sorted(shop.events)
    more = json.loads(run("profile", shop.log, "--log-config", table, "--where", "none", "--json").stdout)
    assert more["events"] == 9 * USERS
    done = run("profile", shop.log, "--log-config", shop.log, code=2)
    assert "is not TOML" in done.stderr


def test_a_pipelines_file_describes_its_log(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    source = '[[source]]\nmodel = "markov"\n\n[blend]\nmethod = "reciprocal-rank"\n\n[rank]\nmethod = "none"\n'
    file.write_text(source + TABLE, encoding="utf-8")
    done = run("pipeline", shop.log, file, "--out", tmp_path / "run")
    assert f"{len(shop.events)} events kept" in done.stderr
    done = run("recommend", tmp_path / "run", "--user", "u3", "--log", shop.log, "--json")
    assert f"{len(shop.events)} events kept" in done.stderr


def test_a_server_imports_its_history_as_at_training(shop: Shop, tmp_path: Path) -> None:
    registry, data = tmp_path / "models", tmp_path / "data"
    run("promote", registry, shop.run)
    command = [*SEGUE, "serve", registry, "--port", "0", "--data", data, "--history", shop.log]
    server = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            if "Serving on" in line:
                break
        assert any("is read as at training" in line for line in lines), "".join(lines)
        with Client(lines[-1].split()[2].rstrip(";")) as client:
            until = time.monotonic() + 10
            while True:
                try:
                    events = client.user("u3").events
                    break
                except OSError:
                    assert time.monotonic() < until
                    time.sleep(0.05)
        assert [event.item_id for event in events] == shop.history("u3")
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert stored(data) == sorted(shop.events)


def test_options_of_a_log_need_a_log(shop: Shop) -> None:
    done = run("serve", shop.run, "--where", "a > 1", code=2)
    assert done.stderr == "segue: --where=a > 1 states how a log is read, and there is none: give --history.\n"
    done = run("recommend", shop.run, "--history", "茶1", "--time-zone", "Asia/Shanghai", code=2)
    assert done.stderr.endswith("states how a log is read, and there is none: give --log.\n")


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_clean_log_has_equal_events_and_needs_no_options(shop: Shop, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"clean.{ending}"
    done = run("clean", shop.log, *OPTIONS, "--out", out, "--json")
    assert json.loads(done.stdout)["events"] == len(shop.events)
    assert events_of(segue.read_events(out)) == sorted(shop.events)
    history = json.loads(run("recommend", shop.run, "--user", "u3", "--log", out, "--json").stdout)["history"]
    assert history == shop.history("u3"), "on the model whose log has other columns, encoding, condition and times"
    assert events_of(segue.load(shop.run).read_events(out)) == sorted(shop.events)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_servers_events_are_read_beside_the_description(shop: Shop, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"events.{ending}"
    run("import", shop.log, "--data", tmp_path / "data", "--run", shop.run)
    run("export", tmp_path / "data", "--out", out)
    done = run("recommend", shop.run, "--user", "u3", "--log", out, "--json")
    assert json.loads(done.stdout)["history"] == shop.history("u3")
    assert "is not applied: this log has no 'menge'." in done.stderr


def test_a_log_of_another_shape_is_refused_with_the_option_that_reads_it(shop: Shop, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("user,product,when\nu3,x,1714536000\n")
    done = run("recommend", shop.run, "--user", "u3", "--log", other, code=2)
    assert "has no column 'kunde' for user_id, as the log of the training had" in done.stderr
    columns = ["--column", "user_id=user", "--column", "item_id=product", "--column", "timestamp=when"]
    done = run("recommend", shop.run, "--user", "u3", "--log", other, *columns, code=2)
    assert "has no column 'art', which the condition of the training names" in done.stderr
    assert "--where none" in done.stderr
    fitting = [*columns, "--where", "none", "--time-format", "none", "--json"]
    assert json.loads(run("recommend", shop.run, "--user", "u3", "--log", other, *fitting).stdout)["history"] == ["x"]


def test_a_network_is_updated_with_raw_and_with_exported_logs(shop: Shop, tmp_path: Path) -> None:
    small = ["--model", "gru4rec", "--no-refit"]
    for setting in ("embedding_dim=8", "epochs=1", "covisitation_weight=0"):
        small += ["--set", setting]
    run("train", shop.log, *OPTIONS, *small, "--trim", "min_user_events=2", "--out", tmp_path / "net")
    day = tmp_path / "day.csv"
    events = write_log(day, day=1)
    run("import", day, "--data", tmp_path / "data", "--run", tmp_path / "net")
    assert stored(tmp_path / "data") == sorted(events)
    exported = tmp_path / "events.csv"
    run("export", tmp_path / "data", "--out", exported)
    done = run("update", tmp_path / "net", exported, "--replay", shop.log, "--out", tmp_path / "next", "--json")
    assert f"{exported} is read as at training: --column user_id=kunde" in done.stderr
    assert f"{shop.log} is read as at training: --column user_id=kunde" in done.stderr
    assert done.stderr.count(f"{len(events)} events kept") == 2
    assert "min_user_events" not in done.stderr, "one day has fewer events of a user"
    assert json.loads(done.stdout)["cases"] > 0
    if (tmp_path / "next").exists():
        assert segue.load(tmp_path / "next").about["log"] == segue.load(tmp_path / "net").about["log"]


def test_the_test_log_is_read_as_the_log_is(shop: Shop, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    write_log(test, day=1)
    read = ["--models", "popularity", "--json", *OPTIONS]
    done = run("compare", shop.log, "--protocol", "fixed", "--test", test, *read)
    (result,) = json.loads(done.stdout)
    assert result["test_cases"] > 0
    assert f"{test} is read as the log is: --column user_id=kunde" in done.stderr


def test_context_columns_of_the_training_are_imported(tmp_path: Path) -> None:
    log = tmp_path / "shop.csv"
    rows = [
        f"u{u},i{(u + s) % 5},{1_700_000_000 + 60 * s + u},{'north' if u % 2 else ''}"
        for u in range(6)
        for s in range(4)
    ]
    log.write_text("user,item,time,region\n" + "\n".join(rows) + "\n")
    segue.CoVisit().fit(segue.read_events(log).with_context(["region"])).save(tmp_path / "run")
    run("import", log, "--data", tmp_path / "data", "--run", tmp_path / "run")
    contexts = {row.event.context for part in scan_events(tmp_path / "data" / "events.sqlite") for row in part}
    assert contexts == {'{"region":"north"}', "{}"}
    log.write_text("user,item,time\nu9,i1,1700000000\n")
    done = run("import", log, "--data", tmp_path / "data", "--run", tmp_path / "run")
    assert "The model knows the context region, which the log does not have: stored without it." in done.stderr


def test_python_reads_as_the_command_line_does(shop: Shop, tmp_path: Path) -> None:
    options = {
        "columns": dict(column.split("=") for column in COLUMNS),
        "time_format": "%m/%d/%Y %I:%M:%S %p",
        "time_zone": "Asia/Shanghai",
        "encoding": "gb18030",
        "where": WHERE,
    }
    model = segue.Markov().fit(shop.log, log_options=options)
    assert events_of(model.fitted.read_events(shop.log)) == sorted(shop.events)
    model.save(tmp_path / "run")
    own, other = (segue.load(folder).about["log"] for folder in (tmp_path / "run", shop.run))
    assert own == other
    with pytest.raises(ValueError, match="log_options are for a file or a table"):
        segue.Markov().fit(segue.read_events(shop.log, **options), log_options=options)


def test_a_row_of_the_future_is_set_aside_with_its_number(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\na,0,1600000000\na,00,1600000010\nb,x,1600000020\nc,0,4294967295\n")
    done = run("import", log, "--data", tmp_path / "data", "--json")
    counts = json.loads(done.stdout)
    assert (counts["accepted"], counts["rejected"]) == (3, {"timestamp lies in the future": 1})
    assert "1 row lies in the future and is set aside; the first is row 5: c,0,4294967295" in done.stderr
    assert {row.user for row in stored(tmp_path / "data")} == {"a", "b"}


def test_many_rows_of_the_future_do_not_end_an_import(tmp_path: Path) -> None:
    log, now = tmp_path / "log.csv", int(time.time())
    times = [now - 60, now + 60, now + 3600, now + 86_400, now + 86_400 * 400]
    log.write_text("user,item,time\n" + "".join(f"u,i{i},{one}\n" for i, one in enumerate(times)))
    done = run("import", log, "--data", tmp_path / "data", "--rejected", tmp_path / "set-aside.csv")
    assert "3 rows lie in the future and are set aside; the first is row 4" in done.stderr
    assert [row.item for row in stored(tmp_path / "data")] == ["i0", "i1"], "clocks differ by minutes"
    aside = pl.read_csv(tmp_path / "set-aside.csv")
    assert aside["row"].to_list() == [4, 5, 6]
