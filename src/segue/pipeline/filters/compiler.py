"""Masks of items that pass a filter: the evaluator of ``config/expressions.py`` over item columns.

The mask is applied before the top-k selection, so that a filter never shortens a list. Text is compared exactly and is
ordered by code point, so that dates as 2026-07-01 are in order. ``contains`` and ``starts_with`` fold case.

A test of a missing value fails, its negation (``!=``, ``not in``, ``not``) holds: an item without a brand is not of
brand A. Shape letters: V catalog size with PAD.
"""

import operator
from bisect import bisect_left
from collections.abc import Callable
from typing import NoReturn

import numpy as np

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
from segue.data.catalog import PAD
from segue.pipeline.filters.filter_cost import MAX_COST, check_cost
from segue.pipeline.filters.item_columns import (
    NO_CODE,
    TYPE_NAMES,
    BooleanColumn,
    ItemColumn,
    ItemColumns,
    ListColumn,
    NumberColumn,
    TextColumn,
    as_truth_values,
    code_of,
)

_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARE: dict[str, Callable[[np.ndarray, np.ndarray | float], np.ndarray]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MAX_CACHED_FILTERS = 256
"""Number of compiled filters in the cache."""


class Filters:
    """Compiled filters of one catalog, with a cache of the newest."""

    def __init__(self, columns: ItemColumns) -> None:
        self.columns = columns
        self._masks: dict[str, np.ndarray] = {}

    def mask(self, filter: str) -> np.ndarray:
        """Return the items that pass a filter, bool [V], read-only.

        Raises:
            ValueError: as ``compile_mask``.
        """
        return self._cached(filter, None)

    def request_mask(self, filter: str) -> np.ndarray:
        """Return the items that pass the filter of a request, bool [V], read-only.

        Raises:
            ValueError: as ``compile_mask``; the filter has too many tests for this catalog.
        """
        return self._cached(filter, MAX_COST)

    def _cached(self, filter: str, max_cost: int | None) -> np.ndarray:
        if filter not in self._masks:
            if len(self._masks) >= MAX_CACHED_FILTERS:
                self._masks.pop(next(iter(self._masks)), None)
            mask_V = compile_mask(filter, self.columns, max_cost)
            mask_V.flags.writeable = False
            self._masks[filter] = mask_V
        return self._masks[filter]


def compile_mask(filter: str, columns: ItemColumns, max_cost: int | None = None) -> np.ndarray:
    """Return the items that pass a filter, bool [V]; False for PAD.

    Args:
        filter: a filter expression; an empty one passes all items.
        columns: the items' columns.
        max_cost: largest cost, see ``MAX_COST``; None: no limit.

    Raises:
        ValueError: a sentence, the filter and a caret under the fault, for a text that is no filter, an unknown column,
            or a test that the column's type does not have; a filter above ``max_cost``.
    """
    if not filter.strip():
        mask_V = np.ones(columns.size, dtype=bool)
    else:
        tree = parse(filter)
        if max_cost is not None:
            check_cost(tree, columns, max_cost)
        mask_V = _Compiler(filter, columns).node(tree)
    mask_V[PAD] = False
    return mask_V


class _Compiler:
    """One method per type of test; each returns a new bool [V]."""

    def __init__(self, filter: str, columns: ItemColumns) -> None:
        self._filter = filter
        self._columns = columns

    def node(self, node: Node) -> np.ndarray:
        if isinstance(node, Joined):
            return self._joined(node)
        if isinstance(node, Not):
            return ~self.node(node.part)
        if isinstance(node, Missing):
            return ~self._column(node.column).is_known
        if isinstance(node, Flag):
            return self._flag(node.column)
        if isinstance(node, Compare):
            return self._compare(node)
        return self._in(node) if isinstance(node, In) else self._text_test(node)

    def _joined(self, node: Joined) -> np.ndarray:
        mask_V = self.node(node.parts[0])
        for part in node.parts[1:]:
            (np.logical_and if node.all else np.logical_or)(mask_V, self.node(part), out=mask_V)
        return mask_V

    def _wrong(self, at: Span, sentence: str) -> NoReturn:
        fault(self._filter, at, sentence)

    def _column(self, column: Column) -> ItemColumn:
        if column.name not in self._columns:
            self._wrong(column.at, self._columns.unknown_column_message(column.name))
        return self._columns[column.name]

    def _flag(self, name: Column) -> np.ndarray:
        column = as_truth_values(self._column(name))
        if not isinstance(column, BooleanColumn):
            self._wrong(
                name.at,
                f"Column '{name.name}' holds {TYPE_NAMES[type(column)]}: compare it, for example "
                f"{name.name} is not missing.",
            )
        return column.values_V == 1

    def _compare(self, node: Compare) -> np.ndarray:
        left, sign, right = node.left, node.operator, node.right
        if isinstance(left, Value):
            left, sign, right = right, _MIRRORED[sign], left
        assert isinstance(left, Column)
        if sign == "!=":
            return ~self._holds(left, "==", right, node.at)
        return self._holds(left, sign, right, node.at)

    def _holds(self, name: Column, sign: str, other: Column | Value, at: Span) -> np.ndarray:
        column = self._column(name)
        if isinstance(column, ListColumn):
            self._wrong(at, f"Column '{name.name}' holds lists of texts: write \"...\" in {name.name}.")
        if isinstance(column, BooleanColumn) and sign != "==":
            self._wrong(at, f"Column '{name.name}' holds true or false, which have no order: use == or !=.")
        if isinstance(other, Column):
            return self._two_columns(name, column, sign, other)
        column = as_truth_values(column) if isinstance(other.value, bool) else column
        self._check(name, column, other)
        if isinstance(column, NumberColumn):
            return _COMPARE[sign](column.values_V, float(other.value))  # NaN compares false
        if isinstance(column, BooleanColumn):
            return column.values_V == int(bool(other.value))
        assert isinstance(column, TextColumn)
        return _text(column, sign, str(other.value))

    def _two_columns(self, name: Column, left: ItemColumn, sign: str, other: Column) -> np.ndarray:
        if other.name not in self._columns:
            written = f'Text is written in quotes: "{other.name}".'
            self._wrong(other.at, f"{self._columns.unknown_column_message(other.name)} {written}")
        right = self._column(other)
        if type(left) is not type(right):
            self._wrong(
                name.at.to(other.at),
                f"Column '{name.name}' holds {TYPE_NAMES[type(left)]}, column '{other.name}' "
                f"{TYPE_NAMES[type(right)]}: they cannot be compared.",
            )
        is_known_V: np.ndarray = left.is_known & right.is_known
        if isinstance(left, TextColumn) and isinstance(right, TextColumn):
            ranks = {value: i for i, value in enumerate(sorted({*left.values, *right.values}))}
            codes = [np.array([ranks[v] for v in side.values] + [NO_CODE])[side.codes_V] for side in (left, right)]
            return _COMPARE[sign](codes[0], codes[1]) & is_known_V
        assert isinstance(left, NumberColumn | BooleanColumn) and isinstance(right, NumberColumn | BooleanColumn)
        return _COMPARE[sign](left.values_V, right.values_V) & is_known_V

    def _in(self, node: In) -> np.ndarray:
        if isinstance(node.right, Values):
            assert isinstance(node.left, Column)
            return self._one_of(node.left, node.right)
        column = self._column(node.right)
        if not isinstance(column, ListColumn):
            self._wrong(
                node.right.at,
                f"Column '{node.right.name}' holds {TYPE_NAMES[type(column)]}, not lists: after 'in' comes a list in "
                "brackets, or a column that holds lists.",
            )
        if isinstance(node.left, Column):
            return self._own_in_list(node.left, column)
        self._check(node.right, column, node.left)
        return column.items_with(code_of(column, str(node.left.value)))

    def _own_in_list(self, name: Column, lists: ListColumn) -> np.ndarray:
        """Return ``brand in related_brands``: each item's own text in its own list."""
        column_of_item = self._column(name)
        if not isinstance(column_of_item, TextColumn):
            self._wrong(
                name.at, f"Column '{name.name}' holds {TYPE_NAMES[type(column_of_item)]}; only a text can be in a list."
            )
        code_V = np.array([code_of(lists, value) for value in column_of_item.values] + [NO_CODE])[
            column_of_item.codes_V
        ]
        holder_N = np.repeat(np.arange(len(code_V)), np.diff(lists.offsets))
        out_V = np.zeros(len(code_V), dtype=bool)
        out_V[holder_N[lists.codes_N == code_V[holder_N]]] = True
        return out_V

    def _one_of(self, name: Column, values: Values) -> np.ndarray:
        column = self._column(name)
        if isinstance(column, ListColumn):
            self._wrong(name.at, f"Column '{name.name}' holds lists: write \"...\" in {name.name} for each value.")
        for value in values.values:
            self._check(name, column, value)
        if isinstance(column, TextColumn):
            codes = [code_of(column, str(value.value)) for value in values.values]
            return np.isin(column.codes_V, [code for code in codes if code != NO_CODE])
        assert isinstance(column, NumberColumn | BooleanColumn)
        return np.isin(column.values_V, [float(value.value) for value in values.values])

    def _text_test(self, node: TextTest) -> np.ndarray:
        """Return a text test, both sides case-folded; ``contains`` on lists is membership."""
        column = self._column(node.column)
        self._check_text(node, column)
        if isinstance(column, ListColumn):
            return column.items_with(code_of(column, str(node.value.value)))
        assert isinstance(column, TextColumn)
        part = str(node.value.value).casefold()
        folded = [value.casefold() for value in column.values]
        matches = [part in text if node.operator == "contains" else text.startswith(part) for text in folded]
        return np.array([*matches, False])[column.codes_V]

    def _check_text(self, node: TextTest, column: ItemColumn) -> None:
        if isinstance(column, TextColumn) or (isinstance(column, ListColumn) and node.operator == "contains"):
            self._check(node.column, column, node.value)
            return
        tested = "text and lists" if node.operator == "contains" else "text"
        name, holds = node.column.name, TYPE_NAMES[type(column)]
        self._wrong(node.column.at, f"Column '{name}' holds {holds}; '{node.operator}' tests {tested}.")

    def _check(self, name: Column, column: ItemColumn, value: Value) -> None:
        """Raise a sentence unless a value is of the column's type."""
        type_ = {NumberColumn: float, BooleanColumn: bool, TextColumn: str, ListColumn: str}[type(column)]
        if type(value.value) is type_:
            return
        written = self._filter[value.at.start : value.at.stop]
        value_type = {float: "a number", bool: "true or false", str: "text"}[type(value.value)]
        hint = f' Write "{written}".' if type_ is str else ""
        if type_ is float and _is_number(value.value):
            hint = " Write it without quotes."
        self._wrong(
            value.at, f"Column '{name.name}' holds {TYPE_NAMES[type(column)]}, but {written} is {value_type}.{hint}"
        )


def _is_number(value: str | float | bool) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return isinstance(value, str)


def _text(column: TextColumn, sign: str, value: str) -> np.ndarray:
    """Return a comparison of texts with a value: their order is that of their codes, since the values are sorted."""
    if sign == "==":
        return column.items_with(code_of(column, value))
    at = bisect_left(column.values, value)
    if sign in ("<=", ">") and at < len(column.values) and column.values[at] == value:
        at += 1
    below_V = column.codes_V < at
    return (below_V if sign in ("<", "<=") else ~below_V) & column.is_known
