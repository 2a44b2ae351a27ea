"""Item features of a saved pipeline: the columns of its artifact, with those of a table of new items."""

from typing import TYPE_CHECKING, Any

from segue.data.catalog import Catalog
from segue.data.features.encoding import ItemFeatures
from segue.models.artifact import Artifact

if TYPE_CHECKING:
    from segue.data.item_table import ItemTable


def merge_item_features(loaded: Artifact, catalog: Catalog, items: "ItemTable | None", source: str) -> ItemFeatures:
    """Return the features of every item of a larger catalog.

    Args:
        loaded: the saved pipeline with the columns of its items.
        catalog: the larger catalog.
        items: table with new items, or newer cells of known ones; None: no table.
        source: name of the source that reads the features, for messages.

    Raises:
        ValueError: the types of the columns are unknown, or those of the table are others.
    """
    types: dict[str, Any] = dict(loaded.about.get("item_columns") or {})
    given = {} if items is None else items.column_types
    if not types and not given:
        raise ValueError(
            f"The source {source} compares items by their features, and this pipeline was saved without the types of "
            "its item columns: give the whole items table with --items, or run 'segue pipeline' again."
        )
    for name, kind in given.items():
        if types.get(name, kind) != kind:
            raise ValueError(
                f"The column '{name}' of the items table is read as {kind}, and the source {source} was fitted to it "
                f"as {types[name]}."
            )
    types = types or dict(given)
    cells = {} if items is None else items.by_id()
    rows: list[dict[str, Any]] = [{}]
    for item in catalog.ids:
        row = {**loaded.items.get(item, {}), **cells.get(item, {})}
        rows.append({name: row[name] for name in types if name in row})
    return ItemFeatures(rows, types)
