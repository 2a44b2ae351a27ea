"""Tokens of a filter expression with their positions, the order they may stand in, and the sentence about a fault.

``scan`` checks the order of tokens, brackets, length and nesting before anything is parsed. Its faults point at the
very token, and the parser behind it never meets a text that could exhaust the stack.
"""

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, NoReturn

MAX_LENGTH = 10_000
"""Characters of an expression."""
MAX_DEPTH = 50
"""Brackets and nots that may lie in one another."""
SHOWN = 100
"""Characters of an expression that are shown around a fault."""
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
TEXT_TESTS = frozenset({"contains", "starts_with"})
_VALUES = {"true": True, "True": True, "false": False, "False": False}
_MISSING = frozenset({"missing", "None"})
KEYWORDS = frozenset({"and", "or", "not", "in", "is", *TEXT_TESTS, *_VALUES, *_MISSING})

TokenType = Literal["name", "text", "number", "keyword", "mark", "end"]


@dataclass(frozen=True)
class Span:
    """Characters of an expression from ``start`` up to ``stop``."""

    start: int
    stop: int

    def to(self, other: "Span") -> "Span":
        """Return the span from this start to the other's end."""
        return Span(self.start, other.stop)


@dataclass(frozen=True)
class Token:
    """One word or mark: its type, its value (a quoted text without quotes) and its position."""

    type: TokenType
    value: str
    at: Span

    @property
    def is_operand(self) -> bool:
        """True for a column and a value."""
        return self.type in ("name", "text", "number") or (self.type == "keyword" and self.value in _VALUES)

    @property
    def constant(self) -> str | float | bool | None:
        """The value that the token stands for; None for a column."""
        if self.type == "keyword":
            return _VALUES[self.value]
        return float(self.value) if self.type == "number" else self.value if self.type == "text" else None


