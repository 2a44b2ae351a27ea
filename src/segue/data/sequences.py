"""Ragged sequences without padding: flat arrays of items and times, and the start and stop of each row.

One type for training sequences, histories and prefixes. Rows are views into the same flat arrays, so that every prefix
of every sequence costs 16 bytes and no copy.

>>> sequences = Sequences.from_lists([[5, 6, 7], [8]])
>>> sequences.prefixes([2, 1]).to_lists()
[[5, 6], [8]]
>>> sequences.tail(2).padded(3).tolist()
[[0, 6, 7], [0, 0, 8]]
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Literal

import numpy as np

from segue.data.catalog import PAD
from segue.data.event_contexts import EventContexts

NO_TIME = int(np.iinfo(np.int64).min)
"""Unknown time of an event or of a query; only events of histories may have it."""


@dataclass(frozen=True)
class Sequences:
    """B ragged rows over N flat events, oldest event first in each row. Arrays may be memory-mapped: never write."""

    items: np.ndarray
    """int32 [N], catalog indices."""
    times: np.ndarray | None
    """int64 [N], UTC microseconds; None for a log that has an order but no times."""
    starts: np.ndarray
    """int64 [B], flat position of each row's first event."""
    stops: np.ndarray
    """int64 [B], flat position behind each row's last event."""
    contexts: EventContexts | None = None
    """Context features of the N events; None: no contexts."""
    query_times: np.ndarray | None = None
    """int64 [B], UTC microseconds at which each history is scored; None: unknown. Never saved."""
    event_types: np.ndarray | None = None
    """object [N], type of each event as text, such as purchase; None: unknown. Never saved."""
    has_no_unknown: bool = field(default=False, init=False, repr=False, compare=False)
    """True once checked that no event is PAD, so that ``drop_unknown`` need not check again."""

    @classmethod
    def from_offsets(
        cls,
        items: np.ndarray,
        offsets: np.ndarray,
        times: np.ndarray | None = None,
        contexts: EventContexts | None = None,
    ) -> "Sequences":
        """Return contiguous rows: row b is ``items[offsets[b]:offsets[b + 1]]``.

        Args:
            items: int32 [N].
            offsets: int64 [B + 1], ascending.
            times: int64 [N], UTC microseconds; None: order only.
            contexts: contexts of the N events.
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        return cls(items, times, offsets[:-1], offsets[1:], contexts)

    @classmethod
    def from_lists(cls, rows: Iterable[Iterable[int]], times: Iterable[Iterable[int]] | None = None) -> "Sequences":
        """Return sequences from plain lists, for a request or a test.

        Args:
            rows: catalog indices of each row, oldest first.
            times: UTC microseconds of each row's events; None: order only.

        Raises:
            ValueError: a row has more or fewer times than items.
        """
        lists = [list(row) for row in rows]
        lengths = [len(row) for row in lists]
        flat_times = None
        if times is not None:
            time_lists = [list(row) for row in times]
            if [len(row) for row in time_lists] != lengths:
                raise ValueError(
                    f"Each row needs as many times as items, but the rows have {lengths} items "
                    f"and {[len(row) for row in time_lists]} times."
                )
            flat_times = np.array(list(chain.from_iterable(time_lists)), dtype=np.int64)
        flat = np.array(list(chain.from_iterable(lists)), dtype=np.int32)
        return cls.from_offsets(flat, np.array([0, *accumulate(lengths)], dtype=np.int64), flat_times)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            yield self.items[start:stop]

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each row, int64 [B]."""
        return self.stops - self.starts

    @property
    def num_events(self) -> int:
        """Number of events of all rows; an event that rows share counts once per row."""
        return int(self.lengths.sum())

    @property
    def is_contiguous(self) -> bool:
        """True if the rows cover the flat arrays without gap or overlap, so that they can be read in chunks."""
        if len(self) == 0:
            return len(self.items) == 0
        ends = self.starts[0] == 0 and self.stops[-1] == len(self.items)
        return bool(ends and np.array_equal(self.starts[1:], self.stops[:-1]))

    def to_lists(self) -> list[list[int]]:
        """Return the rows as plain lists."""
        return [row.tolist() for row in self]

    def as_of(self, query_times_B: np.ndarray | None) -> "Sequences":
        """Return the same rows with their query times, int64 [B] UTC microseconds; None: unknown.

        Raises:
            ValueError: the number of times differs from the number of rows.
        """
        if query_times_B is not None and query_times_B.shape != self.starts.shape:
            raise ValueError(f"Each row needs one query time, but {len(self)} rows got {len(query_times_B)} times.")
        return self._keep_no_unknown(replace(self, query_times=query_times_B))

    def take(self, rows: np.ndarray | slice) -> "Sequences":
        """Return some rows, by index, slice or mask. No event is copied."""
        times = None if self.query_times is None else self.query_times[rows]
        return self.with_bounds(self.starts[rows], self.stops[rows]).as_of(times)

    def tail(self, length: int) -> "Sequences":
        """Return the newest ``length`` events of each row."""
        return self.with_bounds(np.maximum(self.starts, self.stops - length), self.stops).as_of(self.query_times)

    def prefixes(self, lengths: np.ndarray | Iterable[int]) -> "Sequences":
        """Return the oldest ``lengths[b]`` events of row b; length -n leaves out the n newest events."""
        lengths = np.asarray(lengths, dtype=np.int64)
        stops = np.where(lengths < 0, self.stops + lengths, self.starts + lengths)
        return self.with_bounds(self.starts, np.clip(stops, self.starts, self.stops)).as_of(self.query_times)

    def with_bounds(self, starts: np.ndarray, stops: np.ndarray) -> "Sequences":
        """Return other rows over the same events, without query times.

        Args:
            starts: int64 [B], flat position of each row's first event.
            stops: int64 [B], flat position behind each row's last event.
        """
        rows = Sequences(self.items, self.times, starts, stops, self.contexts, event_types=self.event_types)
        return self._keep_no_unknown(rows)

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (row int64 [M], flat position int64 [M]) of every event of every row, row by row, oldest first."""
        lengths = self.lengths
        total = int(lengths.sum())
        row = np.repeat(np.arange(len(self), dtype=np.int64), lengths)
        first = np.repeat(self.starts - (np.cumsum(lengths) - lengths), lengths)
        return row, first + np.arange(total, dtype=np.int64)

    def to_contiguous(self) -> "Sequences":
        """Return a copy of the rows in flat arrays of their own, without gaps or overlaps."""
        _, position = self.positions()
        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        return self._gather(position, offsets)

    def drop_unknown(self) -> "Sequences":
        """Return the same rows without PAD events, that is without items outside the catalog."""
        if self.has_no_unknown:
            return self
        if self.is_contiguous and not any((chunk == PAD).any() for chunk in iter_chunks(self.items)):
            return self.mark_no_unknown()
        row, position = self.positions()
        items = self.items[position]
        if not (items == PAD).any():
            return self
        keep = items != PAD
        counts = np.bincount(row[keep], minlength=len(self))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return self._gather(position[keep], offsets).mark_no_unknown()

    def mark_no_unknown(self) -> "Sequences":
        """Mark that no event is PAD, which the caller has checked, and return the same rows."""
        object.__setattr__(self, "has_no_unknown", True)  # a note beside unchanged arrays
        return self

    def _keep_no_unknown(self, same_events: "Sequences") -> "Sequences":
        return same_events.mark_no_unknown() if self.has_no_unknown else same_events

    def _gather(self, position: np.ndarray, offsets: np.ndarray) -> "Sequences":
        """Return a copy of the events at flat positions, as B rows cut at the offsets, with the rows' query times."""
        times = None if self.times is None else self.times[position]
        contexts = None if self.contexts is None else self.contexts.take(position)
        rows = Sequences.from_offsets(self.items[position], offsets, times, contexts).as_of(self.query_times)
        return rows if self.event_types is None else replace(rows, event_types=self.event_types[position])

    def padded(
        self,
        max_length: int | None = None,
        *,
        align: Literal["left", "right"] = "right",
        values: np.ndarray | None = None,
        fill: int = PAD,
    ) -> np.ndarray:
        """Return the newest events of each row as a padded matrix; sole owner of padding.

        ::

            rows            a b c       right       0 a b c      newest event in the last column
                            d                       0 0 0 d
                            e f g h i               f g h i
                                        left        a b c 0      oldest event in the first column
                                                    d 0 0 0
                                                    f g h i

        Args:
            max_length: width T; of a longer row the newest events. None: length of the longest row.
            align: side on which the events lie.
            values: [N] values of the flat events (times, context codes); None: items.
            fill: value beside the events.

        Returns:
            [B, T] in the dtype of the values, int32 for items.
        """
        values = self.items if values is None else values
        rows, width = (
            (self, int(self.lengths.max(initial=0))) if max_length is None else (self.tail(max_length), max_length)
        )
        row, position = rows.positions()
        column = position - rows.starts[row] if align == "left" else width - (rows.stops[row] - position)
        out = np.full((len(self), width), fill, dtype=values.dtype)
        out[row, column] = values[position]
        return out

    def save(self, folder: Path) -> None:
        """Write ``items.npy``, ``offsets.npy`` and, for a log with times, ``times.npy``. Contexts are not saved."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "times.npy").unlink(missing_ok=True)  # of an earlier log with times
        flat = self.to_contiguous()
        np.save(folder / "items.npy", flat.items)
        np.save(
            folder / "offsets.npy",
            np.append(flat.starts, flat.stops[-1:]) if len(flat) else np.zeros(1, np.int64),
        )
        if flat.times is not None:
            np.save(folder / "times.npy", flat.times)

    @classmethod
    def open(cls, folder: Path) -> "Sequences":
        """Memory-map the arrays that ``save`` wrote."""
        times = folder / "times.npy"
        return cls.from_offsets(
            np.load(folder / "items.npy", mmap_mode="r", allow_pickle=False),
            np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False),
            np.load(times, mmap_mode="r", allow_pickle=False) if times.exists() else None,
        )


def iter_chunks(flat: np.ndarray, length: int = 1 << 22) -> Iterator[np.ndarray]:
    """Yield an array in chunks, so that a memory-mapped one is never in memory as a whole.

    Args:
        flat: [N].
        length: size of a chunk.
    """
    for start in range(0, len(flat), length):
        yield flat[start : start + length]
