"""What the log says of every item, whoever asks: how popular, how lately, how old.

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
"""The newest share of events that counts as lately."""


class ItemStatistics:
    """Counts and times of each item, and three numbers made from them for whoever weighs signals."""

    def __init__(self, counts_V: np.ndarray, first_us_V: np.ndarray, recent_V: np.ndarray, age_V: np.ndarray) -> None:
        self.counts_V = counts_V
        """int64: events."""
        self.first_us_V = first_us_V
        """int64: the time of its first event, as ``rules.Facts`` wants it."""
        self.popularity_V = np.log1p(counts_V).astype(np.float32)
        """float32: log(1 + events)."""
        self.recent_V = recent_V
        """float32: log of how much larger the item's share is lately than over all; 0 in a log without times."""
        self.age_V = age_V
        """float32: log(1 + days since its first event); 0 in a log without times, and for an item without events."""

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog) -> "ItemStatistics":
        """Counts."""
        size = catalog.size
        facts = ItemData.from_sequences(catalog, {}, sequences)
        if sequences.times is None or sequences.num_events == 0:
            return cls(facts.counts_V, facts.first_us_V, np.zeros(size, np.float32), np.zeros(size, np.float32))
        _, where_N = sequences.positions()
        items_N, times_N = sequences.items[where_N], sequences.times[where_N]
        late_N = times_N >= np.quantile(times_N, 1 - RECENT_SHARE)
        late_V = np.bincount(items_N[late_N], minlength=size)
        recent_V = np.log((late_V + 1.0) / (facts.counts_V * late_N.mean() + 1.0))
        age_us_V = np.where(facts.first_us_V == NEVER, 0, times_N.max() - np.minimum(facts.first_us_V, times_N.max()))
        age_V = np.log1p(age_us_V / DAY_US)
        return cls(facts.counts_V, facts.first_us_V, recent_V.astype(np.float32), age_V.astype(np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"counts": self.counts_V, "first": self.first_us_V, "recent": self.recent_V, "age": self.age_V}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "ItemStatistics":
        """What ``arrays`` gave."""
        return cls(arrays["counts"], arrays["first"], arrays["recent"], arrays["age"])


NEVER = np.iinfo(np.int64).max
"""The first event of an item that had none."""


@dataclass(frozen=True)
class ItemData:
    """What rules need to know of the catalog."""

    catalog: Catalog
    columns: ItemColumns
    counts_V: np.ndarray
    """int64: events of each item."""
    first_us_V: np.ndarray
    """int64: the time of its first event; NEVER where it had none."""

    @classmethod
    def from_sequences(
        cls, catalog: Catalog, items: Mapping[str, Mapping[str, Any]], sequences: Sequences
    ) -> "ItemData":
        """From an items table (``ItemTable.for_catalog``, an artifact's ``items``) and a log. In a log without times
        no item is new."""
        first_us_V = np.full(catalog.size, NEVER)
        _, where_N = sequences.positions()
        if sequences.times is None:
            first_us_V[sequences.items[where_N]] = np.iinfo(np.int64).min // 2
        else:
            np.minimum.at(first_us_V, sequences.items[where_N], sequences.times[where_N])
        return cls(catalog, ItemColumns.from_items(items, catalog), item_counts(sequences, catalog.size), first_us_V)
