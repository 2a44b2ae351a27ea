"""Options of a log from files: the table [log] of a TOML file, and the description that a model holds."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segue.data.log_description import LogDescription
from segue.data.readers.events import read_events
from segue.data.readers.log_options import check_options, decode_description, read_log_config

TABLE = """
[[source]]
model = "markov"

[log]
columns = {user_id = "kunde", session_id = "none"}
time_zone = "Asia/Shanghai"
where = "menge > 0"
events = ["click", "buy"]
min_user_events = 3
session_gap_s = 1800
time_format = "none"
"""


def test_a_table_holds_the_options_of_a_reading(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("\ufeff" + TABLE, encoding="utf-8")
    assert read_log_config(path) == {
        "columns": {"user_id": "kunde", "session_id": "none"},
        "time_zone": "Asia/Shanghai",
        "where": "menge > 0",
        "events": ("click", "buy"),
        "min_user_events": 3,
        "session_gap_s": 1800.0,
        "time_format": None,
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[log", "is not TOML"),
        ("[[source]]\nmodel = 'x'", "has no table [log], which describes a log."),
        ("log = 3", "has no table [log], which describes a log."),
        ("[log]\nwher = 'a > 1'", "[log]: Unknown setting 'wher'. Did you mean 'where'?"),
        ("[log]\ntime_zone = 'Mars/Base'", "There is no time zone 'Mars/Base'"),
        ("[log]\ntime_zone = 8", "Setting 'time_zone' must be str, got 8."),
        ("[log]\ncolumns = {user = 'a'}", "There is no column role 'user'. Known roles: user_id"),
        ("[log]\ncolumns = 'user_id=a'", "'columns' must name the column of each role"),
        ("[log]\ncolumns = {user_id = 3}", "'columns' must name the column of each role"),
        ("[log]\nmin_user_events = 0", "min_user_events"),
        ("[log]\nrejected = 'x.csv'", "'rejected' belongs to one reading and does not describe a log: leave it out."),
        ("[log]\nlatest_us = 3", "'latest_us' belongs to one reading"),
        ("[log]\nevents = 'click'", "Setting 'events' must be"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        read_log_config(path)
    assert str(refused.value).startswith(str(path))


def test_a_reading_describes_itself(tmp_path: Path) -> None:
    path = tmp_path / "Log.CSV.gz"
    frame = pl.DataFrame({"kunde": ["a", "b"], "item": ["x", "y"], "time": [1, 2], "type": ["click", "view"]})
    plain = tmp_path / "log.csv"
    frame.write_csv(plain)
    import gzip

    path.write_bytes(gzip.compress(plain.read_bytes()))
    options: dict[str, Any] = {"columns": {"user_id": "kunde", "value": "none"}, "events": ["click"], "time_unit": "s"}
    log = read_events(path, min_item_events=1, strict=True, rejected=tmp_path / "no.csv", **options)
    assert log.description == LogDescription(
        options={"events": ["click"], "time_unit": "s"},
        columns={"user_id": "kunde", "item_id": "item", "timestamp": "time", "event": "type", "value": "none"},
        suffix=".csv",
    ), "without options of one reading, defaults and paths"
    again = LogDescription.from_dict(log.description.to_dict())
    assert again == log.description
    assert decode_description(log.description.to_dict(), "run").columns == log.description.columns
    assert LogDescription().to_dict() == {}


def test_context_columns_belong_to_the_description() -> None:
    table = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "timestamp": [1], "region": ["north"]})
    assert read_events(table).with_context(["region"]).description.context == ("region",)


def test_a_declined_session_stays_declined() -> None:
    table = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "time": [1, 2], "order_id": ["o", None]})
    log = read_events(table)
    assert log.description.columns["session_id"] == "none"
    full = table.with_columns(pl.Series("order_id", ["o", "p"]))
    assert "session_id" not in read_events(full, like=log.description).frame.columns


@pytest.mark.parametrize(
    "values",
    [
        "text",
        {"options": {"rejected": "/etc/passwd"}},
        {"options": {"latest_us": 3}},
        {"options": {"nothing": 3}},
        {"options": {"encoding": "no-such"}},
        {"options": {"where": 3}},
        {"columns": {"user_id": 3}},
        {"columns": {"password": "x"}},
        {"more": 1},
        {"context": [1]},
        {"suffix": 1},
    ],
)
def test_a_foreign_models_description_is_checked(values: Any) -> None:
    with pytest.raises(ValueError, match="The log that run was trained on is described wrongly: "):
        decode_description(values, "run")


def test_options_of_training_data_do_not_hold_for_later_logs() -> None:
    options = {"min_user_events": 3, "min_item_events": 2, "where": "a > 1", "drop_repeats": True}
    later = LogDescription(options=options).for_later_logs()
    assert later.options == {"where": "a > 1", "drop_repeats": True}
    assert check_options(later.options) == later.options


def test_a_description_is_spelled_as_options() -> None:
    description = LogDescription(
        options={"where": "a > 1", "events": ["click", "buy"], "drop_repeats": True, "time_zone": "Asia/Shanghai"},
        columns={"user_id": "user", "item_id": "Item No"},
    )
    assert description.spell({"time_zone": "UTC", "columns": {"user_id": "u"}}) == (
        "--column 'item_id=Item No' --where 'a > 1' --events click,buy --trim drop_repeats=true"
    )


def test_a_file_without_a_header_is_refused_by_that_name(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("1,2268318,2520377,pv,1511544070\n1,2333346,2520771,pv,1511561733\n")
    with pytest.raises(ValueError, match=r"looks like user_id.* holds the number 1: without a header, use header none"):
        read_events(path)
    columns = {"user_id": "1", "item_id": "2268318", "timestamp": "1511544070"}
    notes = read_events(path, columns=columns).report.notes
    assert any(note.startswith("The first line is read as the header") for note in notes)
