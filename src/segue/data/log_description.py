"""Description of a log as it was read: saved with a model, and the default for every later log of that model."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from segue.config.decode import decode_settings
from segue.config.history_events import HistoryEvents

TRAINING_ONLY = ("min_user_events", "min_item_events")
"""Options that choose training data. A later log, such as one day, has fewer events per user and item."""

ROLES = ("user_id", "item_id", "timestamp", "session_id", "event", "value")
"""Roles of a log's columns, in the order of messages."""


@dataclass(frozen=True)
class LogDescription:
    """Options of ``read_events`` that a log was read with, and the columns that it was read from."""

    options: dict = field(default_factory=dict)
    """Options that differ from their defaults, without ``columns``."""
    columns: dict = field(default_factory=dict)
    """Role -> column of the log, guessed ones included; "none" for a role that no column has."""
    suffix: str = ""
    """Suffix of the file, such as ``.csv``: an option ``format`` holds for files of this suffix."""
    context: tuple[str, ...] = ()
    """Context columns of the events."""

    def __post_init__(self) -> None:
        for role, column in self.columns.items():
            if not isinstance(role, str) or not isinstance(column, str):
                raise ValueError(f"columns must name a column for each role, as text, got {role!r} = {column!r}.")

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Return the description of plain values. ValueError for values that are none."""
        if not isinstance(values, Mapping):
            raise ValueError(f"The description of a log is a table, not {values!r}.")
        description = decode_settings(cls, values)
        columns = sorted(description.columns.items(), key=lambda pair: (*ROLES, pair[0]).index(pair[0]))
        return replace(description, columns=dict(columns))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {name: value for name, value in asdict(self).items() if value}

    def for_later_logs(self) -> Self:
        """Return the description without the options that choose training data."""
        return replace(self, options={n: value for n, value in self.options.items() if n not in TRAINING_ONLY})

    def history_events(self) -> HistoryEvents | None:
        """Return the event types that the log kept; None: all. ValueError for options that are not valid."""
        column = self.columns.get("event", "none")
        return HistoryEvents.of_log(self.options, None if column == "none" else column)

    def spell(self, overridden: Mapping[str, Any]) -> str:
        """Return the options as they are written on the command line; "" without any.

        Args:
            overridden: options of ``read_events`` that the caller gives in place of those described.
        """
        columns = {role: column for role, column in self.columns.items() if role not in overridden.get("columns", {})}
        parts = [f"--column {_quote(f'{role}={column}')}" for role, column in columns.items()]
        for name, value in self.options.items():
            if name in overridden:
                continue
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            if name in TRIM_NAMES:
                parts.append(f"--trim {name}={text.lower() if isinstance(value, bool) else text}")
            else:
                parts.append(f"--{name.replace('_', '-')} {_quote(text)}")
        return " ".join(parts)


TRIM_NAMES = (*TRAINING_ONLY, "session_gap_s", "drop_repeats", "max_user_item_events")
"""Options that ``--trim`` gives."""


def _quote(text: str) -> str:
    """Return a text as it is written in a shell, with double quotes around single ones."""
    return f'"{text}"' if "'" in text and not set('"$`\\!') & set(text) else shlex.quote(text)
