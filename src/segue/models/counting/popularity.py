"""Popularity: items by number of events, the same list for every user; the baseline of all other models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.models.sparse_rows import item_counts


@dataclass(frozen=True)
class PopularityConfig:
    """Time window and time decay of the counts."""

    window_days: Annotated[float | None, Range(gt=0)] = None
    """Length of the counted window before the end of the log, in days; 'none': the whole log."""
    half_life_days: Annotated[float | None, Range(gt=0)] = None
    """Age at which an event weighs half, in days; 'none': all events weigh the same."""

    def __post_init__(self) -> None:
        check_ranges(self)


class Popularity:
    """Popularity model: score(j) = (weighted) number of events of item j, for any history."""

    name: ClassVar[str] = "popularity"

    def __init__(self, weight_V: np.ndarray) -> None:
        self.weight_V = weight_V

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: PopularityConfig) -> "Popularity":
        """Count the events of each item.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.

        Raises:
            ValueError: a window or a half-life, and the log has no times.
        """
        if config.window_days is None and config.half_life_days is None:
            return cls(item_counts(sequences, size).astype(np.float32))
        if sequences.times is None:
            raise ValueError(
                "Recent popularity needs times, and this log has only an order: "
                "leave window_days and half_life_days unset."
            )
        _, position_N = sequences.positions()
        times_N = sequences.times[position_N]
        age_N = (times_N.max(initial=0) - times_N) / DAY_US
        weight_N = np.ones(len(age_N))
        if config.half_life_days is not None:
            weight_N = 0.5 ** (age_N / config.half_life_days)
        if config.window_days is not None:
            weight_N = weight_N * (age_N <= config.window_days)
        weight_V = np.bincount(sequences.items[position_N], weights=weight_N, minlength=size)
        # An item with old events only still ranks above one without events.
        count_V = item_counts(sequences, size)
        return cls((weight_V + 1e-6 * count_V / max(1, count_V.max(initial=0))).astype(np.float32))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: PopularityConfig) -> "Popularity":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(arrays["weight"])

    @property
    def size(self) -> int:
        return len(self.weight_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        return np.tile(self.weight_V, (len(histories), 1))

    def static_scores(self) -> np.ndarray:
        """See ``StaticScorer.static_scores``."""
        return self.weight_V

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {"weight": self.weight_V}
