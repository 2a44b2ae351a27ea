"""A clean log: what was read once is read again alike, without options."""

from pathlib import Path

import polars as pl
import pytest

from segue.data.event_log import EventLog
from segue.data.readers.events import read_events
from segue.workflows.log_files.clean_log import refuse_own_log, write_clean_log

ENDINGS = ("parquet", "csv", "jsonl")
T0 = 1_700_000_000


def same(first: EventLog, second: EventLog) -> bool:
    columns = [
        c for c in ("user_id", "item_id", "timestamp", "session_id", "event", "value") if c in first.frame.columns
    ]
    assert [c for c in columns if c in second.frame.columns] == columns
    extra = {"session_id", "event", "value"} & set(second.frame.columns) - set(columns)
    return not extra and first.frame.select(columns).equals(second.frame.select(columns))


@pytest.mark.parametrize("ending", ENDINGS)
def test_all_roles_come_back(tmp_path: Path, ending: str) -> None:
    table = pl.DataFrame(
        {
            "客户": ["007", "7", None, '\u00e9 "q", x'],
            "货号": ["1.0", "1", "NULL", "=1;2"],
            "wann": [T0 + 0.000001, T0 + 1, T0 + 2, 0.0],
            "sid": ["1", "1", "g", "h"],
            "art": ["点击", None, "a,b", "c"],
            "rating": [4.5, None, -1e-300, 1e20],
            "note": ["x", "", None, "line\nbreak"],
        }
    )
    columns = {"user_id": "客户", "item_id": "货号", "timestamp": "wann", "session_id": "sid", "event": "art"}
    log = read_events(table, columns=columns, allow_loss=True)
    assert len(log) == 4 and "session:g" in log.frame["user_id"].to_list()
    assert write_clean_log(log, tmp_path / f"clean.{ending}") == []
    again = read_events(tmp_path / f"clean.{ending}", allow_loss=True)
    assert same(log, again)
    assert again.frame["note"].to_list()[0] == "x"


@pytest.mark.parametrize("ending", ENDINGS)
def test_declined_roles_stay_declined(tmp_path: Path, ending: str) -> None:
    table = pl.DataFrame(
        {"user": ["a", "b"], "item": ["x", "y"], "date": ["2024-05-01", "2024-05-02"], "time": ["10:00", "11:00"]}
    ).with_columns(pl.Series("order_id", ["1", "2"]), pl.Series("stars", [1, 2]), pl.Series("type", ["p", "q"]))
    declined = {"session_id": "none", "value": "none", "event": "none"}
    log = read_events(table, columns=declined, time_zone="Asia/Shanghai")
    assert log.frame["timestamp"][0] == 1_714_528_800_000_000
    notes = write_clean_log(log, tmp_path / f"clean.{ending}")
    assert (
        notes[0] == "Column 'order_id' is written as 'other_order_id': by its own name it would be read as session_id."
    )
    again = read_events(tmp_path / f"clean.{ending}")
    assert same(log, again)
    assert {"other_order_id", "other_stars", "other_type", "date", "time"} <= set(again.frame.columns)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_order_without_times_stays_one(tmp_path: Path, ending: str) -> None:
    table = pl.DataFrame({"user": ["b", "a"], "item": ["x", "y"], "when": ["never", "always"]})
    log = read_events(table, columns={"timestamp": "none"})
    write_clean_log(log, tmp_path / f"clean.{ending}")
    again = read_events(tmp_path / f"clean.{ending}")
    assert not again.has_times
    assert again.frame["item_id"].to_list() == ["x", "y"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nested_columns_are_kept(tmp_path: Path, ending: str) -> None:
    table = pl.DataFrame({"user": ["a"], "item": ["x"], "time": [T0], "tags": [["p", None]], "raw": [b"\xff"]})
    log = read_events(table)
    write_clean_log(log, tmp_path / f"clean.{ending}")
    assert same(log, read_events(tmp_path / f"clean.{ending}"))


def test_preprocessing_is_written_too(tmp_path: Path) -> None:
    table = pl.DataFrame({"user": list("aaab"), "item": list("xxyx"), "time": [T0, T0 + 1, T0 + 9000, T0]})
    log = read_events(table, session_gap_s=1800, drop_repeats=True, min_user_events=2)
    write_clean_log(log, tmp_path / "clean.csv")
    again = read_events(tmp_path / "clean.csv")
    assert same(log, again) and again.frame["session_id"].to_list() == ["a#1", "a#2"]


def test_the_log_itself_and_a_fixed_test_set_are_refused(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for log, out in (
        (tmp_path / "a.csv", tmp_path / "." / "a.csv"),
        (tmp_path / "parts", tmp_path / "parts" / "c.csv"),
    ):
        with pytest.raises(ValueError, match="would be part of"):
            refuse_own_log(log, out)
    refuse_own_log(tmp_path / "a.csv", tmp_path / "b.csv")
    (tmp_path / "test.txt").write_text("a b\tc\n")
    with pytest.raises(ValueError, match="A fixed test set is evaluated as it is"):
        write_clean_log(read_events(tmp_path / "test.txt", format="prefixes"), tmp_path / "b.csv")
