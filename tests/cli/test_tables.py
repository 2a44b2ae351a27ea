"""Items and users tables: every command that reads one prints its guesses, its losses and ids that do not match."""

import json
from pathlib import Path

import pytest
from tests.support.cli import run

from segue.cli.tables import open_items
from segue.data.readers.events import read_events

T0 = 1_700_000_000
SMALL = ["--set", "epochs=1", "--set", "embedding_dim=8", "--set", "batch_tokens=256"]
NOTES = (
    "1 rows of the items table rejected: item_id is missing.",
    "1 rows repeat an item; its first row counts.",
    "Column 'price' is read as number; 1 cells have no such value, as 'NA'.",
    "Column 'stock' is read as category; in filters 有货 is true, 缺货 is false.",
    "WARNING: 1 of 41 rows (2.4%) of the items table are lost: item_id is missing (1).",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log, its items and users, a pipeline's settings, and a neural model with features."""
    folder = tmp_path_factory.mktemp("shop")
    rows = [f"u{u},i{(u + s) % 12},{T0 + 600 * s + u}" for u in range(30) for s in range(8)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    items = [f"i{i},Tea {i},{'NA' if i == 7 else i},{'缺货' if i % 3 else '有货'},c{i % 3}" for i in range(39)]
    items += ["i3,Tea 3,3,有货,c0", ",Nameless,1,有货,c1"]
    (folder / "items.csv").write_text("\n".join(["item_id,title,price,stock,kind", *items]) + "\n", encoding="utf-8")
    users = [f"u{u},{'north' if u % 2 else 'south'}" for u in range(20)]
    (folder / "users.csv").write_text("\n".join(["user_id,region", *users]) + "\n")
    (folder / "shop.toml").write_text('[[source]]\nmodel = "covisit"\n[[source]]\nmodel = "popularity"\n')
    return folder


@pytest.fixture(scope="module")
def featured(shop: Path) -> Path:
    run(
        "train",
        shop / "log.csv",
        "--out",
        shop / "featured",
        "--items",
        shop / "items.csv",
        "--features",
        "kind",
        *SMALL,
    )
    return shop / "featured"


def notes_of(*arguments: object) -> list[str]:
    return run(*arguments).stderr.splitlines()


def test_profile(shop: Path) -> None:
    lines = notes_of("profile", shop / "log.csv", "--items", shop / "items.csv", "--users", shop / "users.csv")
    assert set(NOTES) <= set(lines)
    assert "12 of 12 items of the log are in the items table; 27 of its items have no event." in lines
    assert "20 of 30 users of the log are in the users table; 0 of its users have no event." in lines
    done = run("profile", shop / "log.csv", "--items", shop / "items.csv", "--json")
    assert json.loads(done.stdout)["warnings"][-1] == NOTES[-1].removeprefix("WARNING: ")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--model", "covisit"],
        ["compare", "--models", "covisit"],
        ["pipeline", "shop.toml"],
        ["trend", "--min-events", "1"],
    ],
)
def test_commands_that_train(command: list[str], shop: Path, tmp_path: Path) -> None:
    name, *options = command
    options = [str(shop / option) if option == "shop.toml" else option for option in options]
    out = ["--out", tmp_path / "run"] if name in ("train", "pipeline") else []
    lines = notes_of(name, shop / "log.csv", *options, "--items", shop / "items.csv", *out)
    assert set(NOTES) <= set(lines), lines
    assert "12 of 12 items of the log are in the items table; 27 of its items have no event." in lines


def test_add_items_and_update(featured: Path, shop: Path, tmp_path: Path) -> None:
    lines = notes_of("add-items", featured, shop / "items.csv", "--out", tmp_path / "more")
    assert set(NOTES) <= set(lines)
    day = shop / "day.csv"
    rows = [f"v{u},i{(u + s) % 12},{T0 + 10**6 + 600 * s + u}" for u in range(30) for s in range(6)]
    day.write_text("\n".join(["user,item,time", *rows, f"NULL,I1,{T0 + 10**6}"]) + "\n")
    done = run("update", featured, day, "--items", shop / "items.csv", "--users", shop / "users.csv",
               "--out", tmp_path / "new", "--json")  # fmt: skip
    lines = done.stderr.splitlines()
    assert set(NOTES) <= set(lines)
    assert any(line.startswith("WARNING: Values of user_id look like missing ones (NULL 1)") for line in lines)
    assert "0 of 31 users of the log are in the users table; 20 of its users have no event." in lines
    report = json.loads(done.stdout)
    assert report["shared_events"] == 0
    assert [warning[:48] for warning in report["warnings"]] == ["240 of the 240 events of the training are in no "]


