"""Filter expressions over the columns of a table: a text -> a tree of tests.

One language for rules over items and for rows of a log::

    category == "tea" and price < 20 and not (brand in ["A", "B"])
    10 <= price < 20              "gift" in tags              `Unit Price` > 0
    title contains "green"        invoice starts_with "C"     brand is missing        in_stock

A column whose name is not one word stands in backquotes. Python's own parser groups the tests (``not`` before ``and``
before ``or``); nothing is ever evaluated as Python. The meaning of each test is stated at the two evaluators:
``pipeline/filters/compiler.py`` for items, ``data/readers/row_filter.py`` for rows of a log.
"""

import ast
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from segue.config.expression_tokens import COMPARISONS, TEXT_TESTS, Span, Token, fault, scan, spell


@dataclass(frozen=True)
class Column:
    """A column by name."""

    name: str
    at: Span


@dataclass(frozen=True)
class Value:
    """A text, a number or a truth value."""

    value: str | float | bool
    at: Span


@dataclass(frozen=True)
class Values:
    """A list in brackets, never empty."""

    values: tuple[Value, ...]
    at: Span


Operand = Column | Value


@dataclass(frozen=True)
class Compare:
    """A comparison by one of COMPARISONS; at least one side is a column."""

    left: Operand
    operator: str
    right: Operand
    at: Span


@dataclass(frozen=True)
class In:
    """A test for the left operand among the values of a list or of a column of lists."""

    left: Operand
    right: Column | Values
    at: Span


@dataclass(frozen=True)
class TextTest:
    """A test for a part of a text, or for one of a list's values: one of TEXT_TESTS."""

    column: Column
    operator: str
    value: Value


@dataclass(frozen=True)
class Missing:
    """A test for a missing value."""

    column: Column


@dataclass(frozen=True)
class Flag:
    """A test of a column of truth values for true."""

    column: Column


@dataclass(frozen=True)
class Not:
    """The negation of a test."""

    part: "Node"


@dataclass(frozen=True)
class Joined:
    """Several tests: all of them must hold, or any."""

    all: bool
    parts: tuple["Node", ...]


Node = Compare | In | TextTest | Missing | Flag | Not | Joined


