"""What a net is asked in training: windows of the log -> inputs and the targets to be predicted from them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences


@dataclass(frozen=True)
class Batch:
    """``inputs_BT`` and ``targets_BT`` int32, oldest event first, PAD behind a row's end and where nothing is asked.

    ``times_BT`` int64 is when each input happened (UTC microseconds), None where the log has no
    times or the net does not look at them.
    """

    inputs_BT: np.ndarray
    targets_BT: np.ndarray
    times_BT: np.ndarray | None = None

    @property
    def num_events(self) -> int:
        """Inputs, padding left out."""
        return int((self.inputs_BT != PAD).sum())

    @property
    def num_targets(self) -> int:
        """Events to be predicted."""
        return int((self.targets_BT != PAD).sum())

    def share(self, rank: int, ranks: int) -> "Batch":
        """Every ``ranks``-th row, from row ``rank`` on: what one of several processes works on."""
        rows = slice(rank, None, ranks)
        times_BT = None if self.times_BT is None else self.times_BT[rows]
        return Batch(self.inputs_BT[rows], self.targets_BT[rows], times_BT)


class Task(Protocol):
    """Cuts a log into windows, and makes a batch of some of them."""

    def windows(self, sequences: Sequences) -> Sequences: ...

    def widths(self, windows: Sequences) -> np.ndarray:
        """The columns that each window takes in a batch, int64 [B]."""
        ...

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        """All of the windows, in their order; what is drawn comes from ``rng``."""
        ...


@dataclass(frozen=True)
class NextItem:
    """Every event but a history's first is asked once, from all before it in its window.

    A window holds up to ``length + 1`` consecutive events: all but its last are inputs, all but its first are
    targets. Neighbouring windows of one history share one event.
    """

    length: int
    timed: bool = False
    """Whether batches tell when each input happened."""

    def windows(self, sequences: Sequences) -> Sequences:
        """Newest events first served: a history's remainder is its oldest window.

        >>> NextItem(2).windows(Sequences.from_lists([[1, 2, 3, 4, 5, 6], [7], [8, 9]])).lists()
        [[1, 2], [2, 3, 4], [4, 5, 6], [8, 9]]
        """
        targets = np.maximum(sequences.lengths - 1, 0)
        count = -(-targets // self.length)
        row = np.repeat(np.arange(len(sequences)), count)
        from_end = (np.repeat(np.cumsum(count), count) - 1) - np.arange(len(row))
        stops = sequences.stops[row] - from_end * self.length
        starts = np.maximum(sequences.starts[row], stops - self.length - 1)
        return Sequences(sequences.items, sequences.times, starts, stops)

    def widths(self, windows: Sequences) -> np.ndarray:
        return windows.lengths - 1

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        events = left_aligned(windows, windows.items)
        targets = events[:, 1:]
        times_BT = None
        if self.timed and windows.times is not None:
            times_BT = left_aligned(windows, windows.times)[:, :-1]
        return Batch(np.where(targets != PAD, events[:, :-1], PAD), np.ascontiguousarray(targets), times_BT)


def left_aligned(sequences: Sequences, values_N: np.ndarray, width: int | None = None) -> np.ndarray:
    """[B, width]: the events' values, oldest first, zeros behind; as wide as the longest row unless said."""
    row, where = sequences.positions()
    width = int(sequences.lengths.max(initial=0)) if width is None else width
    out = np.zeros((len(sequences), width), dtype=values_N.dtype)
    out[row, where - sequences.starts[row]] = values_N[where]
    return out
