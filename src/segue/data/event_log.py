"""The event log: who did what and when. Reading loses nothing: a bad row is set aside with its place and a reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.event_contexts import EventContexts, context_column_types, join_user_columns
from segue.data.id_codes import encode_ids
from segue.data.read_report import ReadReport
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    import polars as pl

    from segue.data.features.column_types import ColumnType
    from segue.data.features.encoding import ItemFeatures
    from segue.data.item_table import ItemTable


@dataclass(frozen=True)
class EventLog:
    """Events in file order: ``user_id`` and ``item_id`` text, ``timestamp`` int64 UTC microseconds, and where there
    are such ``session_id``, ``event``, ``value`` and any other columns of the log."""

    frame: "pl.DataFrame"
    has_times: bool
    """False where the log has an order only; ``timestamp`` is then the row's number."""
    report: ReadReport
    is_labeled_test: bool = False
    """A fixed test set: the last event of each row is what is asked."""
    items: "ItemTable | None" = None
    """What is known of the items; those that have no event can be recommended as well."""
    context: "Mapping[str, ColumnType]" = field(default_factory=dict)
    """Columns that say under which circumstances an event happened: sequences carry them."""

    def __len__(self) -> int:
        return self.frame.height

    def catalog(self) -> Catalog:
        """All items, those of the items table too, sorted as text: neither time nor popularity nor the file's order
        shows in an index."""
        ids = self.frame["item_id"]
        if self.items is not None:
            ids = ids.append(self.items.frame["item_id"])
        return Catalog(ids.unique().sort().to_list())

    def with_items(self, items: "ItemTable") -> "EventLog":
        """The same log with a table of items: every item in it joins the catalog, and splits tell models the facts.

        Facts about items count as known at any time; leave columns out that tell what happened later (ratings, sales).
        """
        return replace(self, items=items)

    def with_users(self, users: "pl.DataFrame") -> "EventLog":
        """The same log with the columns of a table of users (what ``read_users`` returns) beside each event."""
        return replace(self, frame=join_user_columns(self.frame, users))

    def with_context(self, columns: "Iterable[str] | Mapping[str, ColumnType]") -> "EventLog":
        """The same log, its sequences with these columns (region, device) as context; kinds are guessed as those of an
        items table unless told. A missing cell stays missing. ValueError for a column that is not there."""
        kinds = context_column_types(self.frame, columns) | (dict(columns) if isinstance(columns, Mapping) else {})
        return replace(self, context=kinds)

    def sequences(self, catalog: Catalog, *, by: str = "user") -> tuple[Sequences, list[str]]:
        """(one row a person or session, their ids sorted as text). Events by time, ties in file order; items outside
        the catalog are PAD. Sessions need a ``session_id`` column; without one each person is one session."""
        key = "session_id" if by == "session" and "session_id" in self.frame.columns else "user_id"
        items = _index(self.frame["item_id"], catalog)
        keys, who = encode_ids(self.frame[key])
        when = self.frame["timestamp"].to_numpy()
        order = np.lexsort((when, who))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(who, minlength=len(keys)))]).astype(np.int64)
        ordered_times = when[order] if self.has_times else None
        contexts = EventContexts.from_frame(self.frame, self.context).take(order) if self.context else None
        return Sequences.from_offsets(items[order], offsets, ordered_times, contexts), keys

    def item_features(self, catalog: Catalog) -> "ItemFeatures | None":
        """What is known of a catalog's items; None without a table of them."""
        return None if self.items is None else self.items.item_features(catalog)

    def with_frame(self, frame: "pl.DataFrame", report: ReadReport | None = None) -> "EventLog":
        """The same log with other rows."""
        return replace(self, frame=frame, report=report or self.report)


def _index(column: "pl.Series", catalog: Catalog) -> np.ndarray:
    """int32 index of each row's item; PAD for one outside the catalog."""
    import polars as pl

    if len(catalog) == 0:
        return np.full(len(column), PAD, dtype=np.int32)
    names = pl.Series(catalog.ids, dtype=pl.String)
    codes = column.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return (codes.to_numpy() + 1).astype(np.int32)
