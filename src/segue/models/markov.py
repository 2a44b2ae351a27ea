"""Markov chain: what followed the last item before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.rows import Rows, item_counts, tie_breaker, windowed_pairs


@dataclass(frozen=True)
class MarkovConfig:
    """How transitions become scores."""

    damping: float = 0.0
    """A follower's count is divided by its popularity ** this."""

    def __post_init__(self) -> None:
        if not 0 <= self.damping <= 1:
            raise ValueError(f"damping must be in [0, 1], got {self.damping}.")


class Markov:
    """score(j) = share of the last item's transitions that went to j; popularity orders what never followed."""

    name: ClassVar[str] = "markov"

    def __init__(self, next_rows: Rows, popularity_V: np.ndarray) -> None:
        self.next_rows = next_rows
        self.popularity_V = popularity_V

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: MarkovConfig) -> "Markov":
        """Counts the transitions between neighbours."""
        from scipy import sparse

        counts_V = item_counts(sequences, size)
        pairs = windowed_pairs(sequences, size, 1)
        pairs = pairs @ sparse.diags_array(1.0 / np.maximum(counts_V, 1) ** config.damping)
        out_V = np.asarray(pairs.sum(axis=1)).ravel()
        pairs = sparse.diags_array(1.0 / np.maximum(out_V, 1e-12)) @ pairs
        return cls(Rows.from_scipy(pairs), tie_breaker(counts_V, 1e-4))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: MarkovConfig) -> "Markov":
        """What ``arrays`` gave."""
        return cls(Rows.restore(arrays), arrays["popularity"])

    @property
    def size(self) -> int:
        return self.next_rows.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        newest = histories.known().tail(1)
        return self.next_rows.weighted_sum(newest, np.ones(newest.num_events)) + self.popularity_V

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {**self.next_rows.arrays(), "popularity": self.popularity_V}
