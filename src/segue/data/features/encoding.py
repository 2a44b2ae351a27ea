"""Encoding of item features (and event contexts) as a sparse matrix, fitted on training items and applied to any.

Shape letters: V rows (a catalog with PAD), F features, M stored entries, D size of a feature embedding.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.features.tokenize import tokenize

BINS = 10
"""Quantile bins of a number, encoded beside its standardized value, because preferences are seldom linear in it."""
MAX_ABS_Z = 3.0
"""Bound of a standardized number, so that one wrong price does not dominate an item."""
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
class FeatureColumn:
    """Encoder of one column. Feature 0 marks a missing value; the others depend on the type.

    category, list, text: one feature per value or word; the weights of a cell are equal and sum to 1. number: the
    standardized value, then one feature per bin. vector: its entries. A cell of values unknown to training is missing.
    """

    name: str
    column_type: str
    hashes: np.ndarray
    """int64, ascending: hashes of the values or words of a category, list or text."""
    numbers: np.ndarray
    """float64 [mean, deviation, bin edges ...] of a number."""
    width: int = 0
    """Length of a vector."""

    @property
    def size(self) -> int:
        """Number of features, with the one of a missing value."""
        return 1 + {"number": len(self.numbers), "vector": self.width}.get(self.column_type, len(self.hashes))

    def entries(self, value: Any) -> tuple[Sequence[int], Sequence[float]]:
        """Return the features of one cell and their weights."""
        if self.column_type == "number":
            return self._encode_number(_number(value))
        if self.column_type == "vector":
            vector = _vector(value)
            fits = vector is not None and len(vector) == self.width
            return (range(1, 1 + self.width), vector) if fits else ([0], [1.0])  # type: ignore[return-value]
        hashes = np.array(
            list(dict.fromkeys(_hash(value) for value in cell_values(value, self.column_type))), dtype=np.int64
        )
        position = np.searchsorted(self.hashes, hashes)
        matches = position[position < len(self.hashes)]
        matches = matches[self.hashes[matches] == hashes[position < len(self.hashes)]]
        if len(matches) == 0:
            return [0], [1.0]
        return (1 + np.sort(matches)).tolist(), [1.0 / len(matches)] * len(matches)

    def _encode_number(self, value: float | None) -> tuple[Sequence[int], Sequence[float]]:
        if value is None or len(self.numbers) == 0:
            return [0], [1.0]
        mean, deviation, edges = self.numbers[0], self.numbers[1], self.numbers[2:]
        scaled = float(np.clip((value - mean) / deviation, -MAX_ABS_Z, MAX_ABS_Z))
        return [1, 2 + int(np.searchsorted(edges, value, side="right"))], [scaled, 1.0]


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
                _fit_column(
                    name,
                    item_features.column_types[name],
                    [(row.get(name), n) for row, n in zip(rows, counts, strict=True)],
                    config,
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
        """Restore an encoding from the arrays that ``arrays`` returned."""
        names = json.loads(arrays["columns"].tobytes())
        return cls(
            tuple(
                FeatureColumn(name, kind, arrays[f"{i}.hashes"], arrays[f"{i}.numbers"], width)
                for i, (name, kind, width) in enumerate(names)
            )
        )


def cell_values(value: Any, column_type: str) -> Iterator[str]:
    """Yield the values of one cell: words of a text, members of a list, or the category.

    Args:
        value: cell; None or NaN: missing, without values.
        column_type: type of the column.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return
    if column_type == "text":
        yield from tokenize(str(value))
    elif column_type == "list" and isinstance(value, list | tuple):
        yield from (text for part in value if part is not None and (text := str(part).strip()))
    elif text := str(value).strip():
        yield text


def _fit_column(name: str, column_type: str, cells: Sequence[tuple[Any, int]], config: FeatureConfig) -> FeatureColumn:
    """Fit one column on (cell, weight) pairs."""
    none, empty = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    if column_type == "number":
        numbers = [(number, n) for cell, n in cells if (number := _number(cell)) is not None]
        return FeatureColumn(
            name, column_type, none, _scale(np.repeat([number for number, _ in numbers], [n for _, n in numbers]))
        )
    if column_type == "vector":
        widths = Counter(len(vector) for cell, _ in cells if (vector := _vector(cell)) is not None)
        return FeatureColumn(name, column_type, none, empty, widths.most_common(1)[0][0] if widths else 0)
    counts: Counter[int] = Counter()
    for cell, n in cells:
        for hashed in {_hash(part) for part in cell_values(cell, column_type)}:
            counts[hashed] += n
    often = sorted((-count, hashed) for hashed, count in counts.items() if count >= config.min_items)
    kept = sorted(hashed for _, hashed in often[: config.max_values])
    return FeatureColumn(name, column_type, np.array(kept, dtype=np.int64), empty)


def _scale(values: np.ndarray) -> np.ndarray:
    """Return [mean, deviation, edges between the bins]; empty without any number."""
    if len(values) == 0:
        return np.empty(0, dtype=np.float64)
    deviation = float(np.std(values))
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    return np.concatenate([[np.mean(values), deviation if deviation > 0 else 1.0], edges])


def _number(value: Any) -> float | None:
    """Return a finite number, else None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _vector(value: Any) -> list[float] | None:
    """Return a list of finite numbers, else None."""
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    numbers = [_number(part) for part in value]
    return None if None in numbers else numbers  # type: ignore[return-value]


@lru_cache(maxsize=1 << 18)
def _hash(text: str) -> int:
    """Return a 64-bit hash that is equal on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
