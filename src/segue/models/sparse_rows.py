"""Sparse rows in three arrays, scored with numpy alone: what the counting models are made of.

Shape letters: B batch, V catalog size with PAD, N events, M stored pairs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences, iter_chunks
from segue.models.top_k import order_by_score_then_index

DENSE_BYTES = 128 << 20
"""A matrix up to this size is also kept dense when more than a twentieth is filled: one product beats gathering."""


PRODUCT_GAIN = 32
"""A large matrix product reads its operands so much faster, per element, than rows that are gathered one by one."""


def keep_largest(matrix: Any, keep: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets, columns, values) of any scipy sparse matrix by row; with ``keep``, only each row's largest entries
    (ties: the smaller column)."""
    rows = matrix.tocsr()
    rows.sort_indices()
    offsets, columns = rows.indptr.astype(np.int64), rows.indices.astype(np.int32)
    values = rows.data.astype(np.float32)
    if keep is None:
        return offsets, columns, values
    row = np.repeat(np.arange(rows.shape[0]), np.diff(offsets))
    order = order_by_score_then_index(values, columns, rows_N=row)
    place = np.arange(len(order)) - offsets[row]
    chosen = np.sort(order[place < keep])
    counts = np.bincount(row[chosen], minlength=rows.shape[0])
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), columns[chosen], values[chosen]


