"""Encoding of item features (and event contexts) as a sparse matrix, fitted on training items and applied to any.

Shape letters: V rows (a catalog with PAD), F features, M stored entries, D size of a feature embedding.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.features.column_types import ColumnType
from segue.data.features.feature_column import FeatureColumn

CHUNK = 1 << 16
"""Number of entries multiplied at a time."""


@dataclass(frozen=True)
class FeatureConfig:
    """Item features and event contexts of a network."""

    features: tuple[str, ...] = ()
    """Columns of the item table; empty: items are known by their events alone."""
    contexts: tuple[str, ...] = ()
    """Columns of the log, or of a user table, with the context of events (region, device)."""
    min_items: Annotated[int, Range(ge=1)] = 2
    """Minimum number of training items (events, for a context) with a value or word, at least 1.
    Rarer ones count as unknown."""
    max_values: Annotated[int, Range(ge=1)] = 4096
    """Maximum number of values or words of a column with an embedding, at least 1: the most frequent ones."""
    ridge: Annotated[float, Range(gt=0)] = 0.3
    """L2 penalty, above 0, of the ridge regression of item embeddings on features: of spectral embeddings at the start
    of training, of trained ones with ``feature_use`` "placing"."""
    feature_use: Literal["learned", "placing"] = "learned"
    """learned: feature embeddings are part of every item embedding. placing: items with events are trained without
    features, and a regression on features gives the embeddings of cold items."""
    id_dropout: Annotated[float, Range(ge=0, lt=1)] = 0.05
    """Share of items, in [0, 1), that a training step encodes by features alone, so that cold items can be scored."""
    context_dropout: Annotated[float, Range(ge=0, lt=1)] = 0.1
    """Share of events, in [0, 1), trained on without context, so that histories without context can be scored."""

    @property
    def learned(self) -> "FeatureConfig":
        """Settings that training uses: without features if they only place cold items."""
        return replace(self, features=()) if self.feature_use == "placing" else self

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class ItemFeatures:
    """Features of each item of a catalog, or of each event context of a log."""

    rows: Sequence[Mapping[str, Any]]
    """Row i: column -> value of index i, without missing values; row 0 is empty."""
    column_types: Mapping[str, str]
    """Type of each column."""


@dataclass(frozen=True)
class EncodedFeatures:
    """Sparse matrix [V, F] in CSR form: row i has the features ``codes[offsets[i]:offsets[i + 1]]``."""

    offsets: np.ndarray
    """int64 [V + 1]."""
    codes: np.ndarray
    """int32 [M], feature of each entry."""
    weights: np.ndarray
    """float32 [M], weight of each entry."""
    size: int
    """F: number of features."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def masked(self, keep_V: np.ndarray) -> "EncodedFeatures":
        """Return the same matrix with the rows outside ``keep_V`` (bool [V]) empty."""
        counts_V = np.diff(self.offsets)
        entries_M = np.repeat(keep_V, counts_V)
        offsets = np.concatenate([[0], np.cumsum(np.where(keep_V, counts_V, 0))]).astype(np.int64)
        return EncodedFeatures(offsets, self.codes[entries_M], self.weights[entries_M], self.size)

    def __matmul__(self, weights_FD: np.ndarray) -> np.ndarray:
        """Return float32 [V, D]: each row's weighted sum of feature embeddings; zeros for a row without features."""
        out_VD = np.zeros((len(self), weights_FD.shape[1]), dtype=np.float32)
        nonempty = np.flatnonzero(np.diff(self.offsets))
        step = max(1, CHUNK * max(1, len(nonempty)) // max(1, len(self.codes)))
        for start in range(0, len(nonempty), step):
            rows = nonempty[start : start + step]
            part = slice(self.offsets[rows[0]], self.offsets[rows[-1] + 1])
            entries_MD = weights_FD[self.codes[part]] * self.weights[part, None]
            out_VD[rows] = np.add.reduceat(entries_MD, self.offsets[rows] - self.offsets[rows[0]], axis=0)
        return out_VD


@dataclass(frozen=True)
class FeatureEncoding:
    """Encoder of several columns: the features of each follow those of the columns before it."""

    columns: tuple[FeatureColumn, ...]

    @property
    def size(self) -> int:
        """F: number of features."""
        return sum(column.size for column in self.columns)

    @classmethod
    def fit(
        cls, item_features: ItemFeatures, counts_V: np.ndarray, names: Sequence[str], config: FeatureConfig
    ) -> "FeatureEncoding":
        """Fit values, words and scales of columns on the training items only.

        Args:
            item_features: rows of features by index.
            counts_V: int [V]: weight of each row; rows with 0 are not in the training data.
            names: columns to encode.
            config: minimum frequency and number of values.

        Raises:
            ValueError: a column is missing.
        """
        for name in names:
            if name not in item_features.column_types:
                table = "items table" if name in config.features else "log's context"
                raise ValueError(
                    f"The {table} has no column '{name}' to train on. Its columns: "
                    f"{', '.join(item_features.column_types)}."
                )
        training = np.flatnonzero(counts_V)
        rows, counts = [item_features.rows[i] for i in training.tolist()], counts_V[training].tolist()
        return cls(
            tuple(
                FeatureColumn.fit(
                    name,
                    item_features.column_types[name],
                    [(row.get(name), n) for row, n in zip(rows, counts, strict=True)],
                    min_count=config.min_items,
                    max_values=config.max_values,
                )
                for name in dict.fromkeys(names)
            )
        )

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> EncodedFeatures:
        """Return the matrix of some rows; each row has at least one feature of each column."""
        counts: list[int] = []
        codes: list[int] = []
        weights: list[float] = []
        for row in rows:
            base, before = 0, len(codes)
            for column in self.columns:
                own, weight = column.entries(row.get(column.name))
                codes.extend(base + code for code in own)
                weights.extend(weight)
                base += column.size
            counts.append(len(codes) - before)
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        return EncodedFeatures(offsets, np.array(codes, dtype=np.int32), np.array(weights, dtype=np.float32), self.size)

    def encode_catalog(self, item_features: ItemFeatures) -> EncodedFeatures:
        """Return the matrix of a whole catalog; row 0 (PAD) has no features."""
        items = self.encode(item_features.rows[1:])
        return EncodedFeatures(np.concatenate([[0], items.offsets]), items.codes, items.weights, items.size)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the artifact by name. They hold hashes of the values, never the words themselves."""
        names = json.dumps([[column.name, column.column_type, column.width] for column in self.columns])
        out = {"columns": np.frombuffer(names.encode("ascii"), dtype=np.uint8)}
        for i, column in enumerate(self.columns):
            out |= {f"{i}.hashes": column.hashes, f"{i}.numbers": column.numbers}
        return out

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "FeatureEncoding":
        """Restore an encoding from the arrays that ``arrays`` returned.

        Raises:
            ValueError: the arrays do not describe columns.
        """
        columns = []
        for i, (name, column_type, width) in enumerate(json.loads(arrays["columns"].tobytes())):
            numbers = arrays[f"{i}.numbers"]
            known = isinstance(name, str) and column_type in get_args(ColumnType) and type(width) is int
            if not known or width < 0 or (len(numbers) and (len(numbers) < 2 or numbers[1] <= 0)):
                raise ValueError(f"The feature column {i} is not one that Segue has fitted.")
            columns.append(FeatureColumn(name, column_type, arrays[f"{i}.hashes"], numbers, width))
        return cls(tuple(columns))
