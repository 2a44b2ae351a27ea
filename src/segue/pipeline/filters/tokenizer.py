"""The words of a filter, each with its place; and the sentence, filter and caret of a fault in one."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, NoReturn

MAX_LENGTH = 10_000
"""Characters in a filter. A longer one is a list of items, which has a setting of its own."""
SHOWN = 100
"""So many characters of a filter are shown around a fault."""
KEYWORDS = frozenset({"and", "or", "not", "in", "is", "missing", "contains", "true", "false"})

Type = Literal["name", "text", "number", "keyword", "mark", "end"]


@dataclass(frozen=True)
class Span:
    """Where something stands in a filter: the characters from ``start`` up to ``stop``."""

    start: int
    stop: int

    def to(self, other: "Span") -> "Span":
        """From here to the other's end."""
        return Span(self.start, other.stop)


@dataclass(frozen=True)
class Token:
    """One word: what it is, what it means (a quoted text without its quotes), and where it stands."""

    type: Type
    value: str
    at: Span


def fault(filter: str, at: Span, sentence: str) -> NoReturn:
    """ValueError: the sentence, the filter, and a caret under the fault.

    Characters that take two columns on a screen (Chinese ones) get two carets, so that the caret stands right. Of a
    long filter only the surroundings are shown.
    """
    first = max(0, at.start - SHOWN // 2) if len(filter) > SHOWN else 0
    last = min(len(filter), first + SHOWN)
    before, after = "..." if first else "", "..." if last < len(filter) else ""
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", filter[first:last])
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
_MARK = re.compile(r"==|!=|<=|>=|[<>()\[\],]")
_INSTEAD = {"=": "==", "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!=", "“": '"', "”": '"'}
_INSTEAD |= {"‘": "'", "’": "'", "，": ",", "（": "(", "）": ")", "《": '"', "》": '"', "≤": "<=", "≥": ">=", "≠": "!="}
_WRONG = re.compile("|".join(re.escape(mark) for mark in sorted(_INSTEAD, key=len, reverse=True)))


def split(filter: str) -> list[Token]:
    """A filter's words and an end. ValueError, with a caret, where something is none."""
    if len(filter) > MAX_LENGTH:
        raise ValueError(
            f"A filter may have {MAX_LENGTH:,} characters, this one has {len(filter):,}: "
            "name single items in 'exclude' or with a column of their own."
        )
    tokens, at = [], 0
    while at < len(filter):
        if space := _SPACE.match(filter, at):
            at = space.end()
            continue
        tokens.append(_next(filter, at))
        at = tokens[-1].at.stop
    return [*tokens, Token("end", "", Span(len(filter), len(filter)))]


def _next(filter: str, at: int) -> Token:
    if filter[at] in "\"'`":
        return _quoted(filter, at)
    if number := _NUMBER.match(filter, at):
        if rest := _REST.match(filter, number.end()):
            hint = f"a number has no unit: write {number.group()}"
            if any(c.isdigit() for c in rest.group()):
                hint = "text, such as a date, is written in quotes"
            fault(filter, Span(at, rest.end()), f"'{filter[at : rest.end()]}' is not a number; {hint}.")
        return Token("number", number.group(), Span(at, number.end()))
    if name := _NAME.match(filter, at):
        word = name.group()
        return Token("keyword" if word in KEYWORDS else "name", word, Span(at, name.end()))
    wrong = _WRONG.match(filter, at)
    if (mark := _MARK.match(filter, at)) and (wrong is None or len(mark.group()) >= len(wrong.group())):
        return Token("mark", mark.group(), Span(at, mark.end()))
    if wrong:
        fault(filter, Span(at, wrong.end()), f"'{wrong.group()}' is not a word of a filter; write {_quote(wrong)}.")
    fault(filter, Span(at, at + 1), f"'{filter[at]}' is not a word of a filter.")


def _quote(wrong: re.Match[str]) -> str:
    right = _INSTEAD[wrong.group()]
    return right if right in ('"', "'") else f"'{right}'"


def _quoted(filter: str, start: int) -> Token:
    """A text in quotes, or a column's name in backquotes; a backslash before a quote or a backslash keeps it."""
    quote, parts, at = filter[start], [], start + 1
    while at < len(filter) and filter[at] != quote:
        if filter[at] == "\\":
            at += 1
            if filter[at : at + 1] not in {quote, "\\"}:
                fault(filter, Span(at - 1, at + 1), f"A backslash stands only before {quote} or another backslash.")
        parts.append(filter[at])
        at += 1
    if at >= len(filter):
        fault(filter, Span(start, len(filter)), f"This {quote} is never closed.")
    return Token("name" if quote == "`" else "text", "".join(parts), Span(start, at + 1))
