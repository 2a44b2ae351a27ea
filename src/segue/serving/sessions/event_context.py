"""What a served model learned from of an event's circumstances: region and device, say, as the log it read had them.

An event's context is stored with it as it was sent, under its checksum; each version at work reads its own columns out
of it, so that a version that learned from more needs no migration, and an event from before is one without context.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from segue.data.features.cell_casting import cast_row
from segue.data.features.column_types import ColumnType
from segue.serving.schemas.requests import EventIn
from segue.serving.store.event import Event

ContextValues = Mapping[str, Any]
"""Column -> cell; a column that is missing is not known."""
NO_CONTEXT: ContextValues = MappingProxyType({})
EVENT_FIELDS = ("user_id", "session_id", "item_id", "event", "value")
"""Columns of a log that are an event's own fields; any other stands in its context."""
_SHARED = 1 << 16
"""Rows that later events may share. Where more differ, those of before live as long as their events do."""


class EventContextReader:
    """Of events, the columns that a model learned from; equal rows are one object. From any thread."""

    def __init__(self, kinds: Mapping[str, ColumnType]) -> None:
        self.column_types = dict(kinds)
        self._rows: dict[tuple[Any, ...], ContextValues] = {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "EventContextReader | None":
        """What a model, or any model in a pipeline or an ensemble, learned from; None where that is nothing.

        ValueError where two of them take one column differently.
        """
        kinds: dict[str, ColumnType] = {}
        for key in sorted(arrays):
            if f".{key}".endswith(".contexts.columns"):
                for name, kind, _ in json.loads(arrays[key].tobytes()):
                    if kinds.setdefault(name, kind) != kind:
                        raise ValueError(
                            f"Two models in one learned from the context '{name}', one as {kinds[name]}, one as {kind}:"
                            " train both on logs with one kind of it."
                        )
        return cls(kinds) if kinds else None

    def from_stored(self, event: Event) -> ContextValues:
        """Of an event in the log."""
        return self._told(msgspec.json.decode(event.context), event, event.time_us)

    def from_request(self, sent: EventIn, time_us: int) -> ContextValues:
        """Of an event that came with a question, and is in no log yet."""
        return self._told(sent.context, sent, time_us)

    def _told(self, context: Mapping[str, Any], event: Event | EventIn, time_us: int) -> ContextValues:
        values = {**context, **{name: getattr(event, name) for name in EVENT_FIELDS}, "timestamp": time_us}
        asked = tuple((type(values.get(name)), values.get(name)) for name in self.column_types)
        found = self._rows.get(asked)
        if found is None:
            if len(self._rows) >= _SHARED:
                self._rows = {}
            found = self._rows[asked] = cast_row(values, self.column_types) or NO_CONTEXT
        return found
