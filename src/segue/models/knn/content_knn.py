"""Content-kNN: item similarity by features of the items table; it scores items without events, too.

Shape letters: B batch, V catalog size with PAD, F features, M stored entries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.catalog import PAD
from segue.data.features.encoding import EncodedFeatures, FeatureConfig, FeatureEncoding, ItemFeatures
from segue.data.sequences import Sequences
from segue.models.knn.item_knn import ItemKNN
from segue.models.sparse_rows import SparseRows, item_counts, keep_largest, tie_breaker

MAX_WORD_SHARE, MAX_WORD_ITEMS = 0.1, 2_000
"""Words of more items, as a share or a number, are ignored: they carry little information, and comparing all items with
such a word takes the square of their number."""
_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class ContentKNNConfig:
    """Columns of the similarity, and the weights of a history's events."""

    columns: tuple[str, ...] = ()
    """Columns of the items table (text, list, category, number, vector); empty: all columns."""
    num_neighbors: Annotated[int, Range(ge=1)] = 200
    """Number of most similar items that are kept for each item."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.5
    """Factor on the vote of an event per step back in the history, above 0 and at most 1; 1: no decay."""
    max_values: Annotated[int, Range(ge=1)] = 65_536
    """Number of most frequent values or words of a column that are distinguished."""

    def __post_init__(self) -> None:
        check_ranges(self)


class ContentKNN(ItemKNN):
    """Content-kNN model: score(j) = sum over the history of decay ** age * similarity(item, j), as item-kNN.

    The similarity of two items is the mean over the columns of the cosine of their cells. A value or word weighs
    log(items / items with it) (tf-idf with terms counted once, Salton & Buckley 1988), a vector is used unchanged. A
    missing cell has similarity 0 to every other.
    """

    name: ClassVar[str] = "content-knn"
    scores_cold_items: ClassVar[bool] = True

    @classmethod
    def from_item_features(
        cls, sequences: Sequences, item_features: ItemFeatures | None, config: ContentKNNConfig
    ) -> "ContentKNN":
        """Compute the similarity of all pairs of items; events only break ties, by popularity.

        Args:
            sequences: item indices of each user or session.
            item_features: the items table by item index; None: the log has none.
            config: settings.

        Raises:
            ValueError: there is no items table, or it lacks a column.
        """
        if item_features is None or not item_features.column_types:
            raise ValueError(f"{cls.name} compares items by their features: give the log a table of items.")
        names = config.columns or tuple(item_features.column_types)
        feature_config = FeatureConfig(features=names, min_items=2, max_values=config.max_values)
        counts_V = np.ones(len(item_features.rows), dtype=np.int64)
        counts_V[PAD] = 0
        encoding = FeatureEncoding.fit(item_features, counts_V, names, feature_config)
        items_VF = _weighted(encoding, encoding.encode_catalog(item_features))
        rows = SparseRows.from_blocks(_nearest(items_VF, config.num_neighbors))
        return cls(rows, tie_breaker(item_counts(sequences, len(item_features.rows)), 1e-7), config.decay)


def _weighted(encoding: FeatureEncoding, encoded: EncodedFeatures) -> Any:
    """Return scipy CSR [V, F]: the part of each column has norm 1 / sqrt(columns), or 0 for a missing cell."""
    from scipy import sparse

    size = len(encoded)
    ones = np.ones(len(encoded.codes), dtype=np.float64)
    is_present, weights = (
        sparse.csr_array((values, encoded.codes, encoded.offsets), shape=(size, encoded.size))
        for values in (ones, encoded.weights.astype(np.float64))
    )
    share_F = np.asarray(is_present.sum(axis=0)).ravel() / max(1, size - 1)
    idf_F = np.log(1.0 / np.maximum(share_F, 1e-12))
    base = 0
    parts = []
    for column in encoding.columns:
        weight_F = idf_F[base : base + column.size].copy()
        weight_F[0] = 0.0  # a missing cell
        if column.column_type == "text":
            share = share_F[base : base + column.size]
            weight_F[(share > MAX_WORD_SHARE) | (share * (size - 1) > MAX_WORD_ITEMS)] = 0.0
        if column.column_type == "number":
            weight_F[1:2] = 0.0  # the value itself: its decile defines the similarity
        if column.column_type == "vector":
            weight_F[1:] = 1.0
        entries = weights if column.column_type == "vector" else is_present
        part = entries[:, base : base + column.size] @ sparse.diags_array(weight_F)
        length_V = np.sqrt(np.asarray(part.power(2).sum(axis=1)).ravel())
        scale_V = np.divide(1.0, length_V, out=np.zeros(size), where=length_V > 0)
        parts.append(sparse.diags_array(scale_V) @ part)
        base += column.size
    return (sparse.hstack(parts) / np.sqrt(len(parts))).tocsr().astype(np.float32)


def _nearest(items_VF: Any, neighbors: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the most similar other items by blocks, without similarity 0; ties: the smaller index."""
    from scipy import sparse

    size = items_VF.shape[0]
    transposed = items_VF.T.tocsr()
    step = max(1, _BLOCK_BYTES // (4 * size))
    for start in range(0, size, step):
        block = (items_VF[start : start + step] @ transposed).tocoo()
        is_pair = (block.row + start != block.col) & (block.data > 0)
        others = sparse.coo_array((block.data[is_pair], (block.row[is_pair], block.col[is_pair])), shape=block.shape)
        yield keep_largest(others, neighbors)
