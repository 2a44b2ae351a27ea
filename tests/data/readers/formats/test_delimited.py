"""Delimited text: Polars reads a file only if it returns the rows of the row-by-row reader."""

import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.readers.formats import delimited
from segue.data.readers.formats.delimited import MAX_ROW_LINES, read_delimited
from segue.data.readers.formats.file_formats import guess_format, read_raw
from segue.data.readers.formats.raw_table import ROW, RawTable

HEAD = "user,item,time\n"


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes, separator: str = ",", name: str = "log.csv") -> RawTable:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_delimited(path, separator=separator)

    return read


CELLS = ["a", "", '"b"', '"c,d"', '"e\nf"', 'g"h', '"i""j"', " k ", '"', "茶", '"l"m']
rows = st.lists(st.tuples(st.lists(st.sampled_from(CELLS), min_size=0, max_size=4), st.sampled_from(["\n", "\r\n"])))
wild = st.lists(st.sampled_from(["a", ",", '"', "\n", "\r\n", "\r", " ", "é"]), max_size=40).map("".join)


@given(st.one_of(rows.map(lambda all_rows: "".join(",".join(cells) + end for cells, end in all_rows)), wild))
@settings(deadline=None, max_examples=400)
def test_polars_equals_row_by_row(tmp_path_factory: pytest.TempPathFactory, body: str) -> None:
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    path.write_bytes((HEAD + body).encode())
    raw = read_delimited(path, separator=",")
    careful = delimited._read_row_by_row(delimited._Layout(path, ",", True, ["user", "item", "time"]))
    assert raw.frame.rows() == careful.frame.rows()
    assert raw.rejected == careful.rejected


def test_a_quotation_open_at_the_end_of_the_file_keeps_its_text(read) -> None:
    """Polars returned an empty last field."""
    assert read(HEAD + 'u,a,1\n,,"""').frame.rows() == [(2, "u", "a", "1"), (3, None, None, '"')]


def test_a_log_without_faults_is_read_by_polars(read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with empty last fields, quoted fields and Windows line ends."""
    monkeypatch.delattr(delimited, "_read_row_by_row")
    assert read(HEAD + "u,a,1\nv,b,\n").frame["time"].to_list() == ["1", None]
    assert read(HEAD + '"u",a,1\r\n"v","b,c",2\r\n').frame["item"].to_list() == ["a", "b,c"]
    assert read(HEAD + 'u,"",""\n').frame.row(0) == (2, "u", None, None)
    assert read(gzip.compress(HEAD.encode() + b"u,a,1\n"), name="log.csv.gz").frame.height == 1


@pytest.mark.parametrize(
    ("body", "kept", "rejected"),
    [
        ("u,a\nv,b,2\n", [(3, "v")], [(2, "2 fields instead of 3", "u,a")]),
        ("u,a,1,x\nv,b,2\n", [(3, "v")], [(2, "4 fields instead of 3", "u,a,1,x")]),
        ("u,a,1\nv,b", [(2, "u")], [(3, "2 fields instead of 3", "v,b")]),
        ("\nu,a,1\n\n\nv,b,2\n\n", [(3, "u"), (6, "v")], []),
        ('u,"a\nb",1\nv,b,2\n', [(2, "u"), (4, "v")], []),
        ('u,a,"1\nv,b,2\nw,c,3\n', [(3, "v"), (4, "w")], [(2, "a quotation mark that is never closed", 'u,a,"1')]),
        ('u,"a,1\nv,b,2\n', [(3, "v")], [(2, "a quotation mark that is never closed", 'u,"a,1')]),
        ("u,a,1,", [], [(2, "4 fields instead of 3", "u,a,1,")]),
        ("u,a,1\rv,b,2\r", [(2, "u"), (3, "v")], []),
    ],
)
def test_rows_that_do_not_fit(
    body: str, kept: list[tuple[int, str]], rejected: list[tuple[int, str, str]], read
) -> None:
    raw = read(HEAD + body)
    assert raw.frame.select(ROW, "user").rows() == kept
    assert raw.rejected == rejected


def test_a_copy_cut_short_does_not_pass_as_a_row(read) -> None:
    """Polars fills the missing field with null, and the log would end in an event with a wrong time."""
    raw = read("user,item,time,price\nu,a,1700000000,2\nv,b,17000")
    assert raw.frame["user"].to_list() == ["u"]
    assert raw.rejected == [(3, "3 fields instead of 4", "v,b,17000")]


def test_a_field_too_long_for_a_row_stops_nothing(read) -> None:
    """A field beyond the csv module's limit once ended the reading, and the rest was lost without a message."""
    raw = read(HEAD + 'w"w,x,0\n' + "u," + "x" * 200_000 + ",1\nv,b,2\n")
    assert raw.frame["user"].to_list() == ['w"w', "v"]
    [(line, reason, text)] = raw.rejected
    assert (line, reason) == (3, "broken row: field larger than field limit (131072)")
    assert len(text) == 500


@pytest.mark.parametrize("lines", [MAX_ROW_LINES - 2, MAX_ROW_LINES - 1])
def test_a_quoted_field_may_span_many_lines(lines: int, read) -> None:
    raw = read('user,item,note\nu,a,"' + "x\n" * lines + '"\nv,b,c"c\n')
    assert raw.frame["user"].to_list() == ["u", "v"]
    assert raw.rejected == []


def test_a_quotation_mark_open_for_too_long_is_a_fault(read) -> None:
    raw = read('user,item,note\nu,a,"' + "x,y,z\n" * MAX_ROW_LINES + 'v,b,c"\n')
    assert raw.rejected[0] == (2, "a quotation mark that is never closed", 'u,a,"x,y,z')
    assert raw.frame.height == MAX_ROW_LINES


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_of_a_csv_are_guessed_and_reported(separator: str, read) -> None:
    raw = read("user,item,time\nu,a,1\n".replace(",", separator))
    assert raw.frame.select("user", "item", "time").rows() == [("u", "a", "1")]
    assert raw.notes == [f"Fields are separated by {separator!r}."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user\n1\n", r"log\.csv has one column only; is it separated by ','\?$"),
        ("user,item,user\n1,2,3\n", r"log\.csv has two columns named 'user'; rename one in its first line\.$"),
        (b"\x00\x01,\xff\n", r"log\.csv is not a table of text in UTF-8: its first line cannot be read\."),
        ("x" * 200_000 + ",y\n", r"log\.csv is not a table of text in UTF-8: its first line cannot be read\."),
    ],
)
def test_an_invalid_header_is_one_sentence(text: str | bytes, message: str, read) -> None:
    with pytest.raises(ValueError, match=message):
        read(text)


