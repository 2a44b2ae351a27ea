"""Encoder of one feature column: values, words, a standardized number or a vector as weighted features."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from segue.data.features.tokenize import tokenize

BINS = 10
"""Quantile bins of a number, encoded beside its standardized value, because preferences are seldom linear in it."""
MAX_ABS_PART = 1e12
"""Bound of the entries of a vector: beyond it scores in float32 overflow, and every list with the item would fail."""
MAX_ABS_Z = 3.0
"""Bound of a standardized number, so that one wrong price does not dominate an item."""


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

    @classmethod
    def fit(
        cls, name: str, column_type: str, cells: Sequence[tuple[Any, int]], *, min_count: int, max_values: int
    ) -> "FeatureColumn":
        """Fit the values, or the scale, of one column.

        Args:
            name: name of the column.
            column_type: type of the column.
            cells: (cell, weight) pairs of the training items.
            min_count: minimum weight of a value or word.
            max_values: maximum number of values or words: the most frequent ones.
        """
        no_hashes, no_numbers = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
        if column_type == "number":
            numbers = [(number, weight) for cell, weight in cells if (number := _number(cell)) is not None]
            repeated = np.repeat([number for number, _ in numbers], [weight for _, weight in numbers])
            return cls(name, column_type, no_hashes, _scale(repeated))
        if column_type == "vector":
            widths = Counter(len(vector) for cell, _ in cells if (vector := _vector(cell)) is not None)
            return cls(name, column_type, no_hashes, no_numbers, widths.most_common(1)[0][0] if widths else 0)
        counts: Counter[int] = Counter()
        for cell, weight in cells:
            for hashed in {_hash(part) for part in cell_values(cell, column_type)}:
                counts[hashed] += weight
        frequent = sorted((-count, hashed) for hashed, count in counts.items() if count >= min_count)
        kept = sorted(hashed for _, hashed in frequent[:max_values])
        return cls(name, column_type, np.array(kept, dtype=np.int64), no_numbers)

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
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _vector(value: Any) -> list[float] | None:
    """Return a list of numbers up to MAX_ABS_PART, else None."""
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    numbers = [_number(part) for part in value]
    fits = all(number is not None and abs(number) <= MAX_ABS_PART for number in numbers)
    return numbers if fits else None  # type: ignore[return-value]


@lru_cache(maxsize=1 << 18)
def _hash(text: str) -> int:
    """Return a 64-bit hash that is equal on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
