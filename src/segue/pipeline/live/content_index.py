"""Index of item texts and categories, which finds the items of a catalog that are most like a new one.

Shape letters: V catalog size with PAD, U distinct values of a column, K neighbors.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from segue.data.features.tokenize import tokenize
from segue.models.top_k import best_indices
from segue.pipeline.filters.item_columns import ITEM_ID, NO_CODE, ItemColumns, ListColumn, TextColumn

NUM_NEIGHBORS = 10
"""Number of most similar items that stand for a new item."""
MAX_WORD_SHARE, MAX_WORD_ITEMS = 0.1, 20
"""Share and number of items above which a word is ignored, if both are exceeded: it carries little information."""
_MIN_DISTINCT, _MIN_WORDS = 0.5, 4.0
"""Share of distinct values, or mean number of words, above which a column is read as words."""


class _ColumnIndex:
    """Cosine similarity by the words of a column's values, or by the values themselves.

    A term weighs log(items / items with it) (tf-idf with terms counted once, Salton & Buckley 1988).
    """

    def __init__(self, column: TextColumn | ListColumn) -> None:
        self._column = column
        self._splits = isinstance(column, TextColumn) and _holds_words(column)
        size = len(column.is_known)
        codes = column.codes_V if isinstance(column, TextColumn) else column.codes_N
        count_U = np.bincount(codes[codes != NO_CODE], minlength=len(column.values))
        self._codes_of: dict[str, list[int]] = {}
        for code, value in enumerate(column.values):
            for term in self._terms(value):
                self._codes_of.setdefault(term, []).append(code)
        self._max_idf = math.log(max(2, size))
        self._idf = {term: self._idf_of(int(count_U[rows].sum()), size) for term, rows in self._codes_of.items()}
        squares_U = np.zeros(len(column.values))
        for term, rows in self._codes_of.items():
            squares_U[rows] += self._idf[term] ** 2
        if isinstance(column, ListColumn):
            rows_N, codes_N = column.value_pairs(np.arange(size))
            self._squares_V = np.bincount(rows_N, weights=squares_U[codes_N], minlength=size)
        else:
            self._squares_V = np.append(squares_U, 0.0)[column.codes_V]

    def _terms(self, value: str) -> list[str]:
        return tokenize(value) if self._splits else [value]

    def _idf_of(self, count: int, size: int) -> float:
        share = count / max(1, size - 1)
        is_common = self._splits and share > MAX_WORD_SHARE and count > MAX_WORD_ITEMS
        return 0.0 if is_common else math.log(1.0 / max(share, 1e-12))

    def similarity(self, value: Any) -> np.ndarray:
        """Return the cosine of every item with a value, float64 [V]; 0 for an item without a value."""
        values = [str(part) for part in value] if isinstance(value, list) else [str(value)]
        terms = dict.fromkeys(term for part in values for term in self._terms(part))
        size = len(self._squares_V)
        squares, weight_U = 0.0, np.zeros(len(self._column.values) + 1)
        for term in terms:
            idf = self._idf.get(term, self._max_idf)
            squares += idf**2
            if term in self._codes_of:
                weight_U[self._codes_of[term]] += idf**2
        if isinstance(self._column, ListColumn):
            rows_N, codes_N = self._column.value_pairs(np.arange(size))
            product_V = np.bincount(rows_N, weights=weight_U[codes_N], minlength=size)
        else:
            product_V = weight_U[self._column.codes_V]
        length_V = np.sqrt(squares * self._squares_V)
        return np.divide(product_V, length_V, out=np.zeros(size), where=length_V > 0)


def _holds_words(column: TextColumn) -> bool:
    count = int(column.is_known.sum())
    words = sum(len(value.split()) for value in column.values) / max(1, len(column.values))
    return len(column.values) > _MIN_DISTINCT * count or words > _MIN_WORDS


class ContentIndex:
    """Similarity of a new item with those of a catalog: the mean over its columns of the cosine of their cells."""

    def __init__(self, columns: ItemColumns, counts_V: np.ndarray) -> None:
        """Index the columns of texts and lists.

        Args:
            columns: columns of the model's items.
            counts_V: number of events of each item, which breaks ties.
        """
        parts = {name: columns[name] for name in columns.names if name != ITEM_ID}
        self._columns = {
            name: _ColumnIndex(column) for name, column in parts.items() if isinstance(column, TextColumn | ListColumn)
        }
        self._tie_V = 1e-6 * counts_V / max(1, counts_V.max(initial=0))

    def neighbors(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the items most like a row of cells: (indices int32 [K], similarities float64 [K], above 0).

        Args:
            row: column -> value of the new item.
        """
        scores = [index.similarity(row[name]) for name, index in self._columns.items() if row.get(name) is not None]
        if not scores:
            return np.empty(0, dtype=np.int32), np.empty(0)
        mean_V = np.mean(scores, axis=0)
        similar = np.flatnonzero(mean_V > 0)
        items = best_indices(mean_V + self._tie_V, similar, NUM_NEIGHBORS)
        return items.astype(np.int32), mean_V[items]
