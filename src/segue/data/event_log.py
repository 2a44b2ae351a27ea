"""Event log: users' interactions with items in time. Readers lose nothing: a bad row is rejected with its place and a
reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.event_contexts import EventContexts, context_column_types, join_user_columns
from segue.data.id_codes import encode_ids
from segue.data.log_description import LogDescription
from segue.data.read_report import ReadReport
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    import polars as pl

    from segue.data.features.column_types import ColumnType
    from segue.data.features.encoding import ItemFeatures
    from segue.data.item_table import ItemTable, UserTable


@dataclass(frozen=True)
class EventLog:
    """Log of events, with an optional table of items and optional context columns.

    ``segue.read_events`` makes one from a file or a table, ``segue.split_log`` cuts it into train, validation and test.
    """

    frame: "pl.DataFrame"
    """Events in file order. Columns: ``user_id`` and ``item_id`` text, ``timestamp`` int64 UTC microseconds; optional
    ``session_id`` text, ``event`` text, ``value`` float64; all other columns of the source."""
    has_times: bool
    """False for a log that has an order only; ``timestamp`` is then the row number."""
    report: ReadReport
    is_labeled_test: bool = False
    """True for a fixed test set: the last event of each row is the target."""
    items: "ItemTable | None" = None
    """Item features; items without an event can be recommended as well. None: no table."""
    context: "Mapping[str, ColumnType]" = field(default_factory=dict)
    """Context columns of the events (region, device) and their types; sequences carry them."""

    def __len__(self) -> int:
        return self.frame.height

    @property
    def description(self) -> LogDescription:
        """Description of the log as it was read, with its context columns: saved with every model."""
        return replace(self.report.description, context=tuple(self.context))

    def catalog(self) -> Catalog:
        """Return all items of the log and of its item table, sorted as text.

        The order is independent of time, popularity and file order, so that an index reveals none of them.
        """
        ids = self.frame["item_id"]
        if self.items is not None:
            ids = ids.append(self.items.frame["item_id"])
        return Catalog(ids.unique().sort().to_list())

    def with_items(self, items: "ItemTable") -> "EventLog":
        """Return the same log with an item table: its items join the catalog, and splits carry its features.

        Item features count as known at any time. Leave out columns that are only known later (ratings, sales). Rows
        whose id is an item of the log in another spelling are left out (see ``ItemTable.matched_with``).
        """
        return replace(self, items=items.matched_with(self.frame["item_id"]))

    def with_users(self, users: "UserTable") -> "EventLog":
        """Return the same log with the columns of a user table (see ``read_users``) added to each event."""
        return replace(self, frame=join_user_columns(self.frame, users.frame))

    def with_context(self, columns: "Iterable[str] | Mapping[str, ColumnType]") -> "EventLog":
        """Return the same log whose sequences carry context columns (region, device). A missing cell stays missing.

        Args:
            columns: names of columns, whose types are inferred as in an item table; or a mapping of name to type.

        Raises:
            ValueError: the log has no such column.
        """
        types = context_column_types(self.frame, columns) | (dict(columns) if isinstance(columns, Mapping) else {})
        return replace(self, context=types)

    def sequences(
        self, catalog: Catalog, *, by: str = "user", with_event_types: bool = False
    ) -> tuple[Sequences, list[str]]:
        """Return the events as one sequence per user or session, by time; ties keep their file order.

        Args:
            catalog: index of the items; an item outside it becomes PAD.
            by: "user" or "session". "session" needs a ``session_id`` column; without one each user is one session.
            with_event_types: give each event its type, which the rules of a placement may read.

        Returns:
            The sequences, and the user or session id of each row, sorted as text.
        """
        key = "session_id" if by == "session" and "session_id" in self.frame.columns else "user_id"
        items = _item_indices(self.frame["item_id"], catalog)
        keys, codes = encode_ids(self.frame[key])
        times = self.frame["timestamp"].to_numpy()
        order = np.lexsort((times, codes))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(keys)))]).astype(np.int64)
        ordered_times = times[order] if self.has_times else None
        contexts = EventContexts.from_frame(self.frame, self.context).take(order) if self.context else None
        rows = Sequences.from_offsets(items[order], offsets, ordered_times, contexts)
        if with_event_types and "event" in self.frame.columns:
            rows = replace(rows, event_types=np.array(self.frame["event"].to_list(), dtype=object)[order])
        return rows, keys

    def item_features(self, catalog: Catalog) -> "ItemFeatures | None":
        """Return the features of a catalog's items; None without an item table."""
        return None if self.items is None else self.items.item_features(catalog)

    def with_frame(self, frame: "pl.DataFrame", report: ReadReport | None = None) -> "EventLog":
        """Return the same log with other rows.

        Args:
            frame: events with the columns of ``EventLog.frame``.
            report: report of the new rows; None keeps the present one.
        """
        return replace(self, frame=frame, report=report or self.report)


def _item_indices(column: "pl.Series", catalog: Catalog) -> np.ndarray:
    """Return the int32 index of each row's item; PAD for an item outside the catalog."""
    import polars as pl

    if len(catalog) == 0:
        return np.full(len(column), PAD, dtype=np.int32)
    ids = pl.Series(catalog.ids, dtype=pl.String)
    codes = column.cast(pl.Enum(ids), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return (codes.to_numpy() + 1).astype(np.int32)
