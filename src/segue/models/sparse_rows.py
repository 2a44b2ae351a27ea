"""Sparse item-item matrices in three arrays, and functions shared by the models that are made of them.

Scoring needs numpy alone; fitting uses scipy.

Shape letters: B batch, V catalog size with PAD, N events, M stored pairs.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences, iter_chunks

DENSE_BYTES = 128 << 20
"""Largest size of a dense copy, kept if more than 5 % of the entries are filled: a product is faster than gathering."""
MATMUL_SPEEDUP = 32
"""Speed of a large matrix product per element, relative to gathering single rows."""


def keep_largest(matrix: Any, keep: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert a scipy sparse matrix to arrays, row by row.

    Args:
        matrix: any scipy sparse matrix [R, C].
        keep: number of largest entries that are kept of each row; ties: the smaller column. None: all entries.

    Returns:
        (offsets int64 [R + 1], columns int32 [M], values float32 [M]).
    """
    rows = matrix.tocsr()
    rows.sort_indices()
    offsets, columns = rows.indptr.astype(np.int64), rows.indices.astype(np.int32)
    values = rows.data.astype(np.float32)
    if keep is None:
        return offsets, columns, values
    is_kept_M = np.ones(len(values), dtype=bool)
    for row in np.flatnonzero(np.diff(offsets) > keep).tolist():
        part = slice(offsets[row], offsets[row + 1])
        is_kept_M[part] = _is_largest(values[part], keep)
    kept = np.concatenate([[0], np.cumsum(is_kept_M)])[offsets]
    return kept.astype(np.int64), columns[is_kept_M], values[is_kept_M]


def _is_largest(values_C: np.ndarray, keep: int) -> np.ndarray:
    """Return the mask of the ``keep`` largest values, bool [C], without sorting them; ties: the first ones."""
    least = np.partition(values_C, len(values_C) - keep)[len(values_C) - keep]
    is_kept_C: np.ndarray = values_C > least
    equal = np.flatnonzero(values_C == least)
    is_kept_C[equal[: keep - int(is_kept_C.sum())]] = True
    return is_kept_C


