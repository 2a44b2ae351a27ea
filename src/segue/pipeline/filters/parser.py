"""The filter language: text -> a tree of tests, by recursive descent. What the words mean is said in ``filters``.

::

    filter   = both ("or" both)*
    both     = single ("and" single)*
    single   = "not" single | "(" filter ")" | test
    test     = operand (("==" | "!=" | "<" | "<=" | ">" | ">=") operand)+
             | operand ["not"] "in" (column | "[" value ("," value)* "]")
             | column ["not"] "contains" value
             | column "is" ["not"] "missing"
             | column
    operand  = column | value
    value    = text in quotes | number | "true" | "false"
    column   = a name, in backquotes where it is not one word
"""

import math
from dataclasses import dataclass
from typing import NoReturn

from segue.pipeline.filters.tokenizer import Span, Token, fault, split

MAX_DEPTH = 50
"""How deep brackets and nots may lie in one another."""
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Column:
    """A column by name."""

    name: str
    at: Span


@dataclass(frozen=True)
class Value:
    """A text, a number, a truth value."""

    value: str | float | bool
    at: Span


@dataclass(frozen=True)
class Values:
    """A list in brackets; never empty."""

    values: tuple[Value, ...]
    at: Span


Operand = Column | Value


@dataclass(frozen=True)
class Compare:
    """Left and right, at least one of them a column, and one of COMPARISONS between."""

    left: Operand
    operator: str
    right: Operand
    at: Span


@dataclass(frozen=True)
class Among:
    """Whether the left is one of the right's."""

    left: Operand
    right: Column | Values
    at: Span


@dataclass(frozen=True)
class Contains:
    """Whether the value is part of the column's text, or one of its list."""

    column: Column
    value: Value


@dataclass(frozen=True)
class Missing:
    """Whether nothing is known."""

    column: Column


@dataclass(frozen=True)
class Flag:
    """Whether a column of truth values is true."""

    column: Column


@dataclass(frozen=True)
class Not:
    """The opposite."""

    part: "Node"


@dataclass(frozen=True)
class Joined:
    """All of the parts, or any of them."""

    all: bool
    parts: tuple["Node", ...]


Node = Compare | Among | Contains | Missing | Flag | Not | Joined


def parse(filter: str) -> Node:
    """The tree of a filter. ValueError, a sentence with the filter and a caret, where it is none."""
    return _Parser(filter).whole()


class _Parser:
    """Reads tokens from left to right; every method reads one rule of the grammar."""

    def __init__(self, filter: str) -> None:
        self._filter = filter
        self._tokens = split(filter)
        self._next = 0

    def whole(self) -> Node:
        node = self._joined(0)
        if self._token.type != "end":
            self._wrong(f"{self._spell()} does not belong here; 'and', 'or' or the filter's end does")
        return node

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._token
        self._next += token.type != "end"
        return token

    def _takes(self, *words: str) -> bool:
        """Goes over these words, keywords or marks, if they stand here."""
        ahead = self._tokens[self._next : self._next + len(words)]
        there = all(t.type in ("keyword", "mark") for t in ahead) and tuple(t.value for t in ahead) == words
        self._next += len(words) * there
        return there

    def _wrong(self, sentence: str) -> NoReturn:
        fault(self._filter, self._token.at, f"{sentence}.")

    def _spell(self) -> str:
        if self._token.type == "end":
            return "The filter's end"
        shown = self._filter[self._token.at.start : self._token.at.stop]
        return shown if shown[0] in "\"'`" else f"'{shown}'"

    def _joined(self, depth: int, *, any: bool = True) -> Node:
        parts = [self._joined(depth, any=False) if any else self._single(depth)]
        while self._takes("or" if any else "and"):
            parts.append(self._joined(depth, any=False) if any else self._single(depth))
        return parts[0] if len(parts) == 1 else Joined(not any, tuple(parts))

    def _single(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._wrong(f"Brackets and nots may lie {MAX_DEPTH} deep; this one lies deeper")
        if self._takes("not"):
            return Not(self._single(depth + 1))
        opening = self._token.at
        if self._takes("("):
            node = self._joined(depth + 1)
            if not self._takes(")"):
                fault(self._filter, opening, "This bracket is never closed.")
            return node
        return self._test()

    def _test(self) -> Node:
        left = self._operand()
        token = self._token
        if token.type == "mark" and token.value in COMPARISONS:
            return self._comparisons(left)
        negated = self._takes("not")
        if self._takes("in"):
            node: Node = self._among(left)
            return Not(node) if negated else node
        if self._takes("contains"):
            node = Contains(self._column(left), self._value())
            return Not(node) if negated else node
        if negated:
            self._wrong(f"{self._spell()} does not belong here; 'not' before it asks for 'in' or 'contains'")
        if self._takes("is", "not", "missing"):
            return Not(Missing(self._column(left)))
        if self._takes("is", "missing"):
            return Missing(self._column(left))
        if self._takes("is"):
            self._wrong(f"{self._spell()} does not belong here; after 'is' comes 'missing' or 'not missing'")
        return Flag(self._column(left))

    def _comparisons(self, left: Operand) -> Node:
        """``10 <= price < 20`` is two comparisons."""
        parts: list[Node] = []
        while self._token.type == "mark" and self._token.value in COMPARISONS:
            operator = self._take().value
            right = self._operand()
            if isinstance(left, Value) and isinstance(right, Value):
                fault(self._filter, left.at.to(right.at), "Two values are compared; one side must be a column.")
            parts.append(Compare(left, operator, right, left.at.to(right.at)))
            left = right
        return parts[0] if len(parts) == 1 else Joined(True, tuple(parts))

    def _among(self, left: Operand) -> Among:
        opening = self._token.at
        if not self._takes("["):
            right = self._operand()
            if isinstance(right, Value):
                fault(self._filter, right.at, "After 'in' comes a list in brackets, or a column that holds lists.")
            return Among(left, right, left.at.to(right.at))
        column = self._column(left)
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        closing = self._token.at
        if not self._takes("]"):
            fault(self._filter, opening, "This bracket is never closed: a list is written [1, 2, 3].")
        return Among(column, Values(tuple(values), opening.to(closing)), left.at.to(closing))

    def _column(self, operand: Operand) -> Column:
        if isinstance(operand, Value):
            fault(self._filter, operand.at, "A column must stand here, not a value.")
        return operand

    def _value(self) -> Value:
        operand = self._operand()
        if isinstance(operand, Column):
            hint = f'A value must stand here, not a column; text is written in quotes: "{operand.name}".'
            fault(self._filter, operand.at, hint)
        return operand

    def _operand(self) -> Operand:
        token = self._token
        if token.type == "name":
            return Column(token.value, self._take().at)
        if token.type == "text":
            return Value(token.value, self._take().at)
        if token.type == "number":
            if not math.isfinite(float(token.value)):
                self._wrong(f"{token.value} is too large a number")
            return Value(float(token.value), self._take().at)
        if token.type == "keyword" and token.value in ("true", "false"):
            return Value(token.value == "true", self._take().at)
        if token.type == "end":
            self._wrong("The filter ends where a column or a value must stand")
        self._wrong(f"{self._spell()} stands where a column or a value must stand")