def parse(text: str) -> Node:
    """Return the tree of a filter expression.

    Raises:
        ValueError: a sentence, the expression, and a caret under the fault, for a text that is no expression.
    """
    tokens = scan(text)
    try:
        # In brackets, so that space before the expression is no indentation.
        tree = ast.parse(f"({_python(text, tokens)})", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        fault(text, Span(0, len(text)), "This is not a filter.")
    return _Converter(text, tokens).node(tree)


def columns_of(text: str) -> list[str]:
    """Return the names of the columns in a filter expression, each once, in their order."""
    operands = (token for token in scan(text) if token.is_operand)
    return list(dict.fromkeys(token.value for token in operands if token.constant is None))


def _python(text: str, tokens: list[Token]) -> str:
    """Return Python source of the same length, with a name ``x``, ``xx`` ... in the place of every operand.

    Python therefore reads neither numbers nor texts nor names, which it would normalize. A test that Python does not
    have is written ``is`` or ``is not``: it binds alike.
    """
    source = [" "] * len(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        word, length = token.value, token.at.stop - token.at.start
        if token.is_operand:
            word = "x" * length
        elif token.type == "keyword" and word in TEXT_TESTS:
            negated = before is not None and before.type == "keyword" and before.value == "not"
            word = "not" if negated else "is"
            if negated and before is not None:
                source[before.at.start : before.at.stop] = "is "
        elif token.type == "keyword" and word == "missing":
            word = "None"
        elif len(word) > length:  # "=" stands for "==": Python only groups, so any comparison does
            word = "<"
        source[token.at.start : token.at.stop] = word.ljust(length)
    return "".join(source)


class _Converter:
    """Python's tree -> ours. It knows names, lists, comparisons, and, or, not; anything else is a fault."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._by_start = {token.at.start: token for token in tokens}
        self._starts = [token.at.start for token in tokens]

    def node(self, tree: ast.expr) -> Node:
        if isinstance(tree, ast.BoolOp):
            return Joined(isinstance(tree.op, ast.And), tuple(self.node(part) for part in tree.values))
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
            return Not(self.node(tree.operand))
        if isinstance(tree, ast.Compare):
            return self._tests(tree)
        return Flag(self._column(self._operand(tree)))

    def _tests(self, tree: ast.Compare) -> Node:
        """Return one test; ``10 <= price < 20`` is two comparisons."""
        sides = [tree.left, *tree.comparators]
        operators = [self._operator(left, right) for left, right in pairwise(sides)]
        for i, operator in enumerate(operators):
            if i and (operator[-1].value not in COMPARISONS or operators[0][-1].value not in COMPARISONS):
                shown = spell(self._text, operator[0])
                fault(
                    self._text, operator[0].at, f"{shown} does not belong here; 'and', 'or' or the filter's end does."
                )
        word = next(token.value for token in operators[0] if token.value != "not")
        if word not in COMPARISONS:
            negated = any(token.value == "not" for token in operators[0])
            node = self._word_test(word, *sides)
            return Not(node) if negated else node
        operands = [self._operand(side) for side in sides]
        parts: list[Node] = []
        for left, operator, right in zip(operands, operators, operands[1:], strict=False):
            first, second = left, right
            if isinstance(left, Value) and isinstance(right, Value):
                if not isinstance(left.value, str) and not isinstance(right.value, str):
                    fault(self._text, left.at.to(right.at), "Two values are compared; one side must be a column.")
                if isinstance(left.value, str):
                    first = self._column(left)
                else:
                    second = self._column(right)
            parts.append(Compare(first, operator[0].value, second, left.at.to(right.at)))
        return parts[0] if len(parts) == 1 else Joined(True, tuple(parts))

    def _operator(self, left: ast.expr, right: ast.expr) -> list[Token]:
        """Return the words between two sides: ``<``, ``not in``, ``is`` ..."""
        first = bisect_left(self._starts, (left.end_col_offset or 0) - 1)
        last = bisect_left(self._starts, right.col_offset - 1)
        return [token for token in self._tokens[first:last] if token.value not in ("(", ")")]

    def _word_test(self, word: str, left: ast.expr, right: ast.expr) -> Node:
        operand = self._operand(left)
        if word == "is":
            return Missing(self._column(operand))
        if word in TEXT_TESTS:
            return TextTest(self._column(operand), word, self._value(self._operand(right)))
        if isinstance(right, ast.List | ast.Tuple):
            at = Span(right.col_offset - 1, (right.end_col_offset or 0) - 1)
            values = tuple(self._value(self._operand(part)) for part in right.elts)
            return In(self._column(operand), Values(values, at), operand.at.to(at))
        holder = self._operand(right)
        if isinstance(holder, Value):
            fault(self._text, holder.at, "After 'in' comes a list in brackets, or a column that holds lists.")
        return In(operand, holder, operand.at.to(holder.at))

    def _operand(self, tree: ast.expr) -> Operand:
        at = Span(tree.col_offset - 1, (tree.end_col_offset or 0) - 1)
        token = self._by_start.get(at.start)
        if not isinstance(tree, ast.Name) or token is None:
            fault(self._text, at, "A column or a value must stand here.")
        constant = token.constant
        return Column(token.value, token.at) if constant is None else Value(constant, token.at)

    def _column(self, operand: Operand) -> Column:
        """Return the column where only a column may stand: there a quoted text names one, as in SQL."""
        if isinstance(operand, Value) and isinstance(operand.value, str):
            return Column(operand.value, operand.at)
        if isinstance(operand, Value):
            fault(self._text, operand.at, "A column must stand here, not a value.")
        return operand

    def _value(self, operand: Operand) -> Value:
        if isinstance(operand, Column):
            hint = f'A value must stand here, not a column; text is written in quotes: "{operand.name}".'
            fault(self._text, operand.at, hint)
        return operand
