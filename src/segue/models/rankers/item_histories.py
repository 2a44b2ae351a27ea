"""Every item's own sequence: who came to it from which item, after what pause; of any moment, and kept up live.

Times and counts are told in ``BUCKETS`` steps, two to each doubling, so that a net learns a vector for each.
Shape letters: V catalog size with PAD, N events, P pairs of item and moment, S sides, M events of a side.
"""

from dataclasses import dataclass, fields

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences

BUCKETS = 64
"""Bucket 0 is "there is none"; the last one begins at 2 ** 31 seconds."""
EVENT_FEATURES = 3
"""What is told of an interaction beside the item before it: the person's pause since that, the time since anybody's
last interaction with this item, and how many events the person had behind them."""


def log_bucket(amount: np.ndarray) -> np.ndarray:
    """int64: 1 + floor(2 log2(1 + amount)), at most 63; 0 for a negative amount, which stands for none.

    >>> bucket(np.array([-1, 0, 1, 3, 3600])).tolist()
    [0, 1, 3, 5, 24]
    """
    steps = np.floor(2.0 * np.log2(1.0 + np.maximum(amount, 0.0)))
    return np.where(amount < 0, 0, 1 + np.minimum(steps, BUCKETS - 2)).astype(np.int64)


def seconds(duration_us: np.ndarray) -> np.ndarray:
    """Microseconds as seconds, float64."""
    return np.asarray(duration_us, dtype=np.float64) / 1e6


@dataclass(frozen=True)
class ItemEvents:
    """The newest interactions of S items, oldest first, the last ``lengths_S`` of M columns unused: left-aligned."""

    before_SM: np.ndarray
    """int32: what the person had done just before; PAD where nothing."""
    buckets_SMK: np.ndarray
    """uint8 [S, M, MARKS]: buckets."""
    times_SM: np.ndarray
    """int64."""
    lengths_S: np.ndarray
    totals_S: np.ndarray
    """int64: all interactions of the item so far, also those that are not among these."""

    def take(self, rows: np.ndarray) -> "ItemEvents":
        """Some sides, by index or mask."""
        return ItemEvents(*(a[rows] for a in self._arrays()))

    def with_an_empty_one(self) -> "ItemEvents":
        """One side more, of an item nobody has come to."""
        return ItemEvents(*(np.concatenate([a, np.zeros_like(a, shape=(1, *a.shape[1:]))]) for a in self._arrays()))

    def _arrays(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class ItemHistories:
    """A whole log item by item, each in time order; interactions at one time in the order of the log's rows."""

    offsets: np.ndarray
    """int64 [V + 1]."""
    times_N: np.ndarray
    before_N: np.ndarray
    marks_NK: np.ndarray
    moments: np.ndarray
    """int64, ascending: the times that occur."""
    keys_N: np.ndarray
    """int64, ascending: item and time in one number."""

    @classmethod
    def of(cls, sequences: Sequences, size: int) -> "ItemHistories":
        """From a log of a catalog of size V. ValueError for one without times: nothing in it says what was before."""
        if sequences.times is None:
            raise ValueError(
                "This log has an order but no times, so nobody knows what had happened to an item at a moment: "
                "a ranker needs a log with times."
            )
        row_N, where_N = sequences.positions()
        items_N, times_N = sequences.items[where_N], sequences.times[where_N]
        place_N = where_N - sequences.starts[row_N]
        first_N = place_N == 0
        before_N = np.where(first_N, PAD, np.roll(items_N, 1)).astype(np.int32)
        gap_N = np.where(first_N, -1, times_N - np.roll(times_N, 1))
        order = np.lexsort((times_N, items_N))
        order = order[np.searchsorted(items_N[order], PAD, side="right") :]
        items_N, times_N = items_N[order], times_N[order]
        between_N = np.where(np.roll(items_N, 1) == items_N, times_N - np.roll(times_N, 1), -1)
        between_N[:1] = -1
        marks = (log_bucket(seconds(gap_N[order])), log_bucket(seconds(between_N)), log_bucket(place_N[order]))
        marks[0][gap_N[order] < 0], marks[1][between_N < 0] = 0, 0
        moments = np.unique(times_N)
        keys_N = items_N.astype(np.int64) * (len(moments) + 1) + np.searchsorted(moments, times_N)
        offsets = np.searchsorted(items_N, np.arange(size + 1)).astype(np.int64)
        return cls(offsets, times_N, before_N[order], np.stack(marks, axis=1).astype(np.uint8), moments, keys_N)

    @property
    def size(self) -> int:
        """V."""
        return len(self.offsets) - 1

    def end_positions(self, items_P: np.ndarray, moments_P: np.ndarray) -> np.ndarray:
        """Where each item's interactions strictly before the moment end, int64 [P]: what happens at the moment itself,
        the case that asks among it, is not known."""
        tick_P = np.searchsorted(self.moments, moments_P)
        return np.searchsorted(self.keys_N, items_P.astype(np.int64) * (len(self.moments) + 1) + tick_P)

    def counts(self, items_P: np.ndarray, moments_P: np.ndarray) -> np.ndarray:
        """Interactions of each item strictly before the moment, int64 [P]."""
        counts_P: np.ndarray = self.end_positions(items_P, moments_P) - self.offsets[items_P]
        return counts_P

    def newest_events(self, items_P: np.ndarray, moments_P: np.ndarray, width: int) -> tuple[ItemEvents, np.ndarray]:
        """(the distinct sides, int64 [P] which of them is whose): each item's last ``width`` before each moment."""
        stops_P = self.end_positions(items_P, moments_P)
        ends_P = stops_P * 2 + (stops_P > self.offsets[items_P])
        ends_S, first_S, which_P = np.unique(ends_P, return_index=True, return_inverse=True)
        stops_S, offsets_S = ends_S // 2, self.offsets[items_P[first_S]]
        offsets_S = np.where(ends_S % 2, offsets_S, stops_S)
        starts_S = np.maximum(offsets_S, stops_S - width)
        lengths_S = stops_S - starts_S
        inside_SM = np.arange(width) < lengths_S[:, None]
        where_SM = np.where(inside_SM, starts_S[:, None] + np.arange(width), 0)
        if len(self.times_N) == 0:
            empty = np.zeros(where_SM.shape, dtype=np.int64)
            marks = np.zeros((*where_SM.shape, EVENT_FEATURES), np.uint8)
            return ItemEvents(empty.astype(np.int32), marks, empty, lengths_S, lengths_S), which_P
        return (
            ItemEvents(
                np.where(inside_SM, self.before_N[where_SM], PAD).astype(np.int32),
                np.where(inside_SM[..., None], self.marks_NK[where_SM], 0).astype(np.uint8),
                np.where(inside_SM, self.times_N[where_SM], 0),
                lengths_S,
                stops_S - offsets_S,
            ),
            which_P,
        )
