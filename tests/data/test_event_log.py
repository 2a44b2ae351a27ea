"""Event log reader: every format, every type of bad row with its row number and reason, ids never merged or split."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.catalog import Catalog
from segue.data.readers.events import read_events

DATA = Path(os.environ.get("SEGUE_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
T0 = 1_700_000_000


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(log: Any) -> list[tuple[str, str, int]]:
    return list(log.frame.select("user_id", "item_id", "timestamp").iter_rows())


WANTED = [("u1", "a", T0 * 1_000_000), ("u2", "b", (T0 + 1) * 1_000_000)]
TABLE = f"user,item,time\nu1,a,{T0}\nu2,b,{T0 + 1}\n"


def as_jsonl() -> str:
    return "\n".join(json.dumps({"user": u, "item": i, "time": t // 1_000_000}) for u, i, t in WANTED)


FILES: dict[str, tuple[str, str | bytes]] = {
    "csv": ("log.csv", TABLE),
    "csv.gz": ("log.csv.gz", gzip.compress(TABLE.encode())),
    "tsv": ("log.tsv", TABLE.replace(",", "\t")),
    "jsonl": ("log.jsonl", as_jsonl()),
    "recbole": (
        "log.inter",
        f"user_id:token\titem_id:token\ttimestamp:float\nu1\ta\t{T0}.0\nu2\tb\t{T0 + 1}.0\n",
    ),
    "byte order mark": ("log.csv", b"\xef\xbb\xbf" + TABLE.encode()),
}


@pytest.mark.parametrize("format", FILES)
def test_one_log_in_every_text_format(format: str, tmp_path: Path) -> None:
    name, text = FILES[format]
    log = read_events(write(tmp_path / name, text))
    assert rows(log) == WANTED
    assert log.has_times and log.report.rejected == {}


@pytest.mark.parametrize("format", ["parquet", "arrow", "polars", "pandas", "lazy", "pyarrow"])
def test_one_log_in_every_table(format: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["u1", "u2"], "item": ["a", "b"], "time": [T0, T0 + 1]})
    if format == "parquet":
        frame.write_parquet(tmp_path / "log.parquet")
    elif format == "arrow":
        frame.write_ipc(tmp_path / "log.arrow")
    source: Any = {
        "parquet": tmp_path / "log.parquet",
        "arrow": str(tmp_path / "log.arrow"),
        "polars": frame,
        "lazy": frame.lazy(),
        "pandas": pd.DataFrame({"user": ["u1", "u2"], "item": ["a", "b"], "time": [T0, T0 + 1]}),
        "pyarrow": frame.to_arrow(),
    }[format]
    assert rows(read_events(source)) == WANTED


def test_the_papers_formats(tmp_path: Path) -> None:
    sequences = read_events(write(tmp_path / "s.txt", "7 a b a\n8 c d\n"), format="sequences")
    assert [(u, i) for u, i, _ in rows(sequences)] == [("7", "a"), ("7", "b"), ("7", "a"), ("8", "c"), ("8", "d")]
    assert not sequences.has_times
    pairs = read_events(write(tmp_path / "p.txt", "7 a\n8 c\n7 b\n"), format="pairs")
    lists, user_ids = pairs.sequences(pairs.catalog())
    assert user_ids == ["7", "8"] and lists.to_lists() == [[1, 2], [3]]
    sessions = read_events(write(tmp_path / "t.txt", "a b\nc\n\nd e\n"), format="sessions")
    assert [(u, i) for u, i, _ in rows(sessions)] == [("1", "a"), ("1", "b"), ("2", "c"), ("4", "d"), ("4", "e")]
    prefixes = read_events(write(tmp_path / "x.txt", "a b\tc\nd\te\n"), format="prefixes")
    assert prefixes.is_labeled_test
    assert [(u, i) for u, i, _ in rows(prefixes)] == [("1", "a"), ("1", "b"), ("1", "c"), ("2", "d"), ("2", "e")]


def test_sessions_replace_missing_users(tmp_path: Path) -> None:
    log = read_events(write(tmp_path / "log.tsv", f"SessionId\tItemId\tTime\n1\t9\t{T0}.25\n"))
    assert rows(log) == [("1", "9", T0 * 1_000_000 + 250_000)]
    assert "There is no user column; each session of 'SessionId' counts as a user." in log.report.notes


@pytest.mark.parametrize(
    ("text", "wanted_us", "note"),
    [
        (str(T0), T0 * 10**6, "Times are read as epoch s, guessed from their size."),
        (f"{T0}.5", T0 * 10**6 + 500_000, "Times are read as epoch s, guessed from their size."),
        (f"{T0}123", T0 * 10**6 + 123_000, "Times are read as epoch ms, guessed from their size."),
        (f"{T0}123456", T0 * 10**6 + 123_456, "Times are read as epoch us, guessed from their size."),
        (f"{T0}123456789", T0 * 10**6 + 123_456, "Times are read as epoch ns, guessed from their size."),
        ("2023-11-14T22:13:20Z", T0 * 10**6, "Times are ISO 8601 text."),
        ("2023-11-14T23:13:20+01:00", T0 * 10**6, "Times are ISO 8601 text."),
        ("2023-11-14 22:13:20.25", T0 * 10**6 + 250_000, "Times are ISO 8601 text without a zone, read as UTC."),
        ("2023-11-14", 1_699_920_000 * 10**6, "Times are ISO 8601 text without a zone, read as UTC."),
    ],
)
def test_times_and_the_guess_about_them(text: str, wanted_us: int, note: str, tmp_path: Path) -> None:
    log = read_events(write(tmp_path / "log.csv", f"user,item,time\nu,a,{text}\n"))
    assert rows(log)[0][2] == wanted_us
    assert note in log.report.notes


def test_other_forms_of_time_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user,item,time\nu,a,14/11/2023 22:13\n")
    with pytest.raises(ValueError, match=r"1 were read\. The first: timestamp is missing or no time"):
        read_events(path)
    assert rows(read_events(path, time_format="%d/%m/%Y %H:%M"))[0][2] == (T0 - 20) * 10**6


DIRTY = (
    b"user,item,time\n"
    b"u1,a,1700000000\n"
    b",b,1700000001\n"
    b"u3,,1700000002\n"
    b"u4,d,never\n"
    b"u5,e,99999999999999\n"
    b"u6,f,1700000005,extra\n"
    b"u7\n"
    b"u8,\xff\xfe,1700000007\n"
    b"u9,g\x01,1700000008\n"
    b"u10," + b"x" * 513 + b",1700000009\n"
    b"u11,h,1700000010\n"
)


def test_bad_rows_are_set_aside_with_place_and_reason(tmp_path: Path) -> None:
    aside = tmp_path / "rejected.csv"
    log = read_events(write(tmp_path / "log.csv", DIRTY), rejected=aside, allow_loss=True)
    assert [u for u, _, _ in rows(log)] == ["u1", "u11"]
    assert log.report.rows_read == 11
    assert log.report.rejected == {
        "4 fields instead of 3": 1,
        "1 fields instead of 3": 1,
        "not UTF-8": 1,
        "user_id is missing": 1,
        "item_id is missing": 1,
        "timestamp is missing or no time between 1970 and 2200": 2,
        "item_id holds a control character": 1,
        "item_id is longer than 512 characters": 1,
    }
    written = pl.read_csv(aside)
    assert written["row"].to_list() == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert written.filter(pl.col("row") == 5)["text"].to_list() == ["u4,d,never"]


def test_strict_refuses_with_the_row(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user,item,time\nu,a,1700000000\nu,,1700000001\n")
    with pytest.raises(ValueError, match=r"log\.csv row 3: item_id is missing\. 1 such rows; without strict"):
        read_events(path, strict=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", r"empty\.csv is empty\.$"),
        ("one.csv", "user\n1\n", r"has one column only; is it separated by ','\?$"),
        (
            "no.csv",
            "user,when\n1,2\n",
            r"^No column of this log looks like item_id; name it, for example",
        ),
        ("log.txt", "a b\n", r"^The suffix of log\.txt has no known format; name one of: csv, tsv, jsonl,"),
        ("bad.parquet", "PAR1 not at all", r"bad\.parquet cannot be read as parquet: "),
        ("bad.jsonl", "nothing\n", r"bad\.jsonl holds no JSON object, one on each line\.$"),
        (
            "none.csv",
            "user,item,time\n,,\n",
            r"1 were read\. The first: user_id is missing \(row 2\)\.$",
        ),
        ("junk.csv", bytes(range(256)) * 20, r"junk\.csv"),
        ("bad.csv.gz", "not gzip", r"bad\.csv\.gz"),
    ],
)
def test_an_invalid_log_is_one_sentence(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_events(write(tmp_path / name, content))


def test_missing_files_folders_and_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^There is no file .*nowhere\.csv\.$"):
        read_events(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"is a folder without files, not a log\.$"):
        read_events(tmp_path, format="csv")
    path = write(tmp_path / "log.csv", TABLE)
    with pytest.raises(ValueError, match=r"^There is no format 'xml'\. Known formats: csv, tsv,"):
        read_events(path, format="xml")
    with pytest.raises(ValueError, match=r"^The log has no column 'shop' for item_id\. Its columns: user, item"):
        read_events(path, columns={"item_id": "shop"})
    with pytest.raises(ValueError, match=r"^There is no column role 'thing'\. Known roles: user_id, item_id,"):
        read_events(path, columns={"thing": "item"})
    with pytest.raises(ValueError, match=r"^The filter ends where a column or a value must stand\.\n  price <\n"):
        read_events(path, where="price <")


def test_ids_in_a_csv_keep_their_very_characters(tmp_path: Path) -> None:
    ids = [
        "1",
        "01",
        "1.0",
        "true",
        "True",
        " 1",
        "1 ",
        "é",
        "e\u0301",
        "茶",
        "🍵🏽",
        "a\u200db",
        "NULL",
        "9007199254740993",
    ]
    text = "user,item,time\n" + "".join(f"u,{i},{T0}\n" for i in ids)
    log = read_events(write(tmp_path / "log.csv", text))
    assert [i for _, i, _ in rows(log)] == ids
    assert len(log.catalog()) == len(ids)


def test_numbers_and_texts_never_merge_in_json(tmp_path: Path) -> None:
    lines = [{"user": "u", "item": i, "time": T0} for i in (1, 2, "1", 9007199254740993)]
    log = read_events(write(tmp_path / "log.jsonl", "\n".join(map(json.dumps, lines))))
    assert [i for _, i, _ in rows(log)] == ["1", "2", "9007199254740993"]
    assert log.report.rejected == {"'item' is a text, and most rows have a number": 1}


def test_floats_that_pandas_made_of_whole_numbers() -> None:
    frame = pd.DataFrame({"user": [17850.0, np.nan, 3.5], "item": ["a", "b", "c"], "time": [T0, T0, T0]})
    log = read_events(frame)
    assert rows(log) == [("17850", "a", T0 * 10**6)]
    assert log.report.rejected == {"user_id is missing": 1, "user_id is not an exact whole number": 1}
    assert "Column 'user' holds floats; 17850.0 is read as 17850." in log.report.notes


def test_booleans_are_no_ids() -> None:
    with pytest.raises(ValueError, match=r"^Column 'user' holds only true and false, so it cannot be user_id\.$"):
        read_events(pl.DataFrame({"user": [True], "item": ["a"], "time": [T0]}))


def test_order_is_by_time_and_ties_keep_the_files_order() -> None:
    frame = pl.DataFrame({"user": ["u"] * 4, "item": ["d", "c", "b", "a"], "time": [5, 3, 5, 3]}).with_columns(
        pl.col("time") + T0
    )
    log = read_events(frame)
    sequences, _ = log.sequences(log.catalog())
    assert log.catalog().to_ids(sequences.items) == ["c", "a", "d", "b"]


def test_any_arrival_order_gives_the_same_history() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"user": [f"u{i % 3}" for i in range(60)], "item": [f"i{i % 7}" for i in range(60)]})
    frame = frame.with_columns(pl.Series("time", T0 + rng.permutation(60)))
    expected = read_events(frame)
    for seed in range(20):
        shuffled = read_events(frame.sample(fraction=1, shuffle=True, seed=seed))
        assert (
            shuffled.sequences(expected.catalog())[0].to_lists() == expected.sequences(expected.catalog())[0].to_lists()
        )


def test_unknown_items_become_pad() -> None:
    log = read_events(pl.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "time": [T0, T0 + 1]}))
    assert log.sequences(Catalog(["b"]))[0].to_lists() == [[0, 1]]
    assert log.sequences(Catalog([]))[0].to_lists() == [[0, 0]]


def test_where_filters_rows_and_counts_the_others() -> None:
    frame = pl.DataFrame({"user": ["u"] * 3, "item": list("abc"), "time": [T0] * 3, "Quantity": [1, -1, 2]})
    log = read_events(frame, where="Quantity > 0")
    assert [i for _, i, _ in rows(log)] == ["a", "c"]
    assert log.report.filtered_out == 1
    assert "1 rows filtered out by the condition." in log.report.lines()


def test_the_callers_table_is_left_alone() -> None:
    frame = pl.DataFrame({"user": ["u"], "item": ["a"], "time": [T0]})
    before = frame.clone()
    read_events(frame)
    assert frame.equals(before)


text_ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(st.lists(st.tuples(text_ids, text_ids, st.integers(0, 2 * 10**9)), min_size=1, max_size=20))
@settings(deadline=None, max_examples=150)
def test_every_row_is_kept_or_set_aside(events: list[tuple[str, str, int]]) -> None:
    frame = pl.DataFrame(events, schema={"user": pl.String, "item": pl.String, "time": pl.Int64}, orient="row")
    bad = [any(c < " " or c == "\x7f" for c in u + i) for u, i, _ in events]
    if all(bad):
        with pytest.raises(ValueError, match="has no usable row"):
            read_events(frame, time_unit="s", allow_loss=True)
        return
    log = read_events(frame, time_unit="s", allow_loss=True)
    kept = [(u, i) for (u, i, _), wrong in zip(events, bad, strict=True) if not wrong]
    assert [(u, i) for u, i, _ in rows(log)] == kept
    assert log.report.rows_read == len(log) + sum(log.report.rejected.values())
    assert set(log.catalog().ids) == {i for _, i in kept}


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=150)
def test_junk_is_a_log_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("junk")
    for suffix in ("csv", "jsonl", "parquet", "tsv", "inter"):
        path = write(folder / f"x.{suffix}", b"user,item,time\n" + junk if suffix == "csv" else junk)
        try:
            log = read_events(path, allow_loss=True)
        except ValueError as error:
            assert str(error).endswith((".", "?")), error
        else:
            assert log.report.rows_read == len(log) + sum(log.report.rejected.values())


@pytest.mark.skipif(not DATA.exists(), reason=f"the benchmark logs are not at {DATA} (set SEGUE_DATA)")
class TestRealLogs:
    def test_the_raw_online_retail_table(self) -> None:
        path = DATA / "online-retail" / "online_retail.parquet"
        log = read_events(path, where="Quantity > 0 and InvoiceNo not starts_with 'C'")
        assert log.report.rows_read == 541_909
        assert log.report.filtered_out == 10_624
        assert log.report.rejected == {}
        assert len(log) == 541_909 - 10_624
        assert "133,361 rows have a session but no user; each such session counts as a user." in log.report.notes
        assert "Column 'CustomerID' holds floats; 17850.0 is read as 17850." in log.report.notes

    def test_the_trivago_sample(self) -> None:
        path = DATA / "trivago-sample" / "trivago_val_100k.parquet"
        log = read_events(path, where="action_type == 'clickout item'")
        assert log.report.rows_read == 100_003
        assert log.report.filtered_out + len(log) + sum(log.report.rejected.values()) == 100_003
        assert log.frame["event"].unique().to_list() == ["clickout item"]
        assert "session_id" in log.frame.columns

    def test_ml_100k_with_its_typed_header(self) -> None:
        log = read_events(DATA / "ml-100k" / "ml-100k.inter")
        assert (len(log), len(log.catalog())) == (100_000, 1682)
