"""Check of placements against a catalog and its items table, before a training or a deployment."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from segue.config.purchase_events import is_event_of
from segue.data.catalog import Catalog
from segue.data.read_report import shorten_list
from segue.pipeline.config import PlacementConfig
from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.item_statistics import NEVER, ItemData
from segue.pipeline.placements.diversification import Diversifier
from segue.pipeline.placements.rules import Rules


def check_placements(
    placements: Sequence[PlacementConfig],
    catalog: Catalog,
    items: Mapping[str, Mapping[str, Any]],
    event_types: Collection[str] | None = None,
    *,
    has_embeddings: bool = True,
) -> list[str]:
    """Compile the rules of placements as a fitted pipeline will, and return sentences about suspicious ones.

    Args:
        placements: settings of the placements.
        catalog: the items.
        items: item id -> column -> value, empty without an items table.
        event_types: types of the log's events; None: the log has none.
        has_embeddings: a source of the pipeline has item embeddings, by which lists may be diversified.

    Raises:
        ValueError: a rule that names an unknown column, or tests a column as its type does not allow.
    """
    columns = ItemColumns.from_items(items, catalog)
    data = ItemData(catalog, columns, np.zeros(catalog.size, dtype=np.int64), np.full(catalog.size, NEVER))
    vectors_VD = np.ones((catalog.size, 1), dtype=np.float32) if has_embeddings else None
    filters, notes = Filters(columns), []
    for placement in placements:
        try:
            rules = Rules(placement.rules, data, filters)
            Diversifier(placement.rerank, columns, vectors_VD)
        except ValueError as error:
            cure = "" if items else " No items table with such columns was given."
            raise ValueError(f"Placement '{placement.name}': {error}{cure}") from None
        notes += [f"Placement {placement.name}: {note}" for note in rules.notes]
        seen, listed = rules.config.seen_rule, rules.config.exclude_seen
        if (
            isinstance(seen, tuple)
            and isinstance(listed, tuple)
            and not any(is_event_of(name, seen) for name in event_types or ())
        ):
            types = "has no event types" if not event_types else f"has the types {shorten_list(sorted(event_types))}"
            notes.append(
                f"Placement {placement.name}: no event is of the types exclude_seen = {list(listed)}, the log {types}."
            )
    return notes
