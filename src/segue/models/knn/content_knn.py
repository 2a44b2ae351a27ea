"""Content-kNN: items that are like those of the history by what is known of them, whether or not anybody took them.

Shape letters: B batch, V catalog size with PAD, F features, M stored entries.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from segue.data.catalog import PAD
from segue.data.features.encoding import EncodedFeatures, FeatureConfig, FeatureEncoding, ItemFeatures
from segue.data.sequences import Sequences
from segue.models.knn.item_knn import ItemKNN
from segue.models.sparse_rows import SparseRows, item_counts, keep_largest, tie_breaker

COMMON, MANY = 0.1, 2_000
"""A word that a larger share of the items has, or more of them, says nothing about any of them: comparing all who share
it would also take the square of their number."""
_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class ContentKNNConfig:
    """What makes items alike, and how a history votes."""

    columns: tuple[str, ...] = ()
    """Columns of the items table: texts, lists, categories, numbers; none: all of them."""
    num_neighbors: int = 200
    """Each item keeps this many of the most alike."""
    decay: float = 0.5
    """Each step back into the history multiplies its vote by this; 1: all alike."""
    max_values: int = 65_536
    """Values or words of a column that are told apart: the most frequent ones."""

    def __post_init__(self) -> None:
        for name in ("num_neighbors", "max_values"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")


class ContentKNN(ItemKNN):
    """Votes as item-kNN, over another likeness: score(j) = sum over the history of decay ** age * likeness(item, j).

    The likeness of two items is the mean over the columns of the cosine between what they have there, each value or
    word weighing log(items / items that have it) (tf-idf with terms counted once, Salton & Buckley 1988), a vector as
    it is. A cell that is missing is like no other.
    """

    name: ClassVar[str] = "content-knn"

    @classmethod
    def from_item_features(
        cls, sequences: Sequences, facts: ItemFeatures | None, config: ContentKNNConfig
    ) -> "ContentKNN":
        """Compares every item with every other one; the events only order what is equally alike.

        ValueError where there is no table of items, or it lacks a column.
        """
        if facts is None or not facts.column_types:
            raise ValueError(f"{cls.name} compares items by what is known of them: give the log a table of items.")
        names = config.columns or tuple(facts.column_types)
        learning = FeatureConfig(features=names, min_items=2, max_values=config.max_values)
        counts_V = np.ones(len(facts.rows), dtype=np.int64)
        counts_V[PAD] = 0
        encoding = FeatureEncoding.fit(facts, counts_V, names, learning)
        rows = _nearest(_weighted(encoding, encoding.of_catalog(facts)), config.num_neighbors)
        return cls(rows, tie_breaker(item_counts(sequences, len(facts.rows)), 1e-7), config.decay)


def _weighted(encoding: FeatureEncoding, found: EncodedFeatures) -> Any:
    """scipy CSR [V, F]: every column's part of a row has length 1 / sqrt(columns), or 0 where its cell is missing."""
    from scipy import sparse

    size = len(found)
    ones = np.ones(len(found.codes), dtype=np.float64)
    has, told = (
        sparse.csr_array((values, found.codes, found.offsets), shape=(size, found.size))
        for values in (ones, found.weights.astype(np.float64))
    )
    share_F = np.asarray(has.sum(axis=0)).ravel() / max(1, size - 1)
    idf_F = np.log(1.0 / np.maximum(share_F, 1e-12))
    base = 0
    parts = []
    for column in encoding.columns:
        own_F = idf_F[base : base + column.size].copy()
        own_F[0] = 0.0  # what is missing
        if column.kind == "text":
            share = share_F[base : base + column.size]
            own_F[(share > COMMON) | (share * (size - 1) > MANY)] = 0.0
        if column.kind == "number":
            own_F[1:2] = 0.0  # the value itself; its tenth says who is near
        if column.kind == "vector":
            own_F[1:] = 1.0
        part = (told if column.kind == "vector" else has)[:, base : base + column.size] @ sparse.diags_array(own_F)
        length_V = np.sqrt(np.asarray(part.power(2).sum(axis=1)).ravel())
        scale_V = np.divide(1.0, length_V, out=np.zeros(size), where=length_V > 0)
        parts.append(sparse.diags_array(scale_V) @ part)
        base += column.size
    return (sparse.hstack(parts) / np.sqrt(len(parts))).tocsr().astype(np.float32)


def _nearest(items_VF: Any, neighbors: int) -> SparseRows:
    """Each item's most alike others, none that has nothing in common with it; ties: the smaller index."""
    from scipy import sparse

    size = items_VF.shape[0]
    turned = items_VF.T.tocsr()
    step = max(1, _BLOCK_BYTES // (4 * size))
    counts, columns, values = [np.zeros(1, dtype=np.int64)], [], []
    for start in range(0, size, step):
        block = (items_VF[start : start + step] @ turned).tocoo()
        rest = (block.row + start != block.col) & (block.data > 0)
        others = sparse.coo_array((block.data[rest], (block.row[rest], block.col[rest])), shape=block.shape)
        offsets, own, alike = keep_largest(others, neighbors)
        counts.append(np.diff(offsets))
        columns.append(own)
        values.append(alike)
    return SparseRows(np.cumsum(np.concatenate(counts)), np.concatenate(columns), np.concatenate(values))
