"""Context features of events for a served model, such as region and device: the columns that the model is trained on.

The context of an event is stored as it was sent, under the event's checksum. Each deployed version reads its own
columns from it. A version with more columns therefore needs no migration, and older events lack values in them.
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
"""Value by column; a missing column is an unknown value."""
NO_CONTEXT: ContextValues = MappingProxyType({})
"""Context of an event without any known value."""
EVENT_FIELDS = ("user_id", "session_id", "item_id", "event", "value")
"""Columns of a log that are fields of the event itself; all others are in its context."""
_MAX_SHARED = 1 << 16
"""Distinct rows kept for sharing. Above it the table starts anew, and older rows live as long as their events."""


class EventContextReader:
    """Reader of the context columns of a model. Equal rows are one object. Safe to use from several threads."""

    def __init__(self, column_types: Mapping[str, ColumnType]) -> None:
        """Read the given columns, each as its type."""
        self.column_types = dict(column_types)
        self._rows: dict[tuple[Any, ...], ContextValues] = {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "EventContextReader | None":
        """Return a reader for the context columns in a model's arrays, including models in a pipeline or ensemble.

        Returns:
            None for a model without context columns.

        Raises:
            ValueError: two models use one column with different types.
        """
        column_types: dict[str, ColumnType] = {}
        for key in sorted(arrays):
            if f".{key}".endswith(".contexts.columns"):
                for name, column_type, _ in json.loads(arrays[key].tobytes()):
                    if column_types.setdefault(name, column_type) != column_type:
                        raise ValueError(
                            f"Two models in one use the context '{name}', one as {column_types[name]}, one as "
                            f"{column_type}: train both on logs with one type of it."
                        )
        return cls(column_types) if column_types else None

    def from_stored(self, event: Event) -> ContextValues:
        """Return the context values of a stored event."""
        return self._read(msgspec.json.decode(event.context), event, event.time_us)

    def from_request(self, sent: EventIn, time_us: int) -> ContextValues:
        """Return the context values of an event in a request that is not stored.

        Args:
            sent: the event.
            time_us: its time, UTC microseconds.
        """
        return self._read(sent.context, sent, time_us)

    def _read(self, context: Mapping[str, Any], event: Event | EventIn, time_us: int) -> ContextValues:
        values = {**context, **{name: getattr(event, name) for name in EVENT_FIELDS}, "timestamp": time_us}
        key = tuple((type(values.get(name)), values.get(name)) for name in self.column_types)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= _MAX_SHARED:
                self._rows = {}
            row = self._rows[key] = cast_row(values, self.column_types) or NO_CONTEXT
        return row
