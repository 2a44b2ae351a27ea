"""segue recommend: every option keeps the rules of its placement, and seen items are left out by one rule."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.cli import run

FILE = """
[[source]]
model = "markov"

[[source]]
model = "covisit"

[blend]
method = "reciprocal-rank"

[rank]
method = "none"

[[placement]]
name = "cheap"
rules = {filter = "price < 7"}

[[placement]]
name = "unbought"
rules = {exclude_seen = ["purchases"]}

[[placement]]
name = "pinned"
[placement.rules]
filter = "price < 20"
pins = [{item = "i9", position = 1}, {item = "i15", position = 2}]
exclude_shown = true

[[placement]]
name = "mixed"
rules = {quotas = [{column = "kind", at_most = 1}]}
"""
NUM_ITEMS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty users who view a ring of twenty items and buy every third; a pipeline and a single model."""
    where = tmp_path_factory.mktemp("recommend")
    lines = ["user,item,time,event"]
    for user in range(30):
        for step in range(9):
            kind = "购买" if step % 3 == 1 else "view"
            lines.append(f"u{user},i{(user + step) % NUM_ITEMS},{1_700_000_000 + 600 * step + user},{kind}")
    (where / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    items = ["item,price,kind", *[f"i{i},{2 * i},{'abc'[i % 3]}" for i in range(NUM_ITEMS)]]
    (where / "items.csv").write_text("\n".join(items) + "\n", encoding="utf-8")
    (where / "shop.toml").write_text(FILE, encoding="utf-8")
    run("pipeline", where / "log.csv", where / "shop.toml", "--items", where / "items.csv", "--out", where / "run")
    run("train", where / "log.csv", "--model", "covisit", "--out", where / "single")
    return where


def recommend(folder: Path, *options: object, model: str = "run") -> dict[str, Any]:
    return dict(json.loads(run("recommend", folder / model, *options, "--json").stdout))


def items_of(folder: Path, *options: object, model: str = "run") -> list[str]:
    return [item["item_id"] for item in recommend(folder, *options, model=model)["items"]]


def lists_of(folder: Path, *options: object, model: str = "run") -> dict[str, list[str]]:
    out = folder / "lists.csv"
    out.unlink(missing_ok=True)
    run("recommend", folder / model, "--all-users", "--log", folder / "log.csv", "--out", out, *options)
    lists: dict[str, list[str]] = {f"u{user}": [] for user in range(30)}
    with out.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            lists[row["user_id"]].append(row["item_id"])
    return lists


def history(user: str) -> list[str]:
    return [f"i{(int(user[1:]) + step) % NUM_ITEMS}" for step in range(9)]


@pytest.mark.parametrize(
    "options",
    [
        ("--placement", "cheap"),
        ("--placement", "mixed", "--filter", "price > 5"),
        ("--placement", "unbought", "--exclude", "i3,i4"),
        ("--placement", "cheap", "--include-seen"),
        ("--exclude-seen",),
        (),
    ],
)
def test_lists_of_all_users_are_those_of_single_users(folder: Path, options: tuple[str, ...]) -> None:
    lists = lists_of(folder, "--k", 5, *options)
    for user in ("u0", "u7", "u19"):
        assert lists[user] == items_of(folder, "--user", user, "--log", folder / "log.csv", "--k", 5, *options)


def test_lists_of_all_users_keep_the_rules(folder: Path) -> None:
    for user, items in lists_of(folder, "--k", 20, "--placement", "cheap").items():
        assert set(items) == {"i0", "i1", "i2", "i3"} - set(history(user))
    for user, items in lists_of(folder, "--k", 20, "--placement", "unbought").items():
        bought, last = history(user)[1::3], history(user)[-1]
        assert set(items) == {f"i{i}" for i in range(NUM_ITEMS)} - {*bought, last}


def test_placements_of_a_file_hold_for_all_users_too(folder: Path) -> None:
    (folder / "other.toml").write_text(FILE.replace("price < 7", "price > 30"), encoding="utf-8")
    for items in lists_of(folder, "--placement", "cheap", "--pipeline", folder / "other.toml").values():
        assert set(items) <= {"i16", "i17", "i18", "i19"}


@pytest.mark.parametrize("where", ["--all-users", "--user", "--history", "--steps", "similar"])
@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("run", ("--placement", "attic"), "There is no placement 'attic'. The placements: cheap, unbought, pinned,"),
        ("run", ("--filter", "colour == 1"), "The items have no column 'colour'."),
        (
            "single",
            ("--placement", "cheap"),
            "This is a single model, covisit: train a pipeline with 'segue pipeline'.",
        ),
        (
            "single",
            ("--filter", "price < 3"),
            "This is a single model, covisit: train a pipeline with 'segue pipeline'.",
        ),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(
    folder: Path, tmp_path: Path, where: str, model: str, options: tuple[str, ...], sentence: str
) -> None:
    log, out = folder / "log.csv", tmp_path / "lists.csv"
    command: dict[str, tuple[object, ...]] = {
        "--all-users": ("recommend", folder / model, "--all-users", "--log", log, "--out", out),
        "--user": ("recommend", folder / model, "--user", "u1", "--log", log),
        "--history": ("recommend", folder / model, "--history", "i1"),
        "--steps": ("recommend", folder / model, "--history", "i1", "--steps", 3),
        "similar": ("similar", folder / model, "--item", "i1"),
    }
    assert f"segue: {sentence}" in run(*command[where], *options, code=2).stderr
    assert not out.exists()


def test_sequences_and_similar_items_keep_the_rules(folder: Path) -> None:
    for strategy in ("top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"):
        steps = ("--steps", 6, "--strategy", strategy)
        assert set(items_of(folder, "--history", "i3", "--placement", "cheap", *steps)) == {"i0", "i1", "i2"}
        kinds = [int(item[1:]) % 3 for item in items_of(folder, "--history", "i3", "--placement", "mixed", *steps)[:3]]
        assert sorted(kinds) == [0, 1, 2], "one of each kind comes first"
    command = ("similar", folder / "run", "--item", "i5", "--placement", "cheap", "--json")
    assert {item["item_id"] for item in json.loads(run(*command).stdout)["items"]} == {"i0", "i1", "i2", "i3"}


def test_seen_items_are_left_out_as_in_the_evaluation_and_the_last_one_always(folder: Path) -> None:
    for model in ("run", "single"):
        listed = items_of(folder, "--history", "i4,i5", "--k", 20, model=model)
        assert set(listed) == {f"i{i}" for i in range(NUM_ITEMS)} - {"i5"}
        assert set(listed) - set(items_of(folder, "--history", "i4,i5", "--k", 20, "--exclude-seen", model=model)) == {
            "i4"
        }
        assert "i5" in items_of(folder, "--history", "i4,i5", "--k", 20, "--include-seen", model=model)


def test_a_model_that_was_evaluated_without_seen_items_recommends_none(folder: Path) -> None:
    out = folder / "unseen"
    if not out.exists():
        run("train", folder / "log.csv", "--model", "covisit", "--protocol", "leave-last-out", "--out", out)
    assert not {"i4", "i5"} & set(items_of(folder, "--history", "i4,i5", "--k", 20, model="unseen"))
    assert "i4" in items_of(folder, "--history", "i4,i5", "--k", 20, "--include-seen", model="unseen")
    for user, items in lists_of(folder, "--k", 20, model="unseen").items():
        assert not set(items) & set(history(user))


def test_a_pin_that_is_not_shown_and_a_rule_without_effect_are_named(folder: Path) -> None:
    done = run("recommend", folder / "run", "--history", "i9", "--placement", "pinned", "--json")
    notes = json.loads(done.stdout)["notes"]
    why = "The pin of '{}' at position {} is not shown there: {}."
    assert notes == [
        why.format("i9", 1, "it is the last item of the history"),
        why.format("i15", 2, "it does not pass the filter price < 20"),
    ]
    assert "The pin of 'i15' at position 2 is never shown" in done.stderr
    assert "exclude_shown has no effect here" in done.stderr
    assert notes[0] in run("recommend", folder / "run", "--history", "i9", "--placement", "pinned").stdout


def test_a_list_without_items_states_why(folder: Path) -> None:
    command = ("--history", "i0,i1,i2,i3", "--placement", "cheap")
    sentence = (
        "No item is left to recommend: 4 of 20 items pass the rules of placement 'cheap', and the history holds all of "
        "these."
    )
    assert recommend(folder, *command) | {"history": []} == {
        "history": [],
        "placement": "cheap",
        "items": [],
        "notes": [sentence],
    }
    assert sentence in " ".join(run("recommend", folder / "run", *command).stdout.split())
    assert items_of(folder, "--history", "i3", "--placement", "cheap", "--k", 10) == ["i2", "i1", "i0"] or set(
        items_of(folder, "--history", "i3", "--placement", "cheap", "--k", 10)
    ) == {"i0", "i1", "i2"}


def test_a_history_without_event_types_is_told(folder: Path) -> None:
    notes = recommend(folder, "--history", "i1,i2", "--placement", "unbought")["notes"]
    assert notes == ["The history has no event types, so exclude_seen leaves out its last item only: give --user."]
    assert recommend(folder, "--user", "u1", "--log", folder / "log.csv", "--placement", "unbought")["notes"] == []


def test_the_rules_are_checked_before_the_training(folder: Path, tmp_path: Path) -> None:
    items = (folder / "items.csv").read_text(encoding="utf-8").replace("i7,14,", "i7,cheap,")
    (tmp_path / "items.csv").write_text(items, encoding="utf-8")
    command = ("pipeline", folder / "log.csv", folder / "shop.toml", "--out", tmp_path / "run")
    refused = run(*command, code=2).stderr
    assert "segue: Placement 'cheap': The items have no column 'price'." in refused
    assert "No items table with such columns was given." in refused
    assert "ndcg" not in refused and not (tmp_path / "run").exists()
    (tmp_path / "types.toml").write_text(FILE.replace('["purchases"]', '["gift"]'), encoding="utf-8")
    noted = run("pipeline", folder / "log.csv", tmp_path / "types.toml", *command[3:], "--items", folder / "items.csv")
    assert (
        "Placement unbought: no event is of the types exclude_seen = ['gift'], the log has the types view, 购买."
        in noted.stderr
    )


def test_explanations_of_all_users_are_refused(folder: Path) -> None:
    command = ("recommend", folder / "run", "--all-users", "--log", folder / "log.csv", "--out", folder / "x.csv")
    assert "need one history" in run(*command, "--explain", code=2).stderr
    assert "need one history" in run(*command, "--steps", 3, code=2).stderr
    steps = ("recommend", folder / "run", "--history", "i1", "--steps", 3, "--why-not", "i3")
    assert "not sequences" in run(*steps, code=2).stderr
