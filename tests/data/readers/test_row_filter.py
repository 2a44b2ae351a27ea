"""Filter expressions over the rows of a log: against a naive evaluator, in every type of column, and refused."""

import re
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from tests.support.expressions import ROWS, Expression, expressions

from segue.data.readers.row_filter import filter_rows
from segue.data.readers.timestamps import TimeForm

TYPES = {
    "price": pl.Float64,
    "was": pl.Float64,
    "unit price": pl.Float64,
    "kind": pl.String,
    "类别": pl.String,
    "sold": pl.Boolean,
    "tags": pl.List(pl.String),
}


def as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, float) else value


@given(expressions(), ROWS)
@settings(deadline=None, max_examples=300)
def test_rows_against_a_naive_evaluator(expression: Expression, rows: list[dict[str, Any]]) -> None:
    kept = [i for i, row in enumerate(rows) if expression.holds(row)]
    frame = pl.DataFrame(rows, schema=TYPES).with_row_index("number")
    assert filter_rows(frame, expression.text)["number"].to_list() == kept
    texts = [{name: as_text(value) for name, value in row.items()} for row in rows]
    schema = {name: pl.String if name != "tags" else dtype for name, dtype in TYPES.items()}
    known = {name for name in ("price", "was", "unit price", "sold") if any(row[name] is not None for row in rows)}
    if known == {"price", "was", "unit price", "sold"}:  # a column without any value has no type in a text file
        frame = pl.DataFrame(texts, schema=schema).with_row_index("number")
        assert filter_rows(frame, expression.text)["number"].to_list() == kept


FRAME = pl.DataFrame(
    {
        "n": range(4),
        "id": ["1", "01", "2", None],
        "count": [3, 20, None, 7],
        "size": ["3", "20", None, "7"],
        "rate": [0.5, float("nan"), None, 2.0],
        "flag": ["true", None, "false", "true"],
        "day": [date(2024, 5, 1), None, date(2024, 5, 3), date(2023, 1, 1)],
        "time": pl.Series(
            [datetime(2024, 5, 1, 12), None, datetime(2024, 5, 3), datetime(2023, 1, 1)]
        ).dt.replace_time_zone("Europe/Berlin"),
        "level": pl.Series(["low", "high", None, "Lower"], dtype=pl.Categorical),
        "tags": [["a"], [], None, ["a", "low"]],
        "nothing": [None] * 4,
    }
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("count > 5", [1, 3]),
        ("size > 5", [1, 3]),
        ('size > "5"', [3]),
        ("size == count", [0, 1, 3]),
        ("count >= size", [0, 1, 3]),
        ('id == "01"', [1]),
        ('id in ["1", "2"]', [0, 2]),
        ("rate is missing", [1, 2]),
        ("rate > 1", [3]),
        ("rate != 0.5", [1, 2, 3]),
        ("flag", [0, 3]),
        ("flag == false", [2]),
        ('flag == "false"', [2]),
        ("not flag", [1, 2]),
        ('day >= "2024-05-01"', [0, 2]),
        ('day == "2024-05-01"', [0]),
        ('time == "2024-05-01 10:00"', [0]),
        ('time <= "2024-05-01T12:00+02:00"', [0, 3]),
        ("day < time", [0]),
        ('level starts_with "low"', [0, 3]),
        ("level in tags", []),
        ('tags contains "a"', [0, 3]),
        ('"a" not in tags', [1, 2]),
        ("tags is missing", [2]),
        ("nothing is missing", [0, 1, 2, 3]),
        ('nothing == "x"', []),
        ("n >= 1 and n < 3 or id is missing", [1, 2, 3]),
    ],
)
def test_each_type_of_column(expression: str, rows: list[int]) -> None:
    assert filter_rows(FRAME, expression, ids=["id"])["n"].to_list() == rows
    assert filter_rows(FRAME.clear(), expression, ids=["id"]).height == 0


