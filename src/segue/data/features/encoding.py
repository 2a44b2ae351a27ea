"""Columns of facts about items -> one sparse matrix of features, learned from some rows and applied to any later.

Shape letters: V rows (a catalog with PAD), F features, M stored entries, D width of a feature's vector.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from segue.data.features.tokenize import tokenize

BINS = 10
"""A number is also told by the tenth of the training items it falls into, because tastes are seldom straight lines."""
MAX_ABS_Z = 3.0
"""A number counts as at most so many deviations from the mean: one wrong price must not drown an item."""
CHUNK = 1 << 16
"""Entries that are multiplied at once."""


@dataclass(frozen=True)
class FeatureConfig:
    """Which columns of the items table, and which of the log, a network learns from, and how."""

    features: tuple[str, ...] = ()
    """Columns of the items table; none: items are known by who took them alone."""
    contexts: tuple[str, ...] = ()
    """Columns of the log, or of a users table beside it, that say under which circumstances an event happened."""
    min_items: int = 2
    """A value or word that fewer training items (events, of a context) have counts as unknown."""
    max_values: int = 4096
    """Values or words of a column that have a vector: the most frequent ones."""
    ridge: float = 0.3
    """Strength of the pull towards zero where features' vectors are a regression of items': at the start, of spectral
    ones; when placing, of learned ones."""
    feature_use: Literal["learned", "placing"] = "learned"
    """learned: features are a part of every item's vector; placing: items are known by their events alone, exactly as
    without features, and a regression on features places the others."""
    id_dropout: float = 0.05
    """Share of items that a step knows by their features alone, so that items without a past are understood."""
    context_dropout: float = 0.1
    """Share of events that training sees without context, so that a history that came without any is understood."""

    @property
    def learned(self) -> "FeatureConfig":
        """What of it a training looks at."""
        return replace(self, features=()) if self.feature_use == "placing" else self

    def __post_init__(self) -> None:
        for name in ("min_items", "max_values"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.ridge > 0:
            raise ValueError(f"ridge must be above 0, got {self.ridge}.")
        for name in ("id_dropout", "context_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}.")


@dataclass(frozen=True)
class ItemFeatures:
    """What is known of each item of a catalog, or of each circumstance of a log: ``rows[i]`` of index i, columns
    without a value left out; row 0 is empty."""

    rows: Sequence[Mapping[str, Any]]
    column_types: Mapping[str, str]


@dataclass(frozen=True)
class EncodedFeatures:
    """A sparse [V, F] matrix by row: row i holds ``codes[offsets[i]:offsets[i + 1]]`` with ``weights`` alike."""

    offsets: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    size: int
    """F."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def where(self, keep_V: np.ndarray) -> "EncodedFeatures":
        """The same rows, those outside ``keep_V`` (bool [V]) empty."""
        counts_V = np.diff(self.offsets)
        entries_M = np.repeat(keep_V, counts_V)
        offsets = np.concatenate([[0], np.cumsum(np.where(keep_V, counts_V, 0))]).astype(np.int64)
        return EncodedFeatures(offsets, self.codes[entries_M], self.weights[entries_M], self.size)

    def __matmul__(self, weights_FD: np.ndarray) -> np.ndarray:
        """float32 [V, D]: each row's weighted sum of feature vectors; zeros for a row without features."""
        out_VD = np.zeros((len(self), weights_FD.shape[1]), dtype=np.float32)
        full = np.flatnonzero(np.diff(self.offsets))
        step = max(1, CHUNK * max(1, len(full)) // max(1, len(self.codes)))
        for start in range(0, len(full), step):
            rows = full[start : start + step]
            part = slice(self.offsets[rows[0]], self.offsets[rows[-1] + 1])
            entries_MD = weights_FD[self.codes[part]] * self.weights[part, None]
            out_VD[rows] = np.add.reduceat(entries_MD, self.offsets[rows] - self.offsets[rows[0]], axis=0)
        return out_VD


@dataclass(frozen=True)
class FeatureColumn:
    """One column's way into features. Feature 0 stands for a missing value; what follows depends on the kind.

    category, list, text: one feature for each value or word whose hash is in ``hashes`` (int64, ascending); a cell's
    weights are equal and sum to 1. number: the standardised value, then one feature for each bin between ``edges``.
    vector: its ``width`` entries. What training never saw tells nothing: a cell of only such values is missing.
    """

    name: str
    kind: str
    hashes: np.ndarray
    numbers: np.ndarray
    """float64 [mean, deviation, edges ...] of a number."""
    width: int = 0

    @property
    def size(self) -> int:
        """Features, the missing one included."""
        return 1 + {"number": len(self.numbers), "vector": self.width}.get(self.kind, len(self.hashes))

    def entries(self, value: Any) -> tuple[Sequence[int], Sequence[float]]:
        """(features, their weights) of one cell."""
        if self.kind == "number":
            return self._of_number(_number(value))
        if self.kind == "vector":
            vector = _vector(value)
            fits = vector is not None and len(vector) == self.width
            return (range(1, 1 + self.width), vector) if fits else ([0], [1.0])  # type: ignore[return-value]
        asked = np.array(list(dict.fromkeys(_hash(value) for value in cell_values(value, self.kind))), dtype=np.int64)
        place = np.searchsorted(self.hashes, asked)
        found = place[place < len(self.hashes)]
        found = found[self.hashes[found] == asked[place < len(self.hashes)]]
        if len(found) == 0:
            return [0], [1.0]
        return (1 + np.sort(found)).tolist(), [1.0 / len(found)] * len(found)

    def _of_number(self, value: float | None) -> tuple[Sequence[int], Sequence[float]]:
        if value is None or len(self.numbers) == 0:
            return [0], [1.0]
        mean, deviation, edges = self.numbers[0], self.numbers[1], self.numbers[2:]
        scaled = float(np.clip((value - mean) / deviation, -MAX_ABS_Z, MAX_ABS_Z))
        return [1, 2 + int(np.searchsorted(edges, value, side="right"))], [scaled, 1.0]


@dataclass(frozen=True)
class FeatureEncoding:
    """Columns side by side: column c's features come after those of the columns before it."""

    columns: tuple[FeatureColumn, ...]

    @property
    def size(self) -> int:
        """F."""
        return sum(column.size for column in self.columns)

    @classmethod
    def fit(
        cls, facts: ItemFeatures, counts_V: np.ndarray, names: Sequence[str], config: FeatureConfig
    ) -> "FeatureEncoding":
        """Values, words and scales of these columns in the rows that training saw alone, row i ``counts_V[i]`` times.

        ValueError for a column that the table does not have.
        """
        for name in names:
            if name not in facts.column_types:
                what = "items table" if name in config.features else "log's context"
                raise ValueError(
                    f"The {what} has no column '{name}' to learn from. Its columns: {', '.join(facts.column_types)}."
                )
        seen = np.flatnonzero(counts_V)
        rows, counts = [facts.rows[i] for i in seen.tolist()], counts_V[seen].tolist()
        return cls(
            tuple(
                _learn(
                    name,
                    facts.column_types[name],
                    [(row.get(name), n) for row, n in zip(rows, counts, strict=True)],
                    config,
                )
                for name in dict.fromkeys(names)
            )
        )

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> EncodedFeatures:
        """The matrix of some rows; each has at least one feature of each column."""
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

    def of_catalog(self, facts: ItemFeatures) -> EncodedFeatures:
        """The matrix of a whole catalog; PAD, row 0, has no features."""
        found = self.encode(facts.rows[1:])
        return EncodedFeatures(np.concatenate([[0], found.offsets]), found.codes, found.weights, found.size)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name; the words themselves are not in it."""
        names = json.dumps([[column.name, column.kind, column.width] for column in self.columns])
        out = {"columns": np.frombuffer(names.encode("ascii"), dtype=np.uint8)}
        for i, column in enumerate(self.columns):
            out |= {f"{i}.hashes": column.hashes, f"{i}.numbers": column.numbers}
        return out

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "FeatureEncoding":
        """What ``arrays`` gave."""
        names = json.loads(arrays["columns"].tobytes())
        return cls(
            tuple(
                FeatureColumn(name, kind, arrays[f"{i}.hashes"], arrays[f"{i}.numbers"], width)
                for i, (name, kind, width) in enumerate(names)
            )
        )


def cell_values(value: Any, kind: str) -> Iterator[str]:
    """The values in one cell: the words of a text, the members of a list, a category itself; of a missing one none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return
    if kind == "text":
        yield from tokenize(str(value))
    elif kind == "list" and isinstance(value, list | tuple):
        yield from (text for part in value if part is not None and (text := str(part).strip()))
    elif text := str(value).strip():
        yield text


def _learn(name: str, kind: str, cells: Sequence[tuple[Any, int]], config: FeatureConfig) -> FeatureColumn:
    """``cells``: values, and how often each counts."""
    none, empty = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    if kind == "number":
        numbers = [(number, n) for cell, n in cells if (number := _number(cell)) is not None]
        return FeatureColumn(
            name, kind, none, _scale(np.repeat([number for number, _ in numbers], [n for _, n in numbers]))
        )
    if kind == "vector":
        widths = Counter(len(vector) for cell, _ in cells if (vector := _vector(cell)) is not None)
        return FeatureColumn(name, kind, none, empty, widths.most_common(1)[0][0] if widths else 0)
    counts: Counter[int] = Counter()
    for cell, n in cells:
        for hashed in {_hash(part) for part in cell_values(cell, kind)}:
            counts[hashed] += n
    often = sorted((-count, hashed) for hashed, count in counts.items() if count >= config.min_items)
    kept = sorted(hashed for _, hashed in often[: config.max_values])
    return FeatureColumn(name, kind, np.array(kept, dtype=np.int64), empty)


def _scale(values: np.ndarray) -> np.ndarray:
    """[mean, deviation, edges between the bins]; empty where no training item has a number."""
    if len(values) == 0:
        return np.empty(0, dtype=np.float64)
    deviation = float(np.std(values))
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    return np.concatenate([[np.mean(values), deviation if deviation > 0 else 1.0], edges])


def _number(value: Any) -> float | None:
    """None for what is missing or no finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _vector(value: Any) -> list[float] | None:
    """None for what is missing or holds anything but finite numbers."""
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    numbers = [_number(part) for part in value]
    return None if None in numbers else numbers  # type: ignore[return-value]


@lru_cache(maxsize=1 << 18)
def _hash(text: str) -> int:
    """64 bits, the same on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
