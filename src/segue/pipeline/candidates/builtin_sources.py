"""Candidate sources that are no models of the zoo: repeated items, new items, similar items, fixed lists.

Shape letters: B batch, V catalog size with PAD, L items of a list. A score of -inf: the source does not give the item.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.catalog import PAD, Catalog
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.models.knn.content_knn import ContentKNN, ContentKNNConfig
from segue.models.scorer import Scorer
from segue.models.sparse_rows import ages, effective_length, item_counts


@dataclass(frozen=True)
class RepeatConfig:
    """Settings of the source of repeated items."""

    decay: Annotated[float, Range(gt=0, le=1)] = 0.9
    """Factor on an event's weight per event after it, above 0 and at most 1."""

    def __post_init__(self) -> None:
        check_ranges(self)


class RepeatSource:
    """Items of the user's history: score(j) = sum over its occurrences of decay ** age."""

    name: ClassVar[str] = "again"

    def __init__(self, size: int, decay: float) -> None:
        self.size = size
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog, config: RepeatConfig) -> "RepeatSource":
        """Build the source; nothing is fitted.

        Args:
            sequences: every event; unused.
            catalog: the items.
            config: settings.
        """
        return cls(catalog.size, config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: RepeatConfig) -> "RepeatSource":
        """Return the source that ``arrays`` saved.

        Args:
            arrays: saved arrays, by name.
            config: settings.
        """
        return cls(int(arrays["size"][0]), config.decay)

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]; -inf for items outside the history."""
        newest = histories.drop_unknown().tail(effective_length(self.decay))
        row_N, positions_N = newest.positions()
        slots_N = row_N * self.size + newest.items[positions_N]
        total = np.bincount(slots_N, weights=self.decay ** ages(newest), minlength=len(histories) * self.size)
        scores_BV: np.ndarray = total.reshape(len(histories), self.size).astype(np.float32)
        scores_BV[scores_BV == 0] = -np.inf
        return scores_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name."""
        return {"size": np.array([self.size])}


@dataclass(frozen=True)
class NewItemsConfig:
    """Settings of the source of new items."""

    max_age_days: Annotated[float, Range(gt=0)] = 30.0
    """Largest age of a new item, from its first event to the log's end, in days, above 0. Items without events are new.
    """
    max_item_events: Annotated[int, Range(ge=0)] = 50
    """Largest number of events of a new item, at least 0; other sources score items with more."""

    def __post_init__(self) -> None:
        check_ranges(self)


class NewItemsSource:
    """New items, equal for every user: score(j) = 2 ** (-age / max_age_days) * (1 + log(1 + events)).

    The age is that of the first event, 0 without events. In a log without timestamps only items without events are new.
    """

    name: ClassVar[str] = "new"
    scores_cold_items: ClassVar[bool] = True

    def __init__(self, score_V: np.ndarray) -> None:
        self.score_V = score_V

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog, config: NewItemsConfig) -> "NewItemsSource":
        """Find the first event of each item.

        Args:
            sequences: every event.
            catalog: the items.
            config: settings.
        """
        counts_V = item_counts(sequences, catalog.size)
        age_days_V = np.where(counts_V > 0, np.inf, 0.0)
        if sequences.times is not None:
            _, positions_N = sequences.positions()
            first_V = np.full(catalog.size, np.iinfo(np.int64).max)
            np.minimum.at(first_V, sequences.items[positions_N], sequences.times[positions_N])
            end = sequences.times[positions_N].max(initial=0)
            age_days_V = np.where(counts_V > 0, (end - first_V) / DAY_US, 0.0)
        new_V = (age_days_V <= config.max_age_days) & (counts_V <= config.max_item_events)
        new_V[PAD] = False
        score_V = 2.0 ** (-np.where(new_V, age_days_V, 0.0) / config.max_age_days) * (1 + np.log1p(counts_V))
        return cls(np.where(new_V, score_V, -np.inf).astype(np.float32))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: NewItemsConfig) -> "NewItemsSource":
        """Return the source that ``arrays`` saved.

        Args:
            arrays: saved arrays, by name.
            config: settings.
        """
        return cls(arrays["score"])

    @property
    def size(self) -> int:
        """Return the catalog size with PAD."""
        return len(self.score_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]; -inf for items that are not new."""
        return np.tile(self.score_V, (len(histories), 1))

    def static_scores(self) -> np.ndarray:
        """See ``StaticScorer.static_scores``."""
        return self.score_V

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name."""
        return {"score": self.score_V}


