"""Event types that the histories of a model hold: those that the log of its training kept.

A log read with the types click and purchase, or with the condition ``behavior == "buy"``, trains a model of these
events alone. A server stores events of all types, so it leaves the others out of the histories.
"""

import dataclasses
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from segue.config.expressions import Column, Compare, Flag, In, Joined, Missing, Node, Not, TextTest, Value, parse
from segue.config.flag_words import flag_words

ALL = "all"
"""Word for events of all types in settings."""
_CACHED_TYPES = 4096
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class HistoryEvents:
    """Event types that enter histories: ``"purchase" in events``. Safe to use from several threads."""

    def __init__(
        self, types: Collection[str] | None = None, conditions: Sequence[Node] = (), where: str = "", ignored: str = ""
    ) -> None:
        """Hold a rule on the type of an event.

        Args:
            types: event types, compared as they are but for space around them; None: any type.
            conditions: tests of a filter expression that all must hold; each names the column of event types only.
            where: expression of the conditions, for messages.
            ignored: the same expression where some of its tests name further columns; "": all tests apply.
        """
        self.types = None if types is None else tuple(types)
        """Event types; None: any type that meets the conditions."""
        self.where = where
        self.ignored = ignored
        self._conditions = tuple(conditions)
        self._holds = lru_cache(_CACHED_TYPES)(self._evaluate)

    @classmethod
    def of_log(cls, options: Mapping[str, Any], column: str | None) -> "HistoryEvents | None":
        """Return the rule of a log that was read with some options.

        Args:
            options: ``events`` and ``where`` of ``read_events``.
            column: column of the event types; None: the log has none.

        Returns:
            None where events of all types enter, and no condition is left out.

        Raises:
            ValueError: the types are no texts, or the condition is no filter expression.
        """
        types, where = options.get("events"), options.get("where") or ""
        if types is not None and not (isinstance(types, list | tuple) and all(isinstance(t, str) for t in types)):
            raise ValueError(f"events must be a list of event types, got {types!r}.")
        tests = list(_tests(parse(where))) if where else []
        conditions = [test for test in tests if column is not None and _columns(test) == {column}]
        if types is None and not tests:
            return None
        return cls(types, conditions, where if conditions else "", where if len(conditions) < len(tests) else "")

    @property
    def selects(self) -> bool:
        """True if events of some type do not enter histories."""
        return self.types is not None or bool(self._conditions)

    def __contains__(self, event: object) -> bool:
        return isinstance(event, str) and self._holds(event)

    def _evaluate(self, event: str) -> bool:
        if self.types is not None and event.strip() not in self.types:
            return False
        return all(_is_met(condition, event) for condition in self._conditions)

    @property
    def rule(self) -> str:
        """Clause that names the types: "of the types click, purchase"; "" for all types."""
        parts = [f"of the types {', '.join(self.types)}"] if self.types is not None else []
        parts += [f"that meet the condition on event types in {self.where}"] if self._conditions else []
        return " and ".join(parts)

    def sentences(self) -> list[str]:
        """Return sentences about events that do not enter histories, and about a condition that is not applied."""
        out = []
        if self.selects:
            out.append(f"Histories hold only events {self.rule}: events of other types are stored and left out.")
        if self.ignored:
            out.append(
                f"The condition of the training log ({self.ignored}) names further columns than the event type. A "
                "server's events lack these, so these tests are not applied to histories."
            )
        return out


def _tests(node: Node) -> Iterator[Node]:
    """Yield the tests that all must hold."""
    if isinstance(node, Joined) and node.all:
        for part in node.parts:
            yield from _tests(part)
    else:
        yield node


def _columns(node: Any) -> set[str]:
    """Return the names of the columns in a tree."""
    if isinstance(node, Column):
        return {node.name}
    if isinstance(node, tuple):
        return {name for part in node for name in _columns(part)}
    if dataclasses.is_dataclass(node):
        return {name for one in dataclasses.fields(node) for name in _columns(getattr(node, one.name))}
    return set()


def _is_met(node: Node, event: str) -> bool:
    """Return whether an event type meets a test, as ``data/readers/row_filter.py`` states over the rows of a log."""
    if isinstance(node, Joined):
        parts = (_is_met(part, event) for part in node.parts)
        return all(parts) if node.all else any(parts)
    if isinstance(node, Not):
        return not _is_met(node.part, event)
    if isinstance(node, Compare):
        return _is_compared(node.left, node.operator, node.right, event)
    if isinstance(node, In):  # an event type is no list
        values = () if isinstance(node.right, Column) else node.right.values
        return any(_is_compared(node.left, "==", value, event) for value in values)
    return _is_text(node, event)


def _is_text(node: Missing | Flag | TextTest, event: str) -> bool:
    if isinstance(node, Missing):
        return False
    if isinstance(node, Flag):
        return bool(flag_words([event]).get(True))
    part, low = str(node.value.value).casefold(), event.casefold()
    return part in low if node.operator == "contains" else low.startswith(part)


def _is_compared(left: Column | Value, sign: str, right: Column | Value, event: str) -> bool:
    if sign == "!=":
        return not _is_compared(left, "==", right, event)
    wanted = next((side.value for side in (left, right) if isinstance(side, Value)), event)
    own = event if isinstance(wanted, str) else _converted(event, type(wanted))
    sides = [own if isinstance(side, Column) else side.value for side in (left, right)]
    return None not in sides and _COMPARE[sign](*sides)


def _converted(event: str, wanted: type) -> float | bool | None:
    """Return an event type as a number or a truth value; None for another text."""
    if wanted is bool:
        words = flag_words([event])
        return next((value for value, texts in words.items() if texts), None)
    try:
        return float(event)
    except ValueError:
        return None