def fault(text: str, at: Span, sentence: str) -> NoReturn:
    """Raise the ValueError about a part of an expression.

    A character that is two columns wide on a screen (a Chinese one) gets two carets, so that the caret stands right.
    A long expression is shown around the fault only.

    Args:
        text: the whole expression.
        at: the faulty part.
        sentence: the first line of the message.

    Raises:
        ValueError: always: the sentence, the expression, and carets under the fault.
    """
    first = max(0, at.start - SHOWN // 2) if len(text) > SHOWN else 0
    last = min(len(text), first + SHOWN)
    before, after = "..." if first else "", "..." if last < len(text) else ""
    plain = "".join(c if c.isprintable() else " " for c in text[first:last])
    lead = len(before) + sum(_width(c) for c in plain[: at.start - first])
    carets = max(1, sum(_width(c) for c in plain[at.start - first : at.stop - first]))
    raise ValueError(f"{sentence}\n  {before}{plain}{after}\n  {' ' * lead}{'^' * carets}")


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_REST = re.compile(r"[^\s<>=!()\[\],]+")
_NAME = re.compile(r"[^\W\d]\w*")
_MARK = re.compile(r"==|!=|<=|>=|[<>=()\[\],]")
_INSTEAD = {"&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!=", "“": '"', "”": '"'}
_INSTEAD |= {"‘": "'", "’": "'", "，": ",", "（": "(", "）": ")", "《": '"', "》": '"', "≤": "<=", "≥": ">=", "≠": "!="}
_WRONG = re.compile("|".join(re.escape(mark) for mark in sorted(_INSTEAD, key=len, reverse=True)))
_SQL = {
    "AND": "'and'",
    "OR": "'or'",
    "NOT": "'not'",
    "IN": 'in ["a", "b"]',
    "IS": "price is missing",
    "NULL": "price is missing",
    "LIKE": 'title contains "tea", or title starts_with "tea"',
    "ILIKE": 'title contains "tea", or title starts_with "tea"',
    "BETWEEN": "10 <= price <= 20",
    "TRUE": "true",
    "FALSE": "false",
}
"""Words of SQL -> the right spelling here."""


def scan(text: str) -> list[Token]:
    """Return the tokens of an expression, with an end token behind them.

    Raises:
        ValueError: a sentence with carets for a text that is longer than MAX_LENGTH, nested deeper than MAX_DEPTH, or
            has something that is no token, or a token where none of its type may stand.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(
            f"A filter may have {MAX_LENGTH:,} characters, this one has {len(text):,}: add a column that marks "
            "those rows, and filter by it."
        )
    tokens, at = [], 0
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
            continue
        tokens.append(_next(text, at))
        at = tokens[-1].at.stop
    tokens.append(Token("end", "", Span(len(text), len(text))))
    _Order(text, tokens).check()
    return tokens


def _next(text: str, at: int) -> Token:
    if text[at] in "\"'`":
        return _quoted(text, at)
    if number := _NUMBER.match(text, at):
        if rest := _REST.match(text, number.end()):
            hint = f"a number has no unit: write {_printable(number.group())}"
            if any(c.isdigit() for c in rest.group()):
                hint = "text, such as a date, is written in quotes"
            fault(text, Span(at, rest.end()), f"'{_printable(text[at : rest.end()])}' is not a number; {hint}.")
        return Token("number", number.group(), Span(at, number.end()))
    if name := _NAME.match(text, at):
        word = name.group()
        return Token("keyword" if word in KEYWORDS else "name", word, Span(at, name.end()))
    wrong = _WRONG.match(text, at)
    if (mark := _MARK.match(text, at)) and (wrong is None or len(mark.group()) >= len(wrong.group())):
        value = "==" if mark.group() == "=" else mark.group()  # as SQL and spreadsheets write it
        return Token("mark", value, Span(at, mark.end()))
    if wrong:
        right = _INSTEAD[wrong.group()]
        right = right if right in ('"', "'") else f"'{right}'"
        fault(text, Span(at, wrong.end()), f"'{wrong.group()}' is not a word of a filter; write {right}.")
    fault(text, Span(at, at + 1), f"'{_printable(text[at])}' is not a word of a filter.")


def _printable(part: str) -> str:
    """Return a part of an expression as a message shows it: shortened, without control characters."""
    part = part if len(part) <= SHOWN else f"{part[:SHOWN]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in part)


def _quoted(text: str, start: int) -> Token:
    """Return a text in quotes or a column in backquotes; a backslash before a quote or a backslash keeps it."""
    quote, parts, at = text[start], [], start + 1
    while at < len(text) and text[at] != quote:
        if text[at] == "\\":
            at += 1
            if text[at : at + 1] not in {quote, "\\"}:
                fault(text, Span(at - 1, at + 1), f"A backslash stands only before {quote} or another backslash.")
        parts.append(text[at])
        at += 1
    if at >= len(text):
        fault(text, Span(start, len(text)), f"This {quote} is never closed.")
    return Token("name" if quote == "`" else "text", "".join(parts), Span(start, at + 1))


class _Order:
    """Check of the order of tokens: an operand, an operator, an operand and so on, with brackets in pairs."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0
        self._open: list[tuple[Token, bool]] = []
        """Open brackets, each with True for the bracket of a list."""
        self._nots: list[int] = [0]
        """Consecutive nots outside of brackets and inside of each open one."""

    def check(self) -> None:
        try:
            self._operand()
            while self._operator():
                self._operand()
        except ValueError as error:
            self._explain_sql(error)
        if self._open:
            bracket, is_list = self._open[-1]
            example = ": a list is written [1, 2, 3]" if is_list else ""
            fault(self._text, bracket.at, f"This bracket is never closed{example}.")

    def _explain_sql(self, error: ValueError) -> NoReturn:
        """Raise a sentence about the first word of SQL up to the fault, or the fault itself."""
        for token in self._tokens[: self._next + 2]:
            plain = token.type == "name" and self._text[token.at.start] != "`"
            if plain and token.value.upper() in _SQL:
                right = _SQL[token.value.upper()]
                fault(self._text, token.at, f"'{token.value}' is a word of SQL; write {right}.")
        raise error

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _wrong(self, sentence: str) -> NoReturn:
        fault(self._text, self._token.at, f"{sentence}.")

    def _is(self, *words: str) -> bool:
        """Go over the next keyword or mark if it is one of these."""
        matches = self._token.type in ("keyword", "mark") and self._token.value in words
        self._next += matches
        return matches

    def _operand(self) -> None:
        """Go over nots and opening brackets, then a column or a value."""
        while self._begins_deeper():
            if len(self._open) + sum(self._nots) > MAX_DEPTH:
                self._next -= 1
                self._wrong(f"Brackets and nots may lie {MAX_DEPTH} deep; this one lies deeper")
        token = self._token
        if not token.is_operand:
            spelled = "The filter ends" if token.type == "end" else f"{spell(self._text, token)} stands"
            hint = "; write 'is missing' or 'is not missing'" if token.value in _MISSING and token.type != "end" else ""
            self._wrong(f"{spelled} where a column or a value must stand{hint}")
        if token.type == "number" and math.isinf(float(token.value)):
            self._wrong(f"{_printable(token.value)} is too large a number")
        self._next += 1

    def _begins_deeper(self) -> bool:
        """Go over a not or an opening bracket, where it may stand."""
        before = self._tokens[self._next - 1].value if self._next else "and"
        if self._open and self._open[-1][1]:
            return False
        if before in ("and", "or", "not", "(") and self._is("not"):
            self._nots[-1] += 1
            return True
        token = self._token
        if self._is("(") or (before == "in" and self._is("[")):
            self._open.append((token, before == "in"))
            self._nots.append(0)
            return True
        return False

    def _operator(self) -> bool:
        """Go over everything between an operand and the next one; False at the end."""
        while self._closes() or self._is("is"):
            if self._tokens[self._next - 1].value == "is":
                self._is("not")
                if not self._is(*_MISSING):
                    shown = spell(self._text, self._token)
                    self._wrong(f"{shown} does not belong here; after 'is' comes 'missing' or 'not missing'")
        if self._token.type == "end":
            return False
        if self._open and self._open[-1][1]:
            if not self._is(","):
                fault(self._text, self._open[-1][0].at, "This bracket is never closed: a list is written [1, 2, 3].")
            return True
        if self._is("and", "or"):
            self._nots[-1] = 0
            return True
        if self._token.type == "mark" and self._token.value == "(":
            self._wrong("'(' does not belong here: a filter calls no functions")
        negated = self._is("not")
        if self._is("in", *TEXT_TESTS) or (not negated and self._is(*COMPARISONS)):
            return True
        why = "'not' before it needs 'in' or 'contains'" if negated else "'and', 'or' or the filter's end does"
        self._wrong(f"{spell(self._text, self._token)} does not belong here; {why}")

    def _closes(self) -> bool:
        if not self._open or not self._is({"(": ")", "[": "]"}[self._open[-1][0].value]):
            return False
        self._open.pop()
        self._nots.pop()
        return True


def spell(text: str, token: Token) -> str:
    """Return a token as a message shows it: as it is written, in quotes."""
    if token.type == "end":
        return "The filter's end"
    shown = _printable(text[token.at.start : token.at.stop])
    return shown if shown[0] in "\"'`" else f"'{shown}'"
