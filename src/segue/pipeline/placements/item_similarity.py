"""Similarity of items by their embeddings or by the values of a column.

Shape letters: C candidates, D embedding size, G values among the candidates, V catalog size with PAD.
"""

from collections.abc import Callable

import numpy as np

from segue.pipeline.filters.item_columns import TYPE_NAMES, ItemColumns, ListColumn, TextColumn

ItemSimilarity = Callable[[np.ndarray], np.ndarray]
"""Items int32 [C] -> vectors float64 [C, D] of length 1, or 0 for an item without data; the product of two is their
similarity."""


def embedding_similarity(vectors_VD: np.ndarray) -> ItemSimilarity:
    """Return the similarity by cosine of the rows of a matrix."""

    def of(items_C: np.ndarray) -> np.ndarray:
        return unit_rows(vectors_VD[items_C].astype(np.float64))

    return of


def column_similarity(columns: ItemColumns, name: str) -> ItemSimilarity:
    """Return the similarity by shared values of a column: 1 for equal values, 0 without a shared one.

    Args:
        columns: the items' columns.
        name: the column.

    Raises:
        ValueError: an unknown column, or one without values to share.
    """
    column = values_of(columns, name)

    def of(items_C: np.ndarray) -> np.ndarray:
        return unit_rows(membership(column, items_C)[0])

    return of


def values_of(columns: ItemColumns, name: str) -> TextColumn | ListColumn:
    """Return a column of texts or lists.

    Args:
        columns: the items' columns.
        name: the column.

    Raises:
        ValueError: an unknown column, or one of another type.
    """
    column = columns[name]
    if not isinstance(column, TextColumn | ListColumn):
        raise ValueError(
            f"Column '{name}' holds {TYPE_NAMES[type(column)]}: items are alike by a column of text or lists, or by "
            "their vectors."
        )
    return column


def membership(column: TextColumn | ListColumn, items_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (share of each item in each value, float64 [C, G], 1 in all or 0 without values; codes of the values [G]).

    Args:
        column: texts or lists of texts.
        items_C: item indices.
    """
    row, code = column.value_pairs(np.asarray(items_C, dtype=np.int64))
    codes_G, column_of_pair = np.unique(code, return_inverse=True)
    out_CG = np.zeros((len(items_C), len(codes_G)))
    out_CG[row, column_of_pair] = 1.0
    return out_CG / np.maximum(out_CG.sum(axis=1, keepdims=True), 1.0), codes_G


def unit_rows(vectors_CD: np.ndarray) -> np.ndarray:
    """Return the rows scaled to length 1; rows of zeros stay."""
    length_C = np.linalg.norm(vectors_CD, axis=1, keepdims=True)
    return vectors_CD / np.where(length_C > 0, length_C, 1.0)
