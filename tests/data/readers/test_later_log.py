"""Later logs of a model: the options of the training hold where the file is like the log of the training."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segue.data.log_description import LogDescription
from segue.data.readers.events import read_events

COLUMNS = {"user_id": "kunde", "item_id": "isbn", "timestamp": "wann"}
CSV = "kunde,isbn,wann\nann,茶,2024-05-01 10:00:00\nbob,é,2024-05-01 11:00:00\n"
US = 1_714_557_600_000_000
"""2024-05-01 10:00 UTC."""


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Any, like: LogDescription, **options: Any) -> list[tuple[Any, ...]]:
    return read_events(path, like=like, **options).frame.select("user_id", "item_id", "timestamp").rows()


def test_an_encoding_holds_for_files_that_are_in_it(tmp_path: Path) -> None:
    chinese = CSV.replace("é", "茶")
    like = read_events(write(tmp_path / "a.csv", chinese, "gb18030"), encoding="gb18030", columns=COLUMNS).description
    wanted = [("ann", "茶", US), ("bob", "茶", US + 3_600_000_000)]
    assert read(write(tmp_path / "b.csv", chinese, "gb18030"), like) == wanted
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert read(write(tmp_path / f"{encoding}.csv", chinese, encoding), like) == wanted
    pl.DataFrame({"kunde": ["ann"], "isbn": ["茶"], "wann": ["2024-05-01 10:00:00"]}).write_parquet(
        tmp_path / "p.parquet"
    )
    assert read(tmp_path / "p.parquet", like) == wanted[:1]
    latin = CSV.replace("茶", "è")
    like = read_events(write(tmp_path / "l.csv", latin, "latin-1"), encoding="latin-1", columns=COLUMNS).description
    assert read(write(tmp_path / "m.csv", latin, "latin-1"), like)[0][1] == "è"
    assert read(write(tmp_path / "u.csv", latin, "utf-8"), like)[0][1] == "è"


def test_few_characters_of_gbk_are_not_taken_for_utf8(tmp_path: Path) -> None:
    """The bytes of these characters in GBK are valid UTF-8 of two bytes, by chance."""
    text = CSV.replace("茶", b"\xc4\xa3\xcd\xb7".decode("gb18030")).replace("é", "x")
    assert (tmp_path / "a.csv").write_bytes(text.encode("gb18030")) and text.encode("gb18030").decode("utf-8")
    like = LogDescription(options={"encoding": "gb18030"}, columns=COLUMNS, suffix=".csv")
    assert read(tmp_path / "a.csv", like)[0][1] == b"\xc4\xa3\xcd\xb7".decode("gb18030")


def test_a_format_holds_for_files_of_the_suffix(tmp_path: Path) -> None:
    tabs = CSV.replace(",", "\t")
    like = read_events(write(tmp_path / "a.csv", tabs), format="tsv", columns=COLUMNS).description
    assert like.options == {"format": "tsv"}
    wanted = read(tmp_path / "a.csv", like)
    assert read(write(tmp_path / "b.csv", tabs), like) == wanted
    assert read(write(tmp_path / "b.txt", tabs), like) == wanted, "a suffix that shows no format"
    assert read(write(tmp_path / "b.tsv", tabs), like) == wanted
    rows = [dict(zip(("kunde", "isbn", "wann"), line.split(","), strict=True)) for line in CSV.splitlines()[1:]]
    assert read(write(tmp_path / "b.jsonl", "\n".join(map(json.dumps, rows))), like) == wanted
    assert read(pl.DataFrame(rows), like) == wanted


def test_a_log_without_a_header_is_followed_by_one_with(tmp_path: Path) -> None:
    bare = "".join(CSV.splitlines(keepends=True)[1:])
    columns = {"user_id": "column_1", "item_id": "column_2", "timestamp": "column_3"}
    log = read_events(write(tmp_path / "a.csv", bare), header="none", columns=columns)
    wanted = log.frame.select("user_id", "item_id", "timestamp").rows()
    assert read(write(tmp_path / "b.csv", bare), log.description) == wanted
    own = "item_id,user_id,timestamp\n茶,ann,2024-05-01T10:00:00Z\né,bob,2024-05-01T11:00:00Z\n"
    assert read(write(tmp_path / "c.csv", own), log.description) == wanted
    log.frame.write_parquet(tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet", log.description) == wanted


def test_times_of_segues_own_files_are_utc(tmp_path: Path) -> None:
    local = CSV.replace("wann", "timestamp")
    columns = {**COLUMNS, "timestamp": "timestamp"}
    like = read_events(write(tmp_path / "a.csv", local), columns=columns, time_zone="Asia/Shanghai").description
    assert read(tmp_path / "a.csv", like)[0][2] == US - 8 * 3_600_000_000
    zoned = local.replace(":00:00", ":00:00+00:00")
    assert read(write(tmp_path / "b.csv", zoned), like)[0][2] == US
    odd = "kunde,isbn,timestamp\nann,x,05/01/2024 10:00\n"
    like = read_events(write(tmp_path / "c.csv", odd), columns=columns, time_format="%m/%d/%Y %H:%M").description
    assert read(write(tmp_path / "d.csv", odd), like)[0][2] == US
    assert read(tmp_path / "b.csv", like)[0][2] == US, "the same column name, the form of a clean log"


def test_two_columns_of_time_are_followed_by_one(tmp_path: Path) -> None:
    like = read_events(write(tmp_path / "a.csv", "user,item,date,time\nann,x,2024-05-01,10:00\n")).description
    assert like.columns["timestamp"] == "date+time"
    assert read(write(tmp_path / "b.csv", "user,item,date,time\nann,x,2024-05-01,10:00\n"), like)[0][2] == US
    own = "user_id,item_id,timestamp\nann,x,2024-05-01T10:00:00Z\n"
    assert read(write(tmp_path / "c.csv", own), like) == [("ann", "x", US)]
    both = "user_id,item_id,timestamp,date,time\nann,x,2024-05-01T10:00:00Z,2024-05-01,18:00\n"
    assert read_events(write(tmp_path / "d.csv", both)).frame["timestamp"].to_list() == [US]


def test_the_condition_holds_for_segues_own_column_names(tmp_path: Path) -> None:
    text = "kunde,isbn,wann,art\nann,x,2024-05-01 10:00,click\nann,y,2024-05-01 11:00,view\n"
    columns = {**COLUMNS, "event": "art"}
    like = read_events(write(tmp_path / "a.csv", text), columns=columns, where='art == "click"').description
    own = text.replace("kunde,isbn,wann,art", "user_id,item_id,timestamp,event")
    assert [row[1] for row in read(write(tmp_path / "b.csv", own), like)] == ["x"]
    exported = "user_id,item_id,timestamp,event_id,source,context\nann,x,2024-05-01T10:00:00Z,1,app,{}\n"
    log = read_events(write(tmp_path / "c.csv", exported), like=like)
    assert "The condition of the training (art == \"click\") is not applied: this log has no 'art'." in log.report.notes
    short = "kunde,isbn,wann\nann,x,2024-05-01 10:00\n"
    with pytest.raises(ValueError, match="no column 'art', which the condition of the training names"):
        read(write(tmp_path / "d.csv", short), like)
    assert len(read(tmp_path / "d.csv", like, where=None)) == 1


def test_an_optional_column_may_be_missing_or_blank(tmp_path: Path) -> None:
    text = "user,item,time,rating,session\nann,x,2024-05-01 10:00,5,s\n"
    like = read_events(write(tmp_path / "a.csv", text)).description
    log = read_events(write(tmp_path / "b.csv", "user,item,time\nann,x,2024-05-01 10:00\n"), like=like)
    assert log.frame.columns == ["user_id", "item_id", "timestamp"]
    assert "The log has no column 'rating' for value, unlike that of the training." in log.report.notes
    blank = "user,item,time,rating,session\nann,x,2024-05-01 10:00,5,s\nann,y,2024-05-01 11:00,5,\n"
    log = read_events(write(tmp_path / "c.csv", blank), like=like)
    assert len(log) == 2, "no row is lost for a blank session"
    assert "session_id" not in log.frame.columns


def test_sessions_as_users_are_followed_by_users() -> None:
    like = read_events(pl.DataFrame({"sid": ["s"], "item": ["x"], "time": [US]}), time_unit="us").description
    assert like.columns["user_id"] == like.columns["session_id"] == "sid"
    own = pl.DataFrame({"user_id": ["ann"], "session_id": ["s"], "item_id": ["x"], "timestamp": [US]})
    log = read_events(own, like=like)
    assert log.frame.select("user_id", "session_id").rows() == [("ann", "s")]


def test_a_needed_column_is_not_guessed_anew() -> None:
    like = read_events(pl.DataFrame({"user": ["a"], "sku": ["x"], "time": [US]})).description
    with pytest.raises(ValueError, match=r"no column 'sku' for item_id.*for example item_id=NAME\. Its columns: user,"):
        read_events(pl.DataFrame({"user": ["a"], "product": ["x"], "time": [US]}), like=like)


def test_formats_without_columns_have_no_condition(tmp_path: Path) -> None:
    text = "user,item,time,art\nann,x,2024-05-01 10:00,click\n"
    like = read_events(write(tmp_path / "a.csv", text), where='art == "click"').description
    log = read_events(write(tmp_path / "test.txt", "x y\tz\n"), like=like, format="prefixes")
    assert log.frame["item_id"].to_list() == ["x", "y", "z"]
    assert any("is not applied" in note for note in log.report.notes)


def test_a_file_of_segues_own_is_read_by_its_suffix(tmp_path: Path) -> None:
    tabs = CSV.replace(",", "\t")
    like = read_events(write(tmp_path / "a.csv", tabs), format="tsv", columns=COLUMNS).description
    own = "item_id,user_id,timestamp\n茶,ann,2024-05-01T10:00:00Z\n"
    assert read(write(tmp_path / "b.csv", own), like) == [("ann", "茶", US)]


def test_a_condition_on_times_of_another_form_is_refused(tmp_path: Path) -> None:
    text = f"user,item,time\nann,x,{US // 1_000_000}\nann,y,{US // 1_000_000 + 5}\n"
    like = read_events(write(tmp_path / "a.csv", text), where="time > 1").description
    own = write(tmp_path / "b.csv", "user_id,item_id,timestamp\nann,x,2024-05-01T10:00:00Z\n")
    with pytest.raises(
        ValueError, match="The condition of the training does not fit the times of this log; give another"
    ):
        read(own, like)
    assert read(own, like, where='time >= "2024-05-01"') == [("ann", "x", US)]


def test_times_of_a_condition_stay_in_the_zone_of_the_training(tmp_path: Path) -> None:
    text = "user,item,time\nann,x,2024/5/1 18:00\nann,y,2024/5/1 19:00\nann,z,0000-00-00\n"
    options = {"where": 'time < "2024-05-01 18:30"', "time_zone": "Asia/Shanghai", "allow_loss": True}
    log = read_events(write(tmp_path / "a.csv", text), **options)
    assert log.frame["item_id"].to_list() == ["x"]
    assert sum(log.report.rejected.values()) == log.report.filtered_out == 1
    like = log.description
    own = write(
        tmp_path / "b.csv", "user_id,item_id,timestamp\nann,x,2024-05-01T10:00:00Z\nann,y,2024-05-01T11:00:00Z\n"
    )
    assert read(own, like) == [("ann", "x", US)]
    pl.read_csv(own, try_parse_dates=True).write_parquet(tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet", like) == [("ann", "x", US)]


def test_labels_are_not_preprocessed(tmp_path: Path) -> None:
    text = "user,item,time\nann,x,2024-05-01 10:00\nann,x,2024-05-01 11:00\n"
    like = read_events(write(tmp_path / "a.csv", text), drop_repeats=True).description
    log = read_events(write(tmp_path / "test.txt", "x x\tx\n"), like=like, format="prefixes")
    assert len(log) == 3 and log.is_labeled_test


def test_a_damaged_file_is_named_by_its_reader(tmp_path: Path) -> None:
    like = LogDescription(options={"encoding": "gb18030", "header": "none"}, columns=COLUMNS, suffix=".csv")
    for content in (b"\x1f\x8b\x08 no gzip", b"", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03K"):
        (tmp_path / "a.csv.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.csv\.gz"):
            read_events(tmp_path / "a.csv.gz", like=like)
