"""How alike items are: by vectors that a model has of them, or by the values of a column.

Shape letters: C candidates, D vector size, G values that occur among the candidates, V catalog size with PAD.
"""

from collections.abc import Callable

import numpy as np

from segue.pipeline.filters.item_columns import TYPE_NAMES, ItemColumns, ListColumn, TextColumn

ItemSimilarity = Callable[[np.ndarray], np.ndarray]
"""Items int32 [C] -> their vectors, float64 [C, D], of length 1, or 0 where nothing is known of an item; how alike two
items are is the product of their vectors."""


def embedding_similarity(vectors_VD: np.ndarray) -> ItemSimilarity:
    """The cosine between the rows of a matrix."""

    def of(items_C: np.ndarray) -> np.ndarray:
        return unit_rows(vectors_VD[items_C].astype(np.float64))

    return of


def column_similarity(columns: ItemColumns, name: str) -> ItemSimilarity:
    """1 for items with the same values in a column, 0 for items that share none. ValueError for a column that there is
    not, or that has no values to share."""
    column = values_of(columns, name)

    def of(items_C: np.ndarray) -> np.ndarray:
        return unit_rows(membership(column, items_C)[0])

    return of


def values_of(columns: ItemColumns, name: str) -> TextColumn | ListColumn:
    """A column whose values items can share."""
    column = columns[name]
    if not isinstance(column, TextColumn | ListColumn):
        raise ValueError(
            f"Column '{name}' holds {TYPE_NAMES[type(column)]}: items are alike by a column of text or lists, or by "
            "their vectors."
        )
    return column


def membership(column: TextColumn | ListColumn, items_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [C, G]: each item's share in each value, 1 in all, 0 where it has none; the values' codes [G])."""
    row, code = column.value_pairs(np.asarray(items_C, dtype=np.int64))
    codes_G, at = np.unique(code, return_inverse=True)
    out_CG = np.zeros((len(items_C), len(codes_G)))
    out_CG[row, at] = 1.0
    return out_CG / np.maximum(out_CG.sum(axis=1, keepdims=True), 1.0), codes_G


def unit_rows(vectors_CD: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    length_C = np.linalg.norm(vectors_CD, axis=1, keepdims=True)
    return vectors_CD / np.where(length_C > 0, length_C, 1.0)
