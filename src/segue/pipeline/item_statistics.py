"""Statistics of every item in the log: counts, recency and age.

Shape letters: V catalog size with PAD, N events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.models.sparse_rows import item_counts
from segue.pipeline.filters.item_columns import ItemColumns

RECENT_SHARE = 0.1
"""Share of newest events that count as recent."""


class ItemStatistics:
    """Event count and first event of each item, and the features popularity, recency and age."""

    def __init__(self, counts_V: np.ndarray, first_us_V: np.ndarray, recent_V: np.ndarray, age_V: np.ndarray) -> None:
        self.counts_V = counts_V
        """int64: number of events."""
        self.first_us_V = first_us_V
        """int64: timestamp of the first event, as in ``ItemData``."""
        self.popularity_V = np.log1p(counts_V).astype(np.float32)
        """float32: log(1 + events)."""
        self.recent_V = recent_V
        """float32: log ratio of the item's share among recent events to its share among all; 0 in a log without
        timestamps."""
        self.age_V = age_V
        """float32: log(1 + days since the first event); 0 without timestamps or events."""

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog) -> "ItemStatistics":
        """Compute the statistics of a log.

        Args:
            sequences: every event of the log.
            catalog: its items.
        """
        size = catalog.size
        data = ItemData.from_sequences(catalog, {}, sequences)
        if sequences.times is None or sequences.num_events == 0:
            return cls(data.counts_V, data.first_us_V, np.zeros(size, np.float32), np.zeros(size, np.float32))
        _, positions_N = sequences.positions()
        items_N, times_N = sequences.items[positions_N], sequences.times[positions_N]
        late_N = times_N >= np.quantile(times_N, 1 - RECENT_SHARE)
        late_V = np.bincount(items_N[late_N], minlength=size)
        recent_V = np.log((late_V + 1.0) / (data.counts_V * late_N.mean() + 1.0))
        age_us_V = np.where(data.first_us_V == NEVER, 0, times_N.max() - np.minimum(data.first_us_V, times_N.max()))
        age_V = np.log1p(age_us_V / DAY_US)
        return cls(data.counts_V, data.first_us_V, recent_V.astype(np.float32), age_V.astype(np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name."""
        return {"counts": self.counts_V, "first": self.first_us_V, "recent": self.recent_V, "age": self.age_V}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "ItemStatistics":
        """Return the statistics that ``arrays`` saved."""
        return cls(arrays["counts"], arrays["first"], arrays["recent"], arrays["age"])


NEVER = np.iinfo(np.int64).max
"""First event of an item without events."""


@dataclass(frozen=True)
class ItemData:
    """Item features, event counts and first events that the rules of a placement read."""

    catalog: Catalog
    columns: ItemColumns
    counts_V: np.ndarray
    """int64: number of events of each item."""
    first_us_V: np.ndarray
    """int64: timestamp of the first event; NEVER without events."""

    @classmethod
    def from_sequences(
        cls, catalog: Catalog, items: Mapping[str, Mapping[str, Any]], sequences: Sequences
    ) -> "ItemData":
        """Build the data from an items table and a log. In a log without timestamps no item is new.

        Args:
            catalog: the items.
            items: item id -> feature -> value, as of ``ItemTable.for_catalog`` or of an artifact.
            sequences: every event of the log.
        """
        first_us_V = np.full(catalog.size, NEVER)
        _, positions_N = sequences.positions()
        if sequences.times is None:
            first_us_V[sequences.items[positions_N]] = np.iinfo(np.int64).min // 2
        else:
            np.minimum.at(first_us_V, sequences.items[positions_N], sequences.times[positions_N])
        return cls(catalog, ItemColumns.from_items(items, catalog), item_counts(sequences, catalog.size), first_us_V)
