"""Item histories: the interactions of each item in time order, at any time of a log.

Times and counts are encoded in ``BUCKETS`` logarithmic buckets, two for each doubling, each with an embedding of its
own. Shape letters: V catalog size with PAD, N events, P pairs of item and time, S item histories, M events of an item
history, K event features.
"""

from dataclasses import dataclass, fields

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences

BUCKETS = 64
"""Number of buckets. Bucket 0: no value; the last one begins at 2 ** 31 seconds."""
EVENT_FEATURES = 3
"""Number of bucketed features of an interaction: time since the user's event before, time since the item's interaction
before, number of the user's earlier events."""


def log_bucket(amount: np.ndarray) -> np.ndarray:
    """Return 1 + floor(2 log2(1 + amount)), at most 63, int64; 0 for a negative amount, which means no value.

    >>> log_bucket(np.array([-1, 0, 1, 3, 3600])).tolist()
    [0, 1, 3, 5, 24]
    """
    steps = np.floor(2.0 * np.log2(1.0 + np.maximum(amount, 0.0)))
    return np.where(amount < 0, 0, 1 + np.minimum(steps, BUCKETS - 2)).astype(np.int64)


def seconds(duration_us: np.ndarray) -> np.ndarray:
    """Convert microseconds to seconds, float64."""
    return np.asarray(duration_us, dtype=np.float64) / 1e6


@dataclass(frozen=True)
class ItemEvents:
    """The newest interactions of S items, oldest first, left-aligned in M columns."""

    previous_items_SM: np.ndarray
    """int32, item of the user's event before; PAD for a user's first event."""
    buckets_SMK: np.ndarray
    """uint8 [S, M, EVENT_FEATURES], bucketed features."""
    times_SM: np.ndarray
    """int64, timestamps, UTC microseconds; 0 in padding."""
    lengths_S: np.ndarray
    """int64, number of used columns."""
    totals_S: np.ndarray
    """int64, number of all interactions of the item so far."""

    def take(self, rows: np.ndarray) -> "ItemEvents":
        """Return some rows, by index or mask."""
        return ItemEvents(*(array[rows] for array in self._arrays()))

    def with_empty_row(self) -> "ItemEvents":
        """Return the rows and one more, of an item without interactions."""
        return ItemEvents(*(np.concatenate([a, np.zeros_like(a, shape=(1, *a.shape[1:]))]) for a in self._arrays()))

    def _arrays(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class ItemHistories:
    """Interactions of a whole log, item by item, in time order; equal times in the order of the log's rows."""

    offsets: np.ndarray
    """int64 [V + 1], start of each item's interactions."""
    times_N: np.ndarray
    """int64, timestamps, UTC microseconds."""
    previous_items_N: np.ndarray
    """int32, item of the user's event before."""
    buckets_NK: np.ndarray
    """uint8, bucketed features."""
    unique_times: np.ndarray
    """int64, ascending: distinct timestamps of the log."""
    keys_N: np.ndarray
    """int64, ascending: item and timestamp in one number."""

    @classmethod
    def from_sequences(cls, sequences: Sequences, size: int) -> "ItemHistories":
        """Group the events of a log by item.

        Args:
            sequences: the log, with timestamps.
            size: V, catalog size with PAD.

        Raises:
            ValueError: the log has no timestamps.
        """
        if sequences.times is None:
            raise ValueError(
                "This log has an order but no times, so the history of an item at a given time is unknown: "
                "a ranker needs a log with times."
            )
        row_N, position_N = sequences.positions()
        items_N, times_N = sequences.items[position_N], sequences.times[position_N]
        place_N = position_N - sequences.starts[row_N]
        is_first_N = place_N == 0
        previous_N = np.where(is_first_N, PAD, np.roll(items_N, 1)).astype(np.int32)
        gap_N = np.where(is_first_N, -1, times_N - np.roll(times_N, 1))
        order = np.lexsort((times_N, items_N))
        order = order[np.searchsorted(items_N[order], PAD, side="right") :]
        items_N, times_N = items_N[order], times_N[order]
        between_N = np.where(np.roll(items_N, 1) == items_N, times_N - np.roll(times_N, 1), -1)
        between_N[:1] = -1
        buckets = (log_bucket(seconds(gap_N[order])), log_bucket(seconds(between_N)), log_bucket(place_N[order]))
        buckets[0][gap_N[order] < 0], buckets[1][between_N < 0] = 0, 0
        unique_times = np.unique(times_N)
        keys_N = items_N.astype(np.int64) * (len(unique_times) + 1) + np.searchsorted(unique_times, times_N)
        offsets = np.searchsorted(items_N, np.arange(size + 1)).astype(np.int64)
        buckets_NK = np.stack(buckets, axis=1).astype(np.uint8)
        return cls(offsets, times_N, previous_N[order], buckets_NK, unique_times, keys_N)

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        return len(self.offsets) - 1

    def end_positions(self, items_P: np.ndarray, times_P: np.ndarray) -> np.ndarray:
        """Return the end of each item's interactions strictly before a time.

        Interactions at the time itself, the example to score among them, are not known then.

        Args:
            items_P: int [P].
            times_P: int64 [P], UTC microseconds.

        Returns:
            int64 [P], positions in the arrays of all interactions.
        """
        tick_P = np.searchsorted(self.unique_times, times_P)
        return np.searchsorted(self.keys_N, items_P.astype(np.int64) * (len(self.unique_times) + 1) + tick_P)

    def counts(self, items_P: np.ndarray, times_P: np.ndarray) -> np.ndarray:
        """Return the number of interactions of each item strictly before a time, int64 [P].

        Args:
            items_P: int [P].
            times_P: int64 [P], UTC microseconds.
        """
        counts_P: np.ndarray = self.end_positions(items_P, times_P) - self.offsets[items_P]
        return counts_P

    def newest_events(self, items_P: np.ndarray, times_P: np.ndarray, width: int) -> tuple[ItemEvents, np.ndarray]:
        """Return each item's newest interactions strictly before a time; equal item histories once.

        Args:
            items_P: int [P].
            times_P: int64 [P], UTC microseconds.
            width: M, maximum number of interactions.

        Returns:
            (S distinct item histories, row of each pair in them int64 [P]).
        """
        stops_P = self.end_positions(items_P, times_P)
        ends_P = stops_P * 2 + (stops_P > self.offsets[items_P])
        ends_S, first_S, row_P = np.unique(ends_P, return_index=True, return_inverse=True)
        stops_S, offsets_S = ends_S // 2, self.offsets[items_P[first_S]]
        offsets_S = np.where(ends_S % 2, offsets_S, stops_S)
        starts_S = np.maximum(offsets_S, stops_S - width)
        lengths_S = stops_S - starts_S
        is_event_SM = np.arange(width) < lengths_S[:, None]
        position_SM = np.where(is_event_SM, starts_S[:, None] + np.arange(width), 0)
        if len(self.times_N) == 0:
            zeros = np.zeros(position_SM.shape, dtype=np.int64)
            buckets = np.zeros((*position_SM.shape, EVENT_FEATURES), np.uint8)
            return ItemEvents(zeros.astype(np.int32), buckets, zeros, lengths_S, lengths_S), row_P
        return (
            ItemEvents(
                np.where(is_event_SM, self.previous_items_N[position_SM], PAD).astype(np.int32),
                np.where(is_event_SM[..., None], self.buckets_NK[position_SM], 0).astype(np.uint8),
                np.where(is_event_SM, self.times_N[position_SM], 0),
                lengths_S,
                stops_S - offsets_S,
            ),
            row_P,
        )