def test_import_reports_the_users_table(shop: Path, tmp_path: Path) -> None:
    lines = notes_of("import", shop / "log.csv", "--data", tmp_path / "data", "--users", shop / "users.csv")
    assert "20 of 30 users of the log are in the users table; 0 of its users have no event." in lines


def test_a_table_that_loses_a_fifth_is_refused_unless_allowed(shop: Path, tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text("item_id,title\n" + "".join(f"{f'i{i}' if i < 7 else ''},Tea\n" for i in range(10)))
    train = ["train", shop / "log.csv", "--model", "covisit", "--items", table, "--out", tmp_path / "run"]
    done = run(*train, code=2)
    assert done.stderr.splitlines()[-1] == (
        "segue: 3 of 10 rows (30.0%) of the items table would be lost: item_id is missing (3). Mend the source or its "
        "options; or read the other rows with --allow-loss (in Python allow_loss=True)."
    )
    assert "WARNING: 3 of 10 rows (30.0%) of the items table are lost" in run(*train, "--allow-loss").stderr


def test_a_log_that_loses_a_fifth_is_refused_unless_allowed(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\n" + "".join(f"{f'u{i % 2}' if i < 7 else ''},a,{T0 + i}\n" for i in range(10)))
    done = run("profile", log, code=2)
    assert "--allow-loss" in done.stderr and "user_id is missing (row 9)" in done.stderr
    assert "WARNING: 3 of 10 rows (30.0%)" in run("profile", log, "--allow-loss").stderr


def test_ids_with_other_zeros_are_told_and_make_no_second_item(tmp_path: Path) -> None:
    log, table = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("user,item,time\n" + "".join(f"u{i % 3},{i % 4:010d},{T0 + i}\n" for i in range(24)))
    table.write_text("article_id,title\n" + "".join(f"{i},Article {i}\n" for i in range(4)))
    done = run("train", log, "--model", "covisit", "--items", table, "--out", tmp_path / "run")
    assert (
        "WARNING: None of the 4 items of the items table is in the log: its ids look like '0', those of the log like "
        "'0000000000'."
    ) in done.stderr
    assert "4 ids of the items table are ids of the log in another spelling, as '0' for '0000000000'" in done.stderr
    assert json.loads(run("profile", log, "--json").stdout)["items"] == 4
    found = json.loads(run("recommend", tmp_path / "run", "--history", "0000000001", "--k", "3", "--json").stdout)
    assert all(len(item["item_id"]) == 10 for item in found["items"])


@pytest.mark.parametrize("encoding", ["big5", "utf-16-le", "latin-1"])
def test_tables_have_the_encoding_that_the_log_was_described_with(encoding: str, tmp_path: Path) -> None:
    """Neither is detected: Big5 and Latin-1 look like damaged UTF-8, and UTF-16 has no byte order mark here."""
    name = "café" if encoding == "latin-1" else "烏龍茶葉"
    (tmp_path / "log.csv").write_text(f"user,item,time\nu,a,{T0}\nv,b,{T0}\n", encoding=encoding)
    (tmp_path / "users.csv").write_text("user_id,region\nu,x\n", encoding="ascii")
    options = ("--encoding", encoding, "--users", tmp_path / "users.csv", "--items", tmp_path / "items.csv")
    for own, is_log_encoding in ((encoding, True), ("utf-8", False)):
        (tmp_path / "items.csv").write_text(f"item_id,title\na,{name}\nb,{name} 2\n", encoding=own)
        notes = notes_of("profile", tmp_path / "log.csv", *options)
        assert (f"{tmp_path / 'items.csv'} is read as {encoding}, as the log." in notes) == is_log_encoding
        assert not any("lost" in note for note in notes)
        assert any(note.startswith("2 of 2 items of the log are in the items table") for note in notes)
        assert any(note.startswith("1 of 2 users of the log are in the users table") for note in notes)
    table = open_items(tmp_path / "items.csv", read_events(tmp_path / "log.csv", encoding=encoding), quiet=True)
    assert table.by_id()["a"]["title"] == name
