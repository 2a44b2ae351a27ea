"""Options of a log on the command line: what is given, what a table gives, and what another command receives."""

from pathlib import Path

import pytest
from tests.support.cli import run

from segue.cli.reading import LogOptions, parse_columns
from segue.data.log_description import LogDescription

LIKE = LogDescription(options={"where": "a > 1", "time_format": "%d", "events": ["x"]}, columns={"user_id": "kunde"})


def test_no_option_is_no_option() -> None:
    assert LogOptions().resolve() == {"like": None}
    assert LogOptions().resolve(LIKE) == {"like": LIKE.to_dict()}


def test_given_options_by_their_names_in_python() -> None:
    options = LogOptions(
        format="tsv",
        column=["item_id=a=b"],
        events="click, buy",
        trim=["min_user_events=3", "drop_repeats=true"],
        strict=True,
    )
    assert options.resolve() == {
        "format": "tsv",
        "columns": {"item_id": "a=b"},
        "events": ["click", "buy"],
        "min_user_events": 3,
        "drop_repeats": True,
        "strict": True,
        "like": None,
    }


def test_none_declines_an_option_of_the_training() -> None:
    given = LogOptions(where="none", time_format="none", events="none").resolve(LIKE)
    assert {name: given[name] for name in ("where", "time_format", "events")} == dict.fromkeys(
        ("where", "time_format", "events")
    )


def test_options_come_before_a_table(tmp_path: Path) -> None:
    table = tmp_path / "shop.toml"
    table.write_text('[log]\ncolumns = {user_id = "a", item_id = "b"}\ntime_zone = "Asia/Tokyo"\nwhere = "c > 1"\n')
    options = LogOptions(log_config=table, column=["item_id=sku"], where="none").resolve(LIKE)
    assert options == {
        "columns": {"user_id": "a", "item_id": "sku"},
        "time_zone": "Asia/Tokyo",
        "where": None,
        "like": None,
    }, "a table describes the whole log: the description of a model does not hold beside it"


def test_options_reach_another_command(tmp_path: Path) -> None:
    log = tmp_path / "-odd name.csv"
    log.write_text("kunde;isbn;wann;art\nann;x;05/01/2024;=a\n")
    options = LogOptions(
        column=["user_id=kunde", "item_id=isbn", "timestamp=wann"],
        where='art == "=a"',
        time_format="%m/%d/%Y",
        allow_loss=True,
        trim=["max_user_item_events=3"],
    )
    done = run("profile", *options.to_arguments(), "--json", "--", log)
    assert '"events": 1' in done.stdout


def test_a_role_without_a_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^'user' does not name a role and a column"):
        parse_columns(["user"])
