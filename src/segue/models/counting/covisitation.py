"""The co-visit rule: what comes soon after the person's latest items, near ones first. No learning, hard to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.sparse_rows import (
    SparseRows,
    ages,
    decayed_lifts,
    effective_length,
    item_counts,
    tie_breaker,
    windowed_pairs,
)


@dataclass(frozen=True)
class CoVisitConfig:
    """The rule's four numbers; all are to be chosen on validation."""

    window: int = 10
    """Pairs at most this many steps apart count, as 1 / distance."""
    backward: float = 0.25
    """What "i after j" counts, compared with "i before j"."""
    damping: float = 0.15
    """A pair is divided by (popularity of i * popularity of j) ** this."""
    decay: float = 0.5
    """Each step back into the history multiplies its weight by this."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")
        if self.backward < 0 or self.damping < 0:
            raise ValueError(f"backward and damping must not be negative, got {self.backward} and {self.damping}.")


class CoVisit:
    """score(j) = sum over the history, newest first, of decay ** age * W[item, j], where
    W = (F + backward * F^T) / (pop_i * pop_j) ** damping and F[i, j] = sum of 1 / distance over i before j."""

    name: ClassVar[str] = "covisit"

    def __init__(self, near: SparseRows, popularity_V: np.ndarray, decay: float) -> None:
        self.near = near
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: CoVisitConfig) -> "CoVisit":
        """Counts the pairs, one shift of the flat log at a time."""
        from scipy import sparse

        counts_V = item_counts(sequences, size)
        forward = windowed_pairs(sequences, size, config.window)
        damp = sparse.diags_array((1.0 / np.maximum(counts_V, 1) ** config.damping).astype(np.float32))
        near = damp @ (forward + np.float32(config.backward) * forward.T) @ damp
        return cls(SparseRows.from_scipy(near), tie_breaker(counts_V, 1e-6), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: CoVisitConfig) -> "CoVisit":
        """What ``arrays`` gave."""
        return cls(SparseRows.restore(arrays), arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return self.near.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]; popularity, below every seen pair, orders the rest and answers an empty history."""
        newest = histories.drop_unknown().tail(effective_length(self.decay))
        return self.near.weighted_sum(newest, self.decay ** ages(newest)) + self.popularity_V

    def lifts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(items near one known history, ascending; float32 how much they are raised above popularity)."""
        return decayed_lifts(self.near, items, self.decay)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {**self.near.arrays(), "popularity": self.popularity_V}
