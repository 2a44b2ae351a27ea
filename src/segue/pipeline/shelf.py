"""What the log says of every item, whoever asks: how popular, how lately, how old.

Shape letters: V catalogue size with PAD, N events.
"""

from collections.abc import Mapping

import numpy as np

from segue.data.sequences import Sequences
from segue.models.rows import item_counts

DAY_US = 86_400_000_000
RECENT = 0.1
"""The newest share of events that counts as lately."""


class Shelf:
    """Three numbers an item, each near 0 for an ordinary one."""

    def __init__(self, popularity_V: np.ndarray, recent_V: np.ndarray, age_V: np.ndarray) -> None:
        self.popularity_V = popularity_V
        """float32: log(1 + events)."""
        self.recent_V = recent_V
        """float32: log of how much larger the item's share is lately than over all; 0 in a log without times."""
        self.age_V = age_V
        """float32: log(1 + days since its first event); 0 in a log without times, and for an item without events."""

    @classmethod
    def fit(cls, sequences: Sequences, size: int) -> "Shelf":
        """Counts."""
        counts_V = item_counts(sequences, size)
        popularity_V = np.log1p(counts_V).astype(np.float32)
        if sequences.times is None or sequences.num_events == 0:
            return cls(popularity_V, np.zeros(size, np.float32), np.zeros(size, np.float32))
        _, where_N = sequences.positions()
        items_N, times_N = sequences.items[where_N], sequences.times[where_N]
        late_N = times_N >= np.quantile(times_N, 1 - RECENT)
        late_V = np.bincount(items_N[late_N], minlength=size)
        expected_V = counts_V * late_N.mean()
        recent_V = np.log((late_V + 1.0) / (expected_V + 1.0))
        first_V = np.full(size, times_N.max())
        np.minimum.at(first_V, items_N, times_N)
        age_V = np.log1p((times_N.max() - first_V) / DAY_US)
        return cls(popularity_V, recent_V.astype(np.float32), age_V.astype(np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"popularity": self.popularity_V, "recent": self.recent_V, "age": self.age_V}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "Shelf":
        """What ``arrays`` gave."""
        return cls(arrays["popularity"], arrays["recent"], arrays["age"])
