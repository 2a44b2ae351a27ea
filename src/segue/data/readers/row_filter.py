"""Rows of a log that meet a filter expression: the evaluator of ``config/expressions.py`` over a polars frame.

A test of a missing value fails, its negation (``!=``, ``not in``, ``not``) holds, as over items. A text file has texts
only: a column of numbers as text is compared as numbers with a number, a column of "true" and "false" as truth values.
Ids stay texts. Text is ordered by code point. A column of times, of text too, is compared with a text as a time: with
"2024-05-01", in the zone of the log. A row is kept if only its unreadable timestamp decides: its reader rejects it.
"""

import difflib
import operator
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from segue.config.expression_tokens import Span, fault
from segue.config.expressions import (
    Column,
    Compare,
    Flag,
    In,
    Joined,
    Missing,
    Node,
    Not,
    TextTest,
    Value,
    Values,
    parse,
)
from segue.data.features.condition_columns import ConditionType, to_numbers, to_truth_values, typed_column
from segue.data.read_report import shorten_list
from segue.data.readers.column_roles import guess_role
from segue.data.readers.formats.raw_table import ROW
from segue.data.readers.timestamps import TimeForm

if TYPE_CHECKING:
    import polars as pl

_COMPARE: dict[str, Callable[..., "pl.Series"]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TYPE_OF_VALUE: dict[type, ConditionType] = {float: "numbers", bool: "true or false", str: "text"}
_SPELLED_VALUE = {float: "a number", bool: "true or false", str: "text"}


def filter_rows(
    frame: "pl.DataFrame", expression: str, ids: Collection[str] = (), times: TimeForm | None = None
) -> "pl.DataFrame":
    """Return the rows that meet a filter expression, in their order.

    Args:
        frame: the rows, with the log's own columns.
        expression: a filter, as ``Quantity > 0 and not (InvoiceNo starts_with "C")``.
        ids: columns that hold ids: their values are texts, also where all of them look like numbers.
        times: form of the log's times; None: no column of timestamps, and UTC.

    Raises:
        ValueError: a sentence with a caret where the text is no filter, names a column that the log does not have, or
            tests a column for a value of another type.
    """
    node = parse(expression)
    tests = _RowTests(frame.drop(ROW, strict=False), expression, ids, times or TimeForm())
    met = tests.node(node)
    if tests.met_unreadable_times:
        tests.unreadable_holds = True
        met = met | tests.node(node)
    return frame.filter(met)


class _RowTests:
    """One method per type of test; each returns a bool series without nulls, one value a row."""

    def __init__(self, frame: "pl.DataFrame", expression: str, ids: Collection[str], times: TimeForm) -> None:
        self._frame, self._expression, self._ids, self._times = frame, expression, ids, times
        self.unreadable_holds = False
        """Result of comparing an unreadable timestamp."""
        self._times_us: dict[str, pl.Series | None] = {}
        self._columns: dict[tuple[str, ConditionType | None], tuple[pl.Series, ConditionType]] = {}

    @property
    def met_unreadable_times(self) -> bool:
        """True if a timestamp that cannot be read was compared."""
        times_us = self._times_us.get(self._times.column or "")
        return times_us is not None and times_us.null_count() > 0

    def node(self, node: Node) -> "pl.Series":
        if isinstance(node, Joined):
            met = self.node(node.parts[0])
            for part in node.parts[1:]:
                met = met & self.node(part) if node.all else met | self.node(part)
            return met
        if isinstance(node, Not):
            return ~self.node(node.part)
        if isinstance(node, Missing):
            return self._column(node.column)[0].is_null()
        if isinstance(node, Flag):
            return self._flag(node.column)
        if isinstance(node, Compare):
            return self._compare(node)
        return self._in(node) if isinstance(node, In) else self._text_test(node)

    def _wrong(self, at: Span, sentence: str) -> NoReturn:
        fault(self._expression, at, sentence)

    def _column(self, column: Column, wanted_type: ConditionType | None = None) -> "tuple[pl.Series, ConditionType]":
        """Return a column with null for each missing value, and its type; text of ``wanted`` type is converted."""
        key = (column.name, wanted_type)
        if key not in self._columns:
            if column.name not in self._frame.columns:
                names = self._frame.columns
                close = difflib.get_close_matches(column.name, names, n=1)
                close = close or [name for name in names if guess_role(name) == column.name]
                hint = f"Did you mean '{close[0]}'?" if close else f"Its columns: {shorten_list(names)}."
                self._wrong(column.at, f"The log has no column '{column.name}'. {hint}")
            series, type_ = typed_column(self._frame[column.name])
            if type_ == "text" and wanted_type in ("numbers", "true or false") and column.name not in self._ids:
                converted = to_numbers(series) if wanted_type == "numbers" else to_truth_values(series)
                series, type_ = (series, type_) if converted is None else (converted, wanted_type)
            self._columns[key] = series, type_
        return self._columns[key]

    def _flag(self, column: Column) -> "pl.Series":
        series, type_ = self._column(column, "true or false")
        if type_ != "true or false":
            self._wrong(
                column.at,
                f"Column '{column.name}' holds {type_}: compare it, for example {column.name} is not missing.",
            )
        return series.fill_null(False)

    def _compare(self, node: Compare) -> "pl.Series":
        left, sign, right = node.left, node.operator, node.right
        if sign == "!=":
            return ~self._compare(Compare(left, "==", right, node.at))
        if isinstance(left, Value):
            left, sign, right = right, _MIRRORED[sign], left
        assert isinstance(left, Column)
        if isinstance(right, Column):
            return self._two_columns(left, sign, right, node.at)
        if (pair := self._as_times(left, right, sign)) is not None:
            return _COMPARE[sign](*pair).fill_null(self.unreadable_holds and left.name == self._times.column)
        series, type_ = self._matching(left, right)
        if type_ == "lists of texts":
            self._wrong(node.at, f"Column '{left.name}' holds lists of texts: write \"...\" in {left.name}.")
        self._check_order(left, type_, sign, node.at)
        return _COMPARE[sign](series, self._constant(type_, right)).fill_null(False)

    def _as_times(self, column: Column, value: Value, sign: str) -> "tuple[pl.Series, int] | None":
        """Return a column of times and the time that a text names, microseconds; None for other columns or values."""
        if not isinstance(value.value, str) or column.name not in self._frame.columns:
            return None
        time_us, is_timestamp = self._times.parse(value.value), column.name == self._times.column
        if time_us is None and is_timestamp and sign != "==":
            self._not_a_time(value)
        if time_us is None or (sign == "==" and not is_timestamp):
            return None
        if column.name not in self._times_us:
            self._times_us[column.name] = self._times.times_us(self._frame[column.name])
        times_us = self._times_us[column.name]
        return None if times_us is None else (times_us, time_us)

    def _two_columns(self, left: Column, sign: str, right: Column, at: Span) -> "pl.Series":
        (left_series, type_), (right_series, right_type) = self._column(left), self._column(right)
        for wanted_type in ("numbers", "true or false"):
            if type_ != right_type and wanted_type in (type_, right_type):
                (left_series, type_), (right_series, right_type) = (
                    self._column(left, wanted_type),
                    self._column(right, wanted_type),
                )
        if type_ == right_type == "text" and not {left.name, right.name} & {*self._ids}:
            numbers = self._column(left, "numbers"), self._column(right, "numbers")
            if numbers[0][1] == numbers[1][1] == "numbers":
                (left_series, type_), (right_series, right_type) = numbers
        if type_ != right_type or type_ == "lists of texts":
            self._wrong(
                at,
                f"Column '{left.name}' holds {type_}, column '{right.name}' {right_type}: they cannot be compared.",
            )
        self._check_order(left, type_, sign, at)
        return _COMPARE[sign](left_series, right_series).fill_null(False)

    def _check_order(self, column: Column, type_: ConditionType, sign: str, at: Span) -> None:
        if type_ == "true or false" and sign != "==":
            self._wrong(at, f"Column '{column.name}' holds true or false, which have no order: use == or !=.")

    def _in(self, node: In) -> "pl.Series":
        import polars as pl

        if isinstance(node.right, Values):
            assert isinstance(node.left, Column)
            return self._one_of(node.left, node.right)
        lists, type_ = self._column(node.right)
        if type_ != "lists of texts":
            self._wrong(
                node.right.at,
                f"Column '{node.right.name}' holds {type_}, not lists: after 'in' comes a list in brackets, or a "
                "column that holds lists.",
            )
        if isinstance(node.left, Value):
            self._matching(node.right, node.left)
            return lists.list.contains(str(node.left.value)).fill_null(False)
        texts, texts_type = self._column(node.left)
        if texts_type != "text":
            self._wrong(node.left.at, f"Column '{node.left.name}' holds {texts_type}; only a text can be in a list.")
        pairs = pl.DataFrame([texts.alias("own"), lists.alias("lists")])
        return (
            pairs.select(pl.col("lists").list.contains(pl.col("own")) & pl.col("own").is_not_null())
            .to_series()
            .fill_null(False)
        )

    def _one_of(self, column: Column, values: Values) -> "pl.Series":
        import polars as pl

        if self._column(column)[1] == "lists of texts":
            self._wrong(
                column.at, f"Column '{column.name}' holds lists: write \"...\" in {column.name} for each value."
            )
        met = pl.Series([False]).new_from_index(0, self._frame.height)
        for value in values.values:
            met = met | self._compare(Compare(column, "==", value, values.at))
        return met

    def _text_test(self, node: TextTest) -> "pl.Series":
        """Return a text test, both sides case-folded; ``contains`` on lists is membership."""

        series, type_ = self._column(node.column)
        if type_ == "lists of texts" and node.operator == "contains":
            self._matching(node.column, node.value)
            return series.list.contains(str(node.value.value)).fill_null(False)
        if type_ != "text":
            tested = "text and lists" if node.operator == "contains" else "text"
            self._wrong(node.column.at, f"Column '{node.column.name}' holds {type_}; '{node.operator}' tests {tested}.")
        self._matching(node.column, node.value)
        part = str(node.value.value).casefold()
        folded = ((text, text.casefold()) for text in series.drop_nulls().unique())
        matches = [
            text for text, low in folded if (part in low if node.operator == "contains" else low.startswith(part))
        ]
        return series.is_in(matches).fill_null(False)

    def _matching(self, column: Column, value: Value) -> "tuple[pl.Series, ConditionType]":
        """Return a column as the type of a value, with a sentence where it is of another one."""
        wanted_type = _TYPE_OF_VALUE[type(value.value)]
        series, type_ = self._column(column, wanted_type)
        if type_ == wanted_type or (wanted_type == "text" and type_ in ("times", "lists of texts")):
            return series, type_
        written = self._expression[value.at.start : value.at.stop]
        hint = ""
        if type_ in ("text", "lists of texts"):
            hint = f' Write "{written}".'
        elif type_ == "times":
            hint = ' Write a time, as "2024-05-01".'
        elif type_ == "numbers" and isinstance(value.value, str) and _is_number(value.value):
            hint = " Write it without quotes."
        spelled = _SPELLED_VALUE[type(value.value)]
        self._wrong(value.at, f"Column '{column.name}' holds {type_}, but {written} is {spelled}.{hint}")

    def _constant(self, type_: ConditionType, value: Value) -> str | float | bool:
        """Return a value to compare a column of a type with: microseconds UTC for times."""
        if type_ != "times":
            return value.value
        try:
            time = datetime.fromisoformat(str(value.value))
        except ValueError:
            self._not_a_time(value)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def _not_a_time(self, value: Value) -> NoReturn:
        written = self._expression[value.at.start : value.at.stop]
        self._wrong(value.at, f'{written} is not a time: write it as "2024-05-01" or "2024-05-01 12:30".')


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
