"""Sources that are no models of the zoo: what a person took before, what is new, what is like it, lists of one's own.

Shape letters: B batch, V catalog size with PAD, L items of a list. A score of -inf: the source does not say so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.models.knn.content_knn import ContentKNN, ContentKNNConfig
from segue.models.scorer import Scorer
from segue.models.sparse_rows import ages, effective_length, item_counts


@dataclass(frozen=True)
class RepeatConfig:
    """What a person takes again."""

    decay: float = 0.9
    """Each step back into the history multiplies its weight by this."""

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")


class RepeatSource:
    """The person's own items: score(j) = sum over its occurrences of decay ** age."""

    name: ClassVar[str] = "again"

    def __init__(self, size: int, decay: float) -> None:
        self.size = size
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog, config: RepeatConfig) -> "RepeatSource":
        """There is nothing to learn."""
        return cls(catalog.size, config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: RepeatConfig) -> "RepeatSource":
        """What ``arrays`` gave."""
        return cls(int(arrays["size"][0]), config.decay)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]; -inf for what is not in the history."""
        newest = histories.drop_unknown().tail(effective_length(self.decay))
        row_N, where_N = newest.positions()
        slots_N = row_N * self.size + newest.items[where_N]
        total = np.bincount(slots_N, weights=self.decay ** ages(newest), minlength=len(histories) * self.size)
        scores_BV: np.ndarray = total.reshape(len(histories), self.size).astype(np.float32)
        scores_BV[scores_BV == 0] = -np.inf
        return scores_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"size": np.array([self.size])}


@dataclass(frozen=True)
class NewItemsConfig:
    """What counts as new."""

    max_age_days: float = 30.0
    """Items whose first event lies at most so many days before the log's end, and items without any event."""
    max_item_events: int = 50
    """An item with more events is no longer new: other sources know it."""

    def __post_init__(self) -> None:
        if self.max_age_days <= 0:
            raise ValueError(f"max_age_days must be above 0, got {self.max_age_days}.")
        if self.max_item_events < 0:
            raise ValueError(f"max_item_events must not be negative, got {self.max_item_events}.")