def test_quotation_marks_mean_nothing_in_recbole(tmp_path: Path) -> None:
    path = tmp_path / "log.inter"
    path.write_text('user_id:token\titem_id:token\ttimestamp:float\n"u\ta"b\t1\nv\t"\t2\n')
    assert delimited.read_recbole(path).frame.drop(ROW).rows() == [('"u', 'a"b', "1"), ("v", '"', "2")]


def test_texts_stay_texts(read) -> None:
    assert set(read(HEAD + "1,01,1.0\n").frame.drop(ROW).schema.values()) == {pl.String}


def test_a_spreadsheet_names_its_separator(read) -> None:
    raw = read("sep=;\nuser;item,x;time\nu;a;1\nv;b\n")
    assert raw.frame.rows() == [(3, "u", "a", "1")]
    assert raw.frame.columns == [ROW, "user", "item,x", "time"]
    assert raw.rejected == [(4, "2 fields instead of 3", "v;b")]
    assert read("sep=;\nuser;item\nu;a\n").frame.rows() == [(3, "u", "a")]


@pytest.mark.parametrize("fault", ["", '"open,1,2\n'])
def test_a_file_without_a_header(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("1,a,10\n2,b,20\n" + fault)
    raw = read_delimited(path, separator=",", header=False)
    assert raw.frame.rows() == [(1, "1", "a", "10"), (2, "2", "b", "20")]
    assert raw.frame.columns == [ROW, "column_1", "column_2", "column_3"]
    assert [row.row for row in raw.rejected] == ([3] if fault else [])
    assert read_delimited(path, separator=",").notes == [
        "The first line is read as the header, and holds the number 1: without a header, use header none."
    ]


def test_histories_of_augmented_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.inter"
    path.write_text("session_id:token\titem_id_list:token_seq\titem_id:token\n1\t2 3 4\t5\n")
    with pytest.raises(ValueError, match=r"column 'item_id_list' holds the history of each row, as in RecBole's"):
        delimited.read_recbole(path)


@pytest.mark.parametrize("blank", ["\n", "\r\n\r\n", "\ufeff\n"])
@pytest.mark.parametrize("fault", ["", "b,2,3,4\n"])
def test_blank_lines_before_a_table_are_skipped(blank: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for named, separator in (("", ","), ("sep=;\n", ";")):
        text = f"{blank}{named}" + f"user,item,time\na,x,1700000000\n{fault}".replace(",", separator)
        path.write_text(text, encoding="utf-8", newline="")
        raw = read_raw(path, "csv")
        lines = blank.count("\n") + bool(named)
        assert raw.frame.rows() == [(lines + 2, "a", "x", "1700000000")]
        assert [row.row for row in raw.rejected] == [lines + 3] * bool(fault)


def test_a_file_without_a_header_and_with_old_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"a,x,1,p\rb,y,2,q\r")
    assert read_raw(path, "csv", header=False).frame.rows() == [(1, "a", "x", "1", "p"), (2, "b", "y", "2", "q")]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_a_name_that_is_no_utf8(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode("日志".encode("gb18030") + suffix.encode())
    frame = pl.DataFrame({"user": ["a"], "item": ["x"]})
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".arrow": frame.write_ipc}[suffix](tmp_path / "plain")
    (tmp_path / "plain").rename(path)
    assert read_raw(path, guess_format(path)).frame.rows() == [(2 if suffix == ".csv" else 1, "a", "x")]


def test_blank_lines_behind_the_named_separator_are_no_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"sep=|\r\n\r\n\r\nu1|a|1394179884\r\nu2|b|1394179885\r\n")
    frame = read_delimited(path, separator=",", header=False).frame
    assert frame["column_1"].to_list() == ["u1", "u2"]
    assert frame["column_3"].to_list() == ["1394179884", "1394179885"]