@pytest.mark.parametrize(
    ("expression", "sentence", "at"),
    [
        ("cuont > 5", "The log has no column 'cuont'. Did you mean 'count'?", (0, 5)),
        ("id > 1", "Column 'id' holds text, but 1 is a number. Write \"1\".", (5, 6)),
        ("level == 1", "Column 'level' holds text, but 1 is a number. Write \"1\".", (9, 10)),
        ('count > "5"', "Column 'count' holds numbers, but \"5\" is text. Write it without quotes.", (8, 11)),
        ("count == true", "Column 'count' holds numbers, but true is true or false.", (9, 13)),
        ("flag < true", "Column 'flag' holds true or false, which have no order: use == or !=.", (0, 11)),
        ("size", "Column 'size' holds text: compare it, for example size is not missing.", (0, 4)),
        ("tags == 'a'", 'Column \'tags\' holds lists of texts: write "..." in tags.', (0, 11)),
        ("tags in ['a']", "Column 'tags' holds lists: write \"...\" in tags for each value.", (0, 4)),
        ("3 in tags", "Column 'tags' holds lists of texts, but 3 is a number. Write \"3\".", (0, 1)),
        ("count in tags", "Column 'count' holds numbers; only a text can be in a list.", (0, 5)),
        (
            "'a' in id",
            "Column 'id' holds text, not lists: after 'in' comes a list in brackets, or a column that holds lists.",
            (7, 9),
        ),
        ("count contains 'a'", "Column 'count' holds numbers; 'contains' tests text and lists.", (0, 5)),
        ("tags starts_with 'a'", "Column 'tags' holds lists of texts; 'starts_with' tests text.", (0, 4)),
        ("day > 3", "Column 'day' holds times, but 3 is a number. Write a time, as \"2024-05-01\".", (6, 7)),
        ("day > 'May'", "'May' is not a time: write it as \"2024-05-01\" or \"2024-05-01 12:30\".", (6, 11)),
        ("id == count", "Column 'id' holds text, column 'count' numbers: they cannot be compared.", (0, 11)),
        ("max(count) > 1", "'(' does not belong here: a filter calls no functions.", (3, 4)),
    ],
)  # fmt: skip
def test_a_wrong_expression_gets_a_sentence_and_a_caret(expression: str, sentence: str, at: tuple[int, int]) -> None:
    message = f"{sentence}\n  {expression}\n  {' ' * at[0]}{'^' * (at[1] - at[0])}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        filter_rows(FRAME, expression, ids=["id"])


FORMS = ["2024-05-01 10:00", "2024/5/1 18:00", "2024年5月1日 23时", "20240502", "2024-05-01T12:00Z", "soon", None]
"""Times in the forms of one column. In Shanghai the fifth is 20:00."""


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ('time < "2024-05-01 18:30"', [0, 1, 5, 6]),
        ('time >= "2024/5/1 18:00"', [1, 2, 3, 4, 5, 6]),
        ('"2024-05-01 20:00" < time', [2, 3, 5, 6]),
        ('time == "2024-05-01T12:00Z"', [4, 5, 6]),
        ('time in ["2024-05-02", "2024-05-01 18:00"]', [1, 3, 5, 6]),
        ('time != "soon"', [0, 1, 2, 3, 4, 6]),
        ('time > "2024-05-01" and n < 2', [0, 1]),
        ('not (time < "2024-05-02") and n > 4', [5, 6]),
        ("time is missing", [6]),
        ('time starts_with "2024-05"', [0, 4]),
        ('paid > "2024-05-01"', [1]),
        ('paid == "2024/4/30"', [0]),
        ('note > "2024-05-01"', [1, 2]),
    ],
)
def test_times_of_text_are_compared_as_times(expression: str, rows: list[int]) -> None:
    """A row that only an unreadable timestamp could leave out is kept, and rejected by the reader with its reason."""
    paid = ["2024/4/30", "2024/5/2", None, "2024-4-30", "2024-04-30", None, None]
    notes = ["1", "a", "b", None, "", "1", "1"]
    frame = pl.DataFrame({"n": range(7), "time": FORMS, "paid": paid, "note": notes})
    form = TimeForm("time", zone="Asia/Shanghai")
    assert filter_rows(frame, expression, times=form)["n"].to_list() == rows
    assert filter_rows(frame.clear(), expression, times=form).height == 0


def test_a_condition_on_timestamps_of_any_type() -> None:
    for times in ([1_714_557_600, 1_714_600_000], ["05/01/2024", "05/02/2024"], ["1714557600", "1714600000"]):
        form = TimeForm("time", pattern="%m/%d/%Y" if "05/01/2024" in times else None)
        frame = pl.DataFrame({"time": times})
        assert filter_rows(frame, 'time < "2024-05-01 20:00"', times=form).height == 1
    with pytest.raises(ValueError, match='"soon" is not a time: write it as "2024-05-01"'):
        filter_rows(frame, 'time < "soon"', times=form)


def test_a_role_in_place_of_a_column_names_the_column() -> None:
    frame = pl.DataFrame({"用户ID": ["a"], "行为": ["浏览"]})
    with pytest.raises(ValueError, match=r"The log has no column 'event'\. Did you mean '行为'\?"):
        filter_rows(frame, "event == '浏览'")
