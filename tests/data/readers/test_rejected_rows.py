"""Rejected rows: the vectorized filter has no false negatives, and the file can be read back."""

import csv
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.readers import rejected_rows
from segue.data.readers.events import read_events
from segue.data.readers.formats.raw_table import ROW, RejectedRow

ids = st.one_of(st.none(), st.text(max_size=3), st.just("x" * 513))


@given(st.lists(st.tuples(ids, ids, st.one_of(st.none(), st.integers(-1, 8 * 10**15))), min_size=1, max_size=8))
@settings(deadline=None, max_examples=200)
def test_no_bad_row_is_overlooked(rows: list[tuple[str | None, str | None, int | None]]) -> None:
    """Checks of every row against checks of the suspect rows only."""
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_row_index(ROW, offset=1)
    ready = {name: frame[name] for name in schema}
    columns = {name: name for name in schema}
    suspect = rejected_rows.has_invalid_cell(ready)
    quick = rejected_rows.reject_rows(
        frame.filter(suspect), columns, {n: c.filter(suspect) for n, c in ready.items()}, {}
    )
    assert quick == rejected_rows.reject_rows(frame, columns, ready, {})


def test_the_file_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    rejected_rows.write_rejected_rows(path, [RejectedRow(7, "why", 'a,"b"\n\tc'), RejectedRow(3, "茶", "")])
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["row", "reason", "text"], ["3", "茶", ""], ["7", "why", 'a,"b"\n\tc']]


def test_a_clean_log_leaves_no_old_rows_behind(tmp_path: Path) -> None:
    """A file of an earlier reading is overwritten."""
    path = tmp_path / "bad.csv"
    path.write_text("row,reason,text\n1,old,old\n")
    read_events(pl.DataFrame({"user": ["u"], "item": ["a"], "time": [1]}), rejected=path)
    assert path.read_text() == "row,reason,text\n"


def test_rejected_rows_are_written_even_if_the_log_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [""], "item": ["a"], "time": [1]})
    for options in ({"strict": True}, {}):
        path = tmp_path / "bad.csv"
        path.unlink(missing_ok=True)
        try:
            read_events(frame, rejected=path, **options)
        except ValueError:
            assert path.read_text() == 'row,reason,text\n1,user_id is missing,",a,1"\n'
        else:
            raise AssertionError("a log without a good row was read")


def test_reasons_are_counted_the_commonest_first() -> None:
    rejected = [RejectedRow(1, "b", ""), RejectedRow(2, "a", ""), RejectedRow(3, "a", "")]
    counts = rejected_rows.count_by_reason(rejected)
    assert list(counts.items()) == [("a", 2), ("b", 1)]


def test_a_date_that_python_lacks_is_a_rejected_row() -> None:
    times = pl.Series([1_700_000_000_000_000, -(2**62), 1_700_000_000_000_000]).cast(pl.Datetime("us"))
    frame = pl.DataFrame({"user": ["u", "v", "w"], "item": ["a", "b", "c"], "time": times})
    log = read_events(frame)
    assert log.frame["user_id"].to_list() == ["u", "w"]
    assert log.report.rejected == {"timestamp is missing or no time between 1970 and 2200": 1}