class NewItemsSource:
    """Items that are new, the same for everybody: score(j) = 2 ** (-age / days) * (1 + log(1 + events)).

    Its age is that of its first event; an item without an event has none. A log without times knows only the latter.
    """

    name: ClassVar[str] = "new"
    scores_cold_items: ClassVar[bool] = True

    def __init__(self, score_V: np.ndarray) -> None:
        self.score_V = score_V

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog, config: NewItemsConfig) -> "NewItemsSource":
        """Looks for each item's first event."""
        counts_V = item_counts(sequences, catalog.size)
        age_days_V = np.where(counts_V > 0, np.inf, 0.0)
        if sequences.times is not None:
            _, where_N = sequences.positions()
            first_V = np.full(catalog.size, np.iinfo(np.int64).max)
            np.minimum.at(first_V, sequences.items[where_N], sequences.times[where_N])
            end = sequences.times[where_N].max(initial=0)
            age_days_V = np.where(counts_V > 0, (end - first_V) / DAY_US, 0.0)
        new_V = (age_days_V <= config.max_age_days) & (counts_V <= config.max_item_events)
        new_V[PAD] = False
        worth_V = 2.0 ** (-np.where(new_V, age_days_V, 0.0) / config.max_age_days) * (1 + np.log1p(counts_V))
        return cls(np.where(new_V, worth_V, -np.inf).astype(np.float32))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: NewItemsConfig) -> "NewItemsSource":
        """What ``arrays`` gave."""
        return cls(arrays["score"])

    @property
    def size(self) -> int:
        return len(self.score_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]; -inf for what is not new."""
        return np.tile(self.score_V, (len(histories), 1))

    def static_scores(self) -> np.ndarray:
        """See ``StaticScorer.static_scores``."""
        return self.score_V

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"score": self.score_V}


@dataclass(frozen=True)
class FixedListConfig:
    """A list of one's own: an editor's choice, a campaign."""

    items: tuple[str, ...] = ()
    """Item ids, the best first."""
    file: str | None = None
    """A text file with an item id a line, read when the pipeline is trained."""

    def __post_init__(self) -> None:
        if (not self.items) == (self.file is None):
            raise ValueError("A source of model list needs either items or a file.")

    def ids(self) -> list[str]:
        """The list. OSError where the file cannot be read."""
        if self.file is None:
            return list(self.items)
        with open(self.file, encoding="utf-8") as lines:
            return [line.strip() for line in lines if line.strip()]


class FixedListSource:
    """The items of a list, the first with score 1 and the others evenly below."""

    name: ClassVar[str] = "list"
    scores_cold_items: ClassVar[bool] = True

    def __init__(self, items_L: np.ndarray, size: int) -> None:
        self.items_L = items_L
        self.size = size

    @classmethod
    def fit(cls, sequences: Sequences, catalog: Catalog, config: FixedListConfig) -> "FixedListSource":
        """Ids that the catalog does not know are left out. ValueError where it knows none."""
        items_L = catalog.to_indices(dict.fromkeys(config.ids()))
        if not (items_L != PAD).any():
            raise ValueError(f"The catalog knows none of the list's {len(items_L)} items.")
        return cls(items_L[items_L != PAD], catalog.size)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: FixedListConfig) -> "FixedListSource":
        """What ``arrays`` gave."""
        return cls(arrays["items"], int(arrays["size"][0]))

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]; -inf for what is not in the list."""
        return _by_place([self.items_L] * len(histories), self.size)

    def static_scores(self) -> np.ndarray:
        """See ``StaticScorer.static_scores``."""
        static_V: np.ndarray = self.scores(Sequences.from_lists([[]]))[0]
        return static_V

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"items": self.items_L, "size": np.array([self.size])}


def _by_place(lists: Sequence[np.ndarray], size: int) -> np.ndarray:
    """float32 [B, V]: 1 for the first item of each list, evenly less for the others, -inf elsewhere."""
    scores_BV = np.full((len(lists), size), -np.inf, dtype=np.float32)
    for row_V, items_L in zip(scores_BV, lists, strict=True):
        row_V[items_L] = 1.0 - np.arange(len(items_L)) / max(1, len(items_L))
    scores_BV[:, PAD] = -np.inf
    return scores_BV


@dataclass(frozen=True)
class SourceData:
    """What the sources of a pipeline are fitted on."""

    sequences: Sequences
    catalog: Catalog
    item_features: ItemFeatures | None = None
    """What is known of the items, where there is a table of them."""


@dataclass(frozen=True)
class BuiltinSource:
    """How a source of the pipeline's own is made and restored."""

    config: type
    fit: Callable[[SourceData, Any], Scorer]
    restore: Callable[[Mapping[str, np.ndarray], Any], Scorer]


BUILTIN_SOURCES: dict[str, BuiltinSource] = {
    "again": BuiltinSource(
        RepeatConfig,
        lambda known, config: RepeatSource.fit(known.sequences, known.catalog, config),
        RepeatSource.restore,
    ),
    "new": BuiltinSource(
        NewItemsConfig,
        lambda known, config: NewItemsSource.fit(known.sequences, known.catalog, config),
        NewItemsSource.restore,
    ),
    "list": BuiltinSource(
        FixedListConfig,
        lambda known, config: FixedListSource.fit(known.sequences, known.catalog, config),
        FixedListSource.restore,
    ),
    "content-knn": BuiltinSource(
        ContentKNNConfig,
        lambda known, config: ContentKNN.from_item_features(known.sequences, known.item_features, config),
        ContentKNN.restore,
    ),
}
"""Beside the zoo: name -> settings and how to build, restore."""