class SparseRows:
    """A [V, V] matrix by row: row i holds ``columns[offsets[i]:offsets[i + 1]]`` with ``values`` alike."""

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
        """From any scipy sparse matrix; with ``keep``, only each row's largest entries (ties: the smaller column)."""
        return cls(*keep_largest(matrix, keep))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "SparseRows":
        """From the names that ``arrays`` gives."""
        return cls(arrays["offsets"], arrays["columns"], arrays["values"])

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"offsets": self.offsets, "columns": self.columns, "values": self.values}

    @property
    def size(self) -> int:
        return len(self.offsets) - 1

    def weighted_sum(self, histories: Sequences, weights_N: np.ndarray) -> np.ndarray:
        """float32 [B, V]: for each history the sum over its events of weight * the event item's row.

        ``weights_N`` belongs to the events in the order of ``histories.positions()``; PAD events count nothing.
        """
        _, where_N = histories.positions()
        items_N = histories.items[where_N]
        if self._dense_VV is None:
            return self._gather(histories, items_N, weights_N)
        weights_N = np.where(items_N == PAD, 0.0, weights_N).astype(np.float32)
        if len(items_N) * PRODUCT_GAIN < len(histories) * self.size:
            return self._rows_one_by_one(histories, items_N, weights_N)
        return self._product(histories, items_N, weights_N)

    def _gather(self, histories: Sequences, items_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
        """Every stored pair that is touched, added to its slot at once; PAD has no row."""
        batch, size = len(histories), self.size
        row_N = np.repeat(np.arange(batch), histories.lengths)
        first_N = self.offsets[items_N]
        count_N = np.where(items_N == PAD, 0, self.offsets[items_N + 1] - first_N)
        total = int(count_N.sum())
        entry_M = np.repeat(first_N - (np.cumsum(count_N) - count_N), count_N) + np.arange(total)
        slots_M = np.repeat(row_N * size, count_N) + self.columns[entry_M]
        values_M = np.repeat(weights_N, count_N) * self.values[entry_M]
        return np.bincount(slots_M, weights=values_M, minlength=batch * size).reshape(batch, size).astype(np.float32)

    def touched(self, items_N: np.ndarray, weights_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One history's ``weighted_sum`` without its zeros: (columns ascending, float32 sums of them)."""
        first_N = self.offsets[items_N]
        count_N = np.where(items_N == PAD, 0, self.offsets[items_N + 1] - first_N)
        entry_M = np.repeat(first_N - (np.cumsum(count_N) - count_N), count_N) + np.arange(int(count_N.sum()))
        columns, slot_M = np.unique(self.columns[entry_M], return_inverse=True)
        sums = np.bincount(slot_M, weights=np.repeat(weights_N, count_N) * self.values[entry_M], minlength=len(columns))
        return columns, sums.astype(np.float32)

    def _rows_one_by_one(self, histories: Sequences, items_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
        """A few dense rows for each history: they stay in the processor's cache."""
        assert self._dense_VV is not None
        out_BV = np.empty((len(histories), self.size), dtype=np.float32)
        stops = np.cumsum(histories.lengths)
        for b, (start, stop) in enumerate(zip((stops - histories.lengths).tolist(), stops.tolist(), strict=True)):
            np.dot(weights_N[start:stop], self._dense_VV[items_N[start:stop]], out=out_BV[b])
        return out_BV

    def _product(self, histories: Sequences, items_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
        """The weights as a matrix, times the whole matrix: worth it for long histories."""
        assert self._dense_VV is not None
        batch, size = len(histories), self.size
        slots_N = np.repeat(np.arange(batch) * size, histories.lengths) + items_N
        pull_BV = np.bincount(slots_N, weights=weights_N, minlength=batch * size).reshape(batch, size)
        product: np.ndarray = pull_BV.astype(np.float32) @ self._dense_VV
        return product


NEGLIGIBLE_WEIGHT = 1e-6
"""Events whose decayed weight is below this are not looked at: no list changes, long histories stay cheap."""


def effective_length(decay: float) -> int:
    """How many of the newest events have a weight, decay ** age, that is not negligible."""
    return 1_000_000 if decay == 1 else 1 + int(np.log(NEGLIGIBLE_WEIGHT) / np.log(decay))


def ages(histories: Sequences) -> np.ndarray:
    """How many events ago each event was, int64 [N]: 0 for the newest of its row."""
    row_N, where_N = histories.positions()
    age: np.ndarray = histories.stops[row_N] - 1 - where_N
    return age


def decayed_lifts(rows: SparseRows, items: np.ndarray, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """For a scorer that adds to popularity the rows of a history's items, each times decay ** age: (the items that one
    history of known items raises, ascending; float32 how much, never negative). With these a list is known without a
    row of all scores, and its scores are those of ``scores`` bit by bit."""
    newest = items[-effective_length(decay) :]
    return rows.touched(newest, decay ** np.arange(len(newest) - 1, -1, -1))


def windowed_pairs(sequences: Sequences, size: int, window: int) -> Any:
    """scipy CSR float32 [V, V]: F[i, j] = sum of 1 / distance over all i before j at most ``window`` steps apart in
    one row, PAD left out."""
    from scipy import sparse

    row_N, where_N = sequences.positions()
    items_N = sequences.items[where_N]
    total = sparse.csr_array((size, size), dtype=np.float32)
    for distance in range(1, window + 1):
        before, after = items_N[:-distance], items_N[distance:]
        same = (row_N[distance:] == row_N[:-distance]) & (before != PAD) & (after != PAD)
        weight = np.full(int(same.sum()), 1.0 / distance, dtype=np.float32)
        total = total + sparse.coo_array((weight, (before[same], after[same])), shape=(size, size)).tocsr()
    return total


def item_counts(sequences: Sequences, size: int) -> np.ndarray:
    """How often each item occurs, int64 [V]; PAD counts nothing."""
    items_N = sequences.items if sequences.is_contiguous else sequences.items[sequences.positions()[1]]
    counts_V = np.zeros(size, dtype=np.int64)
    for piece in iter_chunks(items_N):
        counts_V += np.bincount(piece, minlength=size)
    counts_V[PAD] = 0
    return counts_V


def tie_breaker(counts_V: np.ndarray, scale: float) -> np.ndarray:
    """Popularity squeezed into [0, scale), float32 [V]: gives unseen pairs an order without disturbing seen ones."""
    return (scale * counts_V / (counts_V.max(initial=0) + 1.0)).astype(np.float32)
