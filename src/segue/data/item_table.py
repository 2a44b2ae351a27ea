"""Item table: features of items in typed columns, and user table. A missing value stays missing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from segue.data.catalog import PAD, Catalog
from segue.data.features.column_types import ColumnType
from segue.data.features.encoding import ItemFeatures
from segue.data.read_report import WARNING
from segue.data.readers.column_roles import find_title_column
from segue.data.readers.id_spelling import describe_match, find_respelled
from segue.data.readers.ids import are_missing_words

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class ItemTable:
    """Table of item features with one row per item. ``segue.read_items`` makes one from a file or a table."""

    frame: "pl.DataFrame"
    """``item_id`` text, and one column per feature."""
    column_types: dict[str, ColumnType]
    """Type of each feature column."""
    notes: tuple[str, ...]
    """Guesses and rejected rows of the reader, each as a sentence."""
    warnings: tuple[str, ...] = ()
    """Sentences about lost rows and about ids that do not match those of a log."""

    @property
    def title_column(self) -> str | None:
        """Name of the column with the items' titles; None when no column is named like one."""
        return find_title_column(self.column_types)

    @property
    def ids(self) -> list[str]:
        """Item ids in the table's order."""
        return self.frame["item_id"].to_list()

    def lines(self) -> list[str]:
        """Return notes and warnings as sentences."""
        return [*self.notes, *(f"{WARNING}{warning}" for warning in self.warnings)]

    def matched_with(self, ids: "Iterable[str] | pl.Series") -> "ItemTable":
        """Return the table for a log or catalog, with sentences about ids that match and ids that do not.

        A row whose id is another spelling of a known id, as 7 of 007, is left out: as an item of its own it would make
        two items of one. So is a row whose id is a word for a missing one, as NULL, unless it is a known id.

        Args:
            ids: item ids of the log or catalog.
        """
        import polars as pl

        known = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        notes, warnings = describe_match(self.frame["item_id"], known, "item")
        ids = self.frame["item_id"]
        respelled = find_respelled(ids, known)["id"]
        nameless = are_missing_words(ids) & ~ids.is_in(known.unique().implode())
        return replace(
            self,
            frame=self.frame.filter(~(ids.is_in(respelled.implode()) | nameless)),
            notes=tuple(dict.fromkeys([*self.notes, *notes])),
            warnings=tuple(dict.fromkeys([*self.warnings, *warnings])),
        )

    def item_features(self, catalog: Catalog) -> ItemFeatures:
        """Return the features by catalog index; empty for PAD and for an item outside the table."""
        rows: list[dict[str, Any]] = [{} for _ in range(catalog.size)]
        indices = catalog.to_indices(self.ids)
        for i, row in zip(indices.tolist(), self.frame.iter_rows(named=True), strict=True):
            rows[i] = {name: row[name] for name in self.column_types if row[name] is not None}
        rows[PAD] = {}
        return ItemFeatures(rows, self.column_types)

    def by_id(self) -> dict[str, dict[str, Any]]:
        """Return item id -> column -> value, without missing values; the title is also stored as "title"."""
        title = self.title_column
        out: dict[str, dict[str, Any]] = {}
        for row in self.frame.iter_rows(named=True):
            values = {name: row[name] for name in self.column_types if row[name] is not None}
            if title is not None and title in values:
                values["title"] = values[title]
            out[row["item_id"]] = values
        return out

    def for_catalog(self, catalog: Catalog) -> dict[str, dict[str, Any]]:
        """Return ``by_id`` of the catalog's items, as artifacts store it for display."""
        return {item: values for item, values in self.by_id().items() if item in catalog}


@dataclass(frozen=True)
class UserTable:
    """Table of user columns with one row per user. ``read_users`` makes one from a file or a table."""

    frame: "pl.DataFrame"
    """``user_id`` text, and the other columns of the source."""
    notes: tuple[str, ...] = ()
    """Guesses and rejected rows of the reader, each as a sentence."""
    warnings: tuple[str, ...] = ()
    """Sentences about lost rows and about ids that do not match those of a log."""

    def lines(self) -> list[str]:
        """Return notes and warnings as sentences."""
        return [*self.notes, *(f"{WARNING}{warning}" for warning in self.warnings)]

    def matched_with(self, ids: "pl.Series") -> "UserTable":
        """Return the table with sentences about the user ids of a log (``ids``) that have a row and those without."""
        notes, warnings = describe_match(self.frame["user_id"], ids, "user")
        return replace(self, notes=(*self.notes, *notes), warnings=(*self.warnings, *warnings))