class SparseRows:
    """Sparse [V, V] matrix by row: row i has the ``columns[offsets[i]:offsets[i + 1]]`` and the same ``values``."""

    def __init__(self, offsets: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        self.offsets = offsets
        self.columns = columns
        self.values = values
        self._dense_VV: np.ndarray | None = None
        size = self.size
        if size * size * 4 <= DENSE_BYTES and len(values) > size * size / 20:
            self._dense_VV = np.zeros((size, size), dtype=np.float32)
            self._dense_VV[np.repeat(np.arange(size), np.diff(offsets)), columns] = values

    @classmethod
    def from_scipy(cls, matrix: Any, *, keep: int | None = None) -> "SparseRows":
        """Convert a scipy sparse matrix. See ``keep_largest`` for the parameters."""
        return cls(*keep_largest(matrix, keep))

    @classmethod
    def from_blocks(cls, blocks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> "SparseRows":
        """Join blocks of rows, each as ``keep_largest`` returns it."""
        counts, columns, values = [np.zeros(1, dtype=np.int64)], [], []
        for offsets, block_columns, block_values in blocks:
            counts.append(np.diff(offsets))
            columns.append(block_columns)
            values.append(block_values)
        return cls(np.cumsum(np.concatenate(counts)), np.concatenate(columns), np.concatenate(values))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "SparseRows":
        """Restore a matrix from the tensors of an artifact."""
        return cls(arrays["offsets"], arrays["columns"], arrays["values"])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact by name."""
        return {"offsets": self.offsets, "columns": self.columns, "values": self.values}

    @property
    def size(self) -> int:
        return len(self.offsets) - 1

    def weighted_sum(self, histories: Sequences, weights_N: np.ndarray) -> np.ndarray:
        """Sum the rows of the items of each history, weighted by event.

        Args:
            histories: B histories; PAD has no row.
            weights_N: weight of each event, in the order of ``histories.positions()``.

        Returns:
            float32 [B, V].
        """
        _, position_N = histories.positions()
        items_N = histories.items[position_N]
        if self._dense_VV is None:
            return self._gather(histories, items_N, weights_N)
        weights_N = np.where(items_N == PAD, 0.0, weights_N).astype(np.float32)
        if len(items_N) * MATMUL_SPEEDUP < len(histories) * self.size:
            return self._sum_dense_rows(histories, items_N, weights_N)
        return self._product(histories, items_N, weights_N)

    def _gather(self, histories: Sequences, items_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
        """Sum the entries of all rows with one ``bincount``; PAD has no row."""
        batch, size = len(histories), self.size
        row_N = np.repeat(np.arange(batch), histories.lengths)
        first_N = self.offsets[items_N]
        count_N = np.where(items_N == PAD, 0, self.offsets[items_N + 1] - first_N)
        total = int(count_N.sum())
        entry_M = np.repeat(first_N - (np.cumsum(count_N) - count_N), count_N) + np.arange(total)
        slots_M = np.repeat(row_N * size, count_N) + self.columns[entry_M]
        values_M = np.repeat(weights_N, count_N) * self.values[entry_M]
        return np.bincount(slots_M, weights=values_M, minlength=batch * size).reshape(batch, size).astype(np.float32)

    def sparse_weighted_sum(self, items_N: np.ndarray, weights_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum the rows of the items of one history, without the zeros.

        Args:
            items_N: items of the history.
            weights_N: weight of each event.

        Returns:
            (columns ascending, float32 sums); the sums equal those of ``weighted_sum`` bit by bit.
        """
        first_N = self.offsets[items_N]
        count_N = np.where(items_N == PAD, 0, self.offsets[items_N + 1] - first_N)
        entry_M = np.repeat(first_N - (np.cumsum(count_N) - count_N), count_N) + np.arange(int(count_N.sum()))
        columns, slot_M = np.unique(self.columns[entry_M], return_inverse=True)
        sums = np.bincount(slot_M, weights=np.repeat(weights_N, count_N) * self.values[entry_M], minlength=len(columns))
        return columns, sums.astype(np.float32)

    def _sum_dense_rows(self, histories: Sequences, items_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
        """Sum dense rows history by history: they stay in the CPU cache."""
        assert self._dense_VV is not None
        out_BV = np.empty((len(histories), self.size), dtype=np.float32)
        stops = np.cumsum(histories.lengths)
        for b, (start, stop) in enumerate(zip((stops - histories.lengths).tolist(), stops.tolist(), strict=True)):
            np.dot(weights_N[start:stop], self._dense_VV[items_N[start:stop]], out=out_BV[b])
        return out_BV

    def _product(self, histories: Sequences, items_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
        """Multiply the matrix of weights by the whole matrix, for long histories."""
        assert self._dense_VV is not None
        batch, size = len(histories), self.size
        slots_N = np.repeat(np.arange(batch) * size, histories.lengths) + items_N
        weights_BV = np.bincount(slots_N, weights=weights_N, minlength=batch * size).reshape(batch, size)
        product: np.ndarray = weights_BV.astype(np.float32) @ self._dense_VV
        return product


NEGLIGIBLE_WEIGHT = 1e-6
"""Decayed weight below which events are ignored: lists do not change, and long histories stay cheap."""


def effective_length(decay: float) -> int:
    """Return the number of newest events whose weight, decay ** age, is not negligible."""
    return 1_000_000 if decay == 1 else 1 + int(np.log(NEGLIGIBLE_WEIGHT) / np.log(decay))


def ages(histories: Sequences) -> np.ndarray:
    """Return the age of each event in events, int64 [N]: 0 for the newest of its row."""
    row_N, position_N = histories.positions()
    age: np.ndarray = histories.stops[row_N] - 1 - position_N
    return age


def decayed_lifts(rows: SparseRows, items: np.ndarray, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the items of one history with scores above popularity, and these differences.

    For a scorer that adds to popularity the rows of a history's items, each times decay ** age. With the lifts a list
    is known without a row of all scores, and its scores equal those of ``scores`` bit by bit.

    Args:
        rows: item-item matrix without negative entries.
        items: known items of the history, the newest last.
        decay: factor on the weight per step back.

    Returns:
        (items ascending, lifts float32, at least 0).
    """
    newest = items[-effective_length(decay) :]
    return rows.sparse_weighted_sum(newest, decay ** np.arange(len(newest) - 1, -1, -1))


def windowed_pairs(sequences: Sequences, size: int, window: int) -> Any:
    """Count ordered pairs: F[i, j] = sum of 1 / distance over all i before j in one row.

    Args:
        sequences: item indices of each user or session; PAD is not counted but takes its position.
        size: V, catalog size with PAD.
        window: largest distance, in events.

    Returns:
        scipy CSR float32 [V, V].
    """
    from scipy import sparse

    row_N, position_N = sequences.positions()
    items_N = sequences.items[position_N]
    total = sparse.csr_array((size, size), dtype=np.float32)
    for distance in range(1, window + 1):
        before, after = items_N[:-distance], items_N[distance:]
        is_pair = (row_N[distance:] == row_N[:-distance]) & (before != PAD) & (after != PAD)
        weight = np.full(int(is_pair.sum()), 1.0 / distance, dtype=np.float32)
        total = total + sparse.coo_array((weight, (before[is_pair], after[is_pair])), shape=(size, size)).tocsr()
    return total


def item_counts(sequences: Sequences, size: int) -> np.ndarray:
    """Count the events of each item.

    Args:
        sequences: item indices of each user or session; PAD is not counted.
        size: V, catalog size with PAD.

    Returns:
        int64 [V].
    """
    items_N = sequences.items if sequences.is_contiguous else sequences.items[sequences.positions()[1]]
    counts_V = np.zeros(size, dtype=np.int64)
    for chunk in iter_chunks(items_N):
        counts_V += np.bincount(chunk, minlength=size)
    counts_V[PAD] = 0
    return counts_V


def tie_breaker(counts_V: np.ndarray, scale: float) -> np.ndarray:
    """Scale popularity so that it orders items without a score and changes no other order.

    Args:
        counts_V: number of events of each item.
        scale: upper bound of the result, below any difference of two scores.

    Returns:
        float32 [V] in [0, scale).
    """
    return (scale * counts_V / (counts_V.max(initial=0) + 1.0)).astype(np.float32)
