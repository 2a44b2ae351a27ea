"""Item table: features of items in typed columns. A missing value stays missing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from segue.data.catalog import PAD, Catalog
from segue.data.features.column_types import ColumnType
from segue.data.features.encoding import ItemFeatures

if TYPE_CHECKING:
    import polars as pl


TITLE_COLUMN_NAMES = (
    *("title", "name", "description", "itemname", "productname", "label"),
    *("标题", "名称", "商品名称", "商品标题", "产品名称", "商品名", "品名"),
)
"""Names of a title column, without case and punctuation, the likeliest first."""


@dataclass(frozen=True)
class ItemTable:
    """Table of item features with one row per item. ``segue.read_items`` makes one from a file or a table."""

    frame: "pl.DataFrame"
    """``item_id`` text, and one column per feature."""
    column_types: dict[str, ColumnType]
    """Type of each feature column."""
    notes: tuple[str, ...]
    """Guesses and rejected rows of the reader, each as a sentence."""

    @property
    def title_column(self) -> str | None:
        """Name of the column with the items' titles; None when no column is named like one."""
        plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in self.column_types}
        return next((plain[name] for name in TITLE_COLUMN_NAMES if name in plain), None)

    @property
    def ids(self) -> list[str]:
        """Item ids in the table's order."""
        return self.frame["item_id"].to_list()

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
