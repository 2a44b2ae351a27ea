"""Popularity: the same list for everybody; the first thing any other model must beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.models.sparse_rows import item_counts


@dataclass(frozen=True)
class PopularityConfig:
    """What counts."""

    window_days: float | None = None
    """Only events of the last so many days before the log's end count; 'none': all of them."""
    half_life_days: float | None = None
    """An event this much older counts half; 'none': all alike."""

    def __post_init__(self) -> None:
        for name in ("window_days", "half_life_days"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}.")


class Popularity:
    """score(j) = (weighted) number of events of j, whatever the history."""

    name: ClassVar[str] = "popularity"

    def __init__(self, weight_V: np.ndarray) -> None:
        self.weight_V = weight_V

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: PopularityConfig) -> "Popularity":
        """Counts. A window or a half-life needs a log with times."""
        if config.window_days is None and config.half_life_days is None:
            return cls(item_counts(sequences, size).astype(np.float32))
        if sequences.times is None:
            raise ValueError(
                "Recent popularity needs times, and this log has only an order: "
                "leave window_days and half_life_days unset."
            )
        _, where_N = sequences.positions()
        times_N = sequences.times[where_N]
        age_N = (times_N.max(initial=0) - times_N) / DAY_US
        weight_N = np.ones(len(age_N))
        if config.half_life_days is not None:
            weight_N = 0.5 ** (age_N / config.half_life_days)
        if config.window_days is not None:
            weight_N = weight_N * (age_N <= config.window_days)
        weight_V = np.bincount(sequences.items[where_N], weights=weight_N, minlength=size)
        # An item that only sold long ago still precedes one that never sold.
        ever_V = item_counts(sequences, size)
        return cls((weight_V + 1e-6 * ever_V / max(1, ever_V.max(initial=0))).astype(np.float32))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: PopularityConfig) -> "Popularity":
        """What ``arrays`` gave."""
        return cls(arrays["weight"])

    @property
    def size(self) -> int:
        return len(self.weight_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        return np.tile(self.weight_V, (len(histories), 1))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"weight": self.weight_V}
