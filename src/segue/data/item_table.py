"""The items table: what is known of an item besides who took it. Typed columns; a missing value stays missing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from segue.data.catalog import PAD, Catalog
from segue.data.features.column_types import ColumnType
from segue.data.features.encoding import ItemFeatures

if TYPE_CHECKING:
    import polars as pl


TITLES = ("title", "name", "description", "itemname", "productname", "label")
"""Column names, without case and punctuation, that people give to what an item is called; the likeliest first."""


@dataclass(frozen=True)
class ItemTable:
    """One row an item: ``item_id`` text, and the other columns of the table with their kinds."""

    frame: "pl.DataFrame"
    column_types: dict[str, ColumnType]
    notes: tuple[str, ...]
    """Every guess, and what was set aside, as sentences."""

    @property
    def title(self) -> str | None:
        """The column that holds what an item is called; None where no name says so."""
        plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in self.column_types}
        return next((plain[name] for name in TITLES if name in plain), None)

    @property
    def ids(self) -> list[str]:
        """The items, in the table's order."""
        return self.frame["item_id"].to_list()

    def item_features(self, catalog: Catalog) -> ItemFeatures:
        """What models learn from: a row for each index of the catalog, empty for one that the table does not have."""
        rows: list[dict[str, Any]] = [{} for _ in range(catalog.size)]
        where = catalog.to_indices(self.ids)
        for i, row in zip(where.tolist(), self.frame.iter_rows(named=True), strict=True):
            rows[i] = {name: row[name] for name in self.column_types if row[name] is not None}
        rows[PAD] = {}
        return ItemFeatures(rows, self.column_types)

    def by_id(self) -> dict[str, dict[str, Any]]:
        """Item id -> column -> value, missing values left out; the title column comes as "title" as well."""
        title = self.title
        out: dict[str, dict[str, Any]] = {}
        for row in self.frame.iter_rows(named=True):
            known = {name: row[name] for name in self.column_types if row[name] is not None}
            if title is not None and title in known:
                known["title"] = known[title]
            out[row["item_id"]] = known
        return out

    def for_catalog(self, catalog: Catalog) -> dict[str, dict[str, Any]]:
        """What an artifact keeps for people to see: ``by_id`` of the catalog's items."""
        return {item: known for item, known in self.by_id().items() if item in catalog}
