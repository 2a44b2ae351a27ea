"""Lost rows: a warning above 1 %, a refusal above 20 % unless allowed. Rows left out by choice are no loss."""

import polars as pl
import pytest

from segue.data.readers.events import read_events
from segue.data.readers.items import read_items, read_users
from segue.data.readers.losses import check_loss

T0 = 1_700_000_000


def log_of(rows: int, lost: int) -> pl.DataFrame:
    users = [None if i < lost else f"u{i % 5}" for i in range(rows)]
    return pl.DataFrame({"user": users, "item": [f"i{i % 7}" for i in range(rows)], "time": range(T0, T0 + rows)})


def test_up_to_one_percent_is_reported_and_more_is_a_warning() -> None:
    report = read_events(log_of(100, 1)).report
    assert report.warnings == () and "1 rows rejected: user_id is missing." in report.lines()
    report = read_events(log_of(100, 2)).report
    assert report.warnings == ("2 of 100 rows (2.0%) of the table are lost: user_id is missing (2).",)
    assert report.lines()[-1] == f"WARNING: {report.warnings[0]}"


def test_more_than_a_fifth_is_refused_in_a_sentence_that_names_the_option() -> None:
    assert len(read_events(log_of(100, 20))) == 80
    with pytest.raises(ValueError) as error:
        read_events(log_of(100, 21))
    assert str(error.value) == (
        "21 of 100 rows (21.0%) of the table would be lost: user_id is missing (21). The first: user_id is missing "
        "(row 1). Mend the source or its options; or read the other rows with --allow-loss (in Python allow_loss=True)."
    )
    assert len(read_events(log_of(100, 21), allow_loss=True)) == 79


def test_one_bad_row_of_a_toy_log_refuses_nothing() -> None:
    assert len(read_events(log_of(4, 2))) == 2
    with pytest.raises(ValueError, match="3 of 4 rows"):
        read_events(log_of(4, 3))


def test_rows_that_the_caller_leaves_out_do_not_count() -> None:
    log = read_events(log_of(100, 5), where="item == 'i1'", max_user_item_events=1)
    assert log.report.filtered_out > 80 and sum(log.report.removed.values()) > 5 and len(log) < 10
    with pytest.raises(ValueError, match=r"^5 of 5 rows|^the table has no usable row"):
        read_events(log_of(100, 5), where="user is missing")


def test_times_that_are_no_times_are_refused_with_a_cure() -> None:
    frame = log_of(10, 0).with_columns(pl.Series("time", ["2024-05-01"] * 6 + ["01.05.2024"] * 4))
    with pytest.raises(ValueError, match=r"4 of 10 rows \(40\.0%\) .* time_format, for example .* --allow-loss"):
        read_events(frame)


@pytest.mark.parametrize(("read", "column"), [(read_items, "item"), (read_users, "user")])
def test_tables_likewise(read, column: str) -> None:
    def table(lost: int) -> pl.DataFrame:
        return pl.DataFrame({column: [None if i < lost else f"x{i}" for i in range(100)], "name": ["n"] * 100})

    assert read(table(1)).warnings == ()
    assert read(table(2)).warnings == (
        f"2 of 100 rows (2.0%) of the {column}s table are lost: {column}_id is missing (2).",
    )
    with pytest.raises(ValueError, match=rf"^21 of 100 rows \(21\.0%\) of the {column}s table would be lost"):
        read(table(21))
    assert len(read(table(21), allow_loss=True).frame) == 79


def test_no_rows_lose_nothing() -> None:
    assert check_loss("x", {}, 0, allowed=False) == []


def test_names_of_columns_are_listed_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"Its columns: a b, c\.$"):
        read_events(pl.DataFrame({"a\nb": [1], "c": [2]}))