@dataclass(frozen=True)
class FixedListConfig:
    """Settings of a fixed list, such as an editor's choice or a campaign."""

    items: tuple[str, ...] = ()
    """Item ids, best first."""
    file: str | None = None
    """Text file with one item id per line, read when the pipeline is trained; 'none': see ``items``."""

    def __post_init__(self) -> None:
        if (not self.items) == (self.file is None):
            raise ValueError("A source of model list needs either items or a file.")

    def ids(self) -> list[str]:
        """Return the item ids of the list. OSError for a file that cannot be read."""
        if self.file is None:
            return list(self.items)
        with open(self.file, encoding="utf-8") as lines:
            return [line.strip() for line in lines if line.strip()]


class FixedListSource:
    """Items of a fixed list: the first scores 1, the others less in equal steps."""

    name: ClassVar[str] = "list"
    scores_cold_items: ClassVar[bool] = True

    def __init__(self, items_L: np.ndarray, size: int) -> None:
        self.items_L = items_L
        self.size = size

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog, config: FixedListConfig) -> "FixedListSource":
        """Build the source; ids that the catalog does not hold are skipped.

        Args:
            sequences: every event; unused.
            catalog: the items.
            config: the list.

        Raises:
            ValueError: the catalog holds none of the items.
        """
        items_L = catalog.to_indices(dict.fromkeys(config.ids()))
        if not (items_L != PAD).any():
            raise ValueError(f"The catalog holds none of the list's {len(items_L)} items.")
        return cls(items_L[items_L != PAD], catalog.size)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: FixedListConfig) -> "FixedListSource":
        """Return the source that ``arrays`` saved.

        Args:
            arrays: saved arrays, by name.
            config: settings.
        """
        return cls(arrays["items"], int(arrays["size"][0]))

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]; -inf for items outside the list."""
        return _scores_by_position([self.items_L] * len(histories), self.size)

    def static_scores(self) -> np.ndarray:
        """See ``StaticScorer.static_scores``."""
        static_V: np.ndarray = self.scores(Sequences.from_lists([[]]))[0]
        return static_V

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name."""
        return {"items": self.items_L, "size": np.array([self.size])}


def _scores_by_position(lists: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Return float32 scores [B, V]: 1 for the first item of each list, less in equal steps for the others, -inf
    elsewhere."""
    scores_BV = np.full((len(lists), size), -np.inf, dtype=np.float32)
    for row_V, items_L in zip(scores_BV, lists, strict=True):
        row_V[items_L] = 1.0 - np.arange(len(items_L)) / max(1, len(items_L))
    scores_BV[:, PAD] = -np.inf
    return scores_BV


@dataclass(frozen=True)
class SourceData:
    """Training data of a pipeline's sources."""

    sequences: Sequences
    """Every training event."""
    catalog: Catalog
    """The items."""
    item_features: ItemFeatures | None = None
    """Features of the items; None without an items table."""


@dataclass(frozen=True)
class BuiltinSource:
    """Settings, fit and restore of a built-in source."""

    config: type
    """Settings class."""
    fit: Callable[[SourceData, Any], Scorer]
    restore: Callable[[Mapping[str, np.ndarray], Any], Scorer]


BUILTIN_SOURCES: dict[str, BuiltinSource] = {
    "again": BuiltinSource(
        RepeatConfig,
        lambda data, config: RepeatSource.fit(data.sequences, data.catalog, config),
        RepeatSource.restore,
    ),
    "new": BuiltinSource(
        NewItemsConfig,
        lambda data, config: NewItemsSource.fit(data.sequences, data.catalog, config),
        NewItemsSource.restore,
    ),
    "list": BuiltinSource(
        FixedListConfig,
        lambda data, config: FixedListSource.fit(data.sequences, data.catalog, config),
        FixedListSource.restore,
    ),
    "content-knn": BuiltinSource(
        ContentKNNConfig,
        lambda data, config: ContentKNN.from_item_features(data.sequences, data.item_features, config),
        ContentKNN.restore,
    ),
}
"""Name of each built-in source -> its settings, fit and restore."""
