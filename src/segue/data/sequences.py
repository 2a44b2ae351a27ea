"""Ragged sequences without padding: flat items and times, and where each row starts and stops.

One type for training data, for histories to score and for prefixes: rows are views into the same flat arrays, so
every prefix of every sequence costs 16 bytes and no copy.

>>> log = Sequences.from_lists([[5, 6, 7], [8]])
>>> log.prefixes([2, 1]).lists()
[[5, 6], [8]]
>>> log.tail(2).padded(3).tolist()
[[0, 6, 7], [0, 0, 8]]
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from segue.data.catalog import PAD
from segue.data.event_contexts import EventContexts

NO_TIME = int(np.iinfo(np.int64).min)
"""The time of an event, or of a question, of which nobody knows when it was; only histories have such events."""


@dataclass(frozen=True)
class Sequences:
    """B ragged rows over N flat events, oldest event first in each row.

    ``items`` int32 [N]; ``times`` int64 [N] UTC microseconds, or None where the log has order but no time;
    ``starts`` and ``stops`` int64 [B]; ``contexts``: what else is known of each event, where anything is; ``now`` int64
    [B], for histories: the moment at which each is asked what comes next, None where nobody says, never saved. Arrays
    may be memory-mapped and must not be written to.
    """

    items: np.ndarray
    times: np.ndarray | None
    starts: np.ndarray
    stops: np.ndarray
    contexts: EventContexts | None = None
    query_times: np.ndarray | None = None
    has_no_unknown: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether somebody has looked, and no event of the arrays is PAD: ``known`` need not look again."""

    @classmethod
    def from_offsets(
        cls,
        items: np.ndarray,
        offsets: np.ndarray,
        times: np.ndarray | None = None,
        contexts: EventContexts | None = None,
    ) -> "Sequences":
        """Rows that lie one behind the other: row b is ``items[offsets[b]:offsets[b + 1]]``."""
        offsets = np.asarray(offsets, dtype=np.int64)
        return cls(items, times, offsets[:-1], offsets[1:], contexts)

    @classmethod
    def from_lists(cls, rows: Iterable[Iterable[int]], times: Iterable[Iterable[int]] | None = None) -> "Sequences":
        """Small hand-made sequences, for a request or a test."""
        lists = [list(row) for row in rows]
        lengths = [len(row) for row in lists]
        flat_times = None
        if times is not None:
            moments = [list(row) for row in times]
            if [len(row) for row in moments] != lengths:
                raise ValueError(
                    f"Each row needs as many times as items, but the rows have {lengths} items "
                    f"and {[len(row) for row in moments]} times."
                )
            flat_times = np.array(list(chain.from_iterable(moments)), dtype=np.int64)
        flat = np.array(list(chain.from_iterable(lists)), dtype=np.int32)
        return cls.from_offsets(flat, np.array([0, *accumulate(lengths)], dtype=np.int64), flat_times)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            yield self.items[start:stop]

    @property
    def lengths(self) -> np.ndarray:
        """Events in each row, int64 [B]."""
        return self.stops - self.starts

    @property
    def num_events(self) -> int:
        """Events in all rows together; events that overlapping rows share count each time."""
        return int(self.lengths.sum())

    @property
    def is_contiguous(self) -> bool:
        """Whether the rows cover the flat arrays one behind the other: such a log can be read through in pieces."""
        if len(self) == 0:
            return len(self.items) == 0
        ends = self.starts[0] == 0 and self.stops[-1] == len(self.items)
        return bool(ends and np.array_equal(self.starts[1:], self.stops[:-1]))

    def to_lists(self) -> list[list[int]]:
        """The rows as plain lists."""
        return [row.tolist() for row in self]

    def as_of(self, now_B: np.ndarray | None) -> "Sequences":
        """The same rows, each asked at a moment of its own (UTC microseconds), or at none that is known."""
        if now_B is not None and now_B.shape != self.starts.shape:
            raise ValueError(f"Each row is asked at one moment, but {len(self)} rows got {len(now_B)} moments.")
        return self._as_clean(replace(self, query_times=now_B))

    def take(self, rows: np.ndarray | slice) -> "Sequences":
        """Some rows, by index, slice or mask; no event is copied."""
        now = None if self.query_times is None else self.query_times[rows]
        return self.within(self.starts[rows], self.stops[rows]).as_of(now)

    def tail(self, length: int) -> "Sequences":
        """The newest ``length`` events of each row."""
        return self.within(np.maximum(self.starts, self.stops - length), self.stops).as_of(self.query_times)

    def prefixes(self, lengths: np.ndarray | Iterable[int]) -> "Sequences":
        """The oldest ``lengths[b]`` events of row b; a negative length leaves out that many newest events."""
        wanted = np.asarray(lengths, dtype=np.int64)
        stops = np.where(wanted < 0, self.stops + wanted, self.starts + wanted)
        return self.within(self.starts, np.clip(stops, self.starts, self.stops)).as_of(self.query_times)

    def within(self, starts: np.ndarray, stops: np.ndarray) -> "Sequences":
        """Other rows of the same events; nobody has said when these are asked."""
        return self._as_clean(Sequences(self.items, self.times, starts, stops, self.contexts))

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Where every event of every row lies: (row int64 [M], flat position int64 [M]), row by row, oldest first."""
        lengths = self.lengths
        total = int(lengths.sum())
        row = np.repeat(np.arange(len(self), dtype=np.int64), lengths)
        first = np.repeat(self.starts - (np.cumsum(lengths) - lengths), lengths)
        return row, first + np.arange(total, dtype=np.int64)

    def to_contiguous(self) -> "Sequences":
        """The same rows copied into arrays of their own, one behind the other, without gaps or overlaps."""
        _, where = self.positions()
        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        return self._copied(where, offsets)

    def drop_unknown(self) -> "Sequences":
        """The same rows without PAD entries, that is without items the catalog does not know."""
        if self.has_no_unknown:
            return self
        if self.is_contiguous and not any((piece == PAD).any() for piece in iter_chunks(self.items)):
            return self.mark_no_unknown()
        row, where = self.positions()
        items = self.items[where]
        if not (items == PAD).any():
            return self
        keep = items != PAD
        counts = np.bincount(row[keep], minlength=len(self))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return self._copied(where[keep], offsets).mark_no_unknown()

    def mark_no_unknown(self) -> "Sequences":
        """The same rows, of which the caller knows that no event is PAD."""
        object.__setattr__(self, "has_no_unknown", True)  # noted, not changed: the arrays are what they were
        return self

    def _as_clean(self, same_events: "Sequences") -> "Sequences":
        return same_events.mark_no_unknown() if self.has_no_unknown else same_events

    def _copied(self, where: np.ndarray, offsets: np.ndarray) -> "Sequences":
        """The events at ``where`` as the rows that the offsets cut, which are these rows or what is left of them."""
        times = None if self.times is None else self.times[where]
        contexts = None if self.contexts is None else self.contexts.take(where)
        return Sequences.from_offsets(self.items[where], offsets, times, contexts).as_of(self.query_times)

    def padded(self, length: int) -> np.ndarray:
        """[B, length] int32 of the newest events, right-aligned, PAD in front."""
        newest = self.tail(length)
        row, where = newest.positions()
        column = length - (newest.stops[row] - where)
        out = np.full((len(self), length), PAD, dtype=np.int32)
        out[row, column] = self.items[where]
        return out

    def save(self, folder: Path) -> None:
        """Writes ``items.npy``, ``offsets.npy`` and, where there are times, ``times.npy``. Contexts are not kept."""
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
        """Memory-maps what ``save`` wrote: opening costs no reading."""
        times = folder / "times.npy"
        return cls.from_offsets(
            np.load(folder / "items.npy", mmap_mode="r", allow_pickle=False),
            np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False),
            np.load(times, mmap_mode="r", allow_pickle=False) if times.exists() else None,
        )


def iter_chunks(flat: np.ndarray, length: int = 1 << 22) -> Iterator[np.ndarray]:
    """A long array bit by bit, so that one that is memory-mapped never has to be in memory as a whole."""
    for start in range(0, len(flat), length):
        yield flat[start : start + length]
