"""Similarity of items."""

import re

import numpy as np
import pytest

from segue.pipeline.filters.item_columns import ItemColumns, ListColumn
from segue.pipeline.placements.item_similarity import column_similarity, embedding_similarity, membership, values_of


def test_similarity_by_embeddings() -> None:
    vectors_VD = np.array([[0, 0], [3, 4], [4, -3], [6, 8], [0, 0]], dtype=np.float32)
    found_CD = embedding_similarity(vectors_VD)(np.array([1, 2, 3, 4]))
    assert (found_CD @ found_CD.T).round(6).tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_similarity_by_column(columns: ItemColumns) -> None:
    items = np.array([1, 2, 3, 5])  # sencha: gift and green; assam: none; pot: gift; mystery: unknown
    alike_CD = column_similarity(columns, "tags")(items)
    root = 0.5**0.5
    wanted = [[1, 0, root, 0], [0, 0, 0, 0], [root, 0, 1, 0], [0, 0, 0, 0]]
    assert (alike_CD @ alike_CD.T).tolist() == [pytest.approx(row) for row in wanted]


def test_membership_shares_one_among_an_items_values(columns: ItemColumns) -> None:
    tags = values_of(columns, "tags")
    assert isinstance(tags, ListColumn)
    share_CG, codes_G = membership(tags, np.array([3, 1, 5]))
    assert [tags.values[code] for code in codes_G] == ["gift", "green"]
    assert share_CG.tolist() == [[1, 0], [0.5, 0.5], [0, 0]]


def test_a_column_needs_values_to_share(columns: ItemColumns) -> None:
    message = "Column 'price' holds numbers: items are alike by a column of text or lists, or by their vectors."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        column_similarity(columns, "price")
