"""Batches almost without padding: windows of like length together, within a budget of tokens.

A window holds up to ``length + 1`` consecutive events: all but its last are inputs, all but its first are targets.
Neighbouring windows of one history share one event, so every event but a history's first is a target exactly once.
"""

import itertools
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences


@dataclass(frozen=True)
class Batch:
    """``inputs_BT`` and ``targets_BT`` int32, oldest event first, PAD behind a row's end."""

    inputs_BT: np.ndarray
    targets_BT: np.ndarray

    @property
    def num_targets(self) -> int:
        """Events to be predicted."""
        return int((self.targets_BT != PAD).sum())


def windows(sequences: Sequences, length: int) -> Sequences:
    """Cuts each row into windows, newest events first served: a history's remainder is its oldest window.

    >>> windows(Sequences.from_lists([[1, 2, 3, 4, 5, 6], [7], [8, 9]]), 2).lists()
    [[1, 2], [2, 3, 4], [4, 5, 6], [8, 9]]
    """
    targets = np.maximum(sequences.lengths - 1, 0)
    count = -(-targets // length)
    row = np.repeat(np.arange(len(sequences)), count)
    from_end = (np.repeat(np.cumsum(count), count) - 1) - np.arange(len(row))
    stops = sequences.stops[row] - from_end * length
    starts = np.maximum(sequences.starts[row], stops - length - 1)
    return Sequences(sequences.items, sequences.times, starts, stops)


class Batches:
    """All windows of a log, as batches in an order that (seed, epoch) fixes.

    The log is cut into shards of neighbouring rows; only one shard's windows are in memory at a time, so that memory
    does not grow with the log. Shards, and the windows within each, are shuffled.
    """

    def __init__(self, sequences: Sequences, length: int, tokens: int, seed: int, shard_rows: int = 1 << 18) -> None:
        self.sequences = sequences
        self.length = length
        self.tokens = tokens
        self.seed = seed
        self.shards = [slice(start, start + shard_rows) for start in range(0, len(sequences), shard_rows)]
        self.num_targets = 0
        self.batches_of_shard = []
        for shard in self.shards:
            lengths = self._windows(shard).lengths - 1
            self.num_targets += int(lengths.sum())
            # How many batches there are follows from the sorted lengths alone, so it is the same in every epoch.
            self.batches_of_shard.append(len(_cuts(np.sort(lengths)[::-1], tokens)) - 1)
        if self.num_targets == 0:
            raise ValueError("There is nothing to learn from: no person or session has two events.")

    @property
    def num_batches(self) -> int:
        """Batches in every epoch."""
        return sum(self.batches_of_shard)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number ``skip`` on, prepared ahead by a thread of their own."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=4)
        gone = threading.Event()

        def prepare() -> None:
            try:
                for windows_, rows in self._rows(epoch, skip):
                    _put(ready, gather(windows_, rows), gone)
                _put(ready, None, gone)
            except BaseException as error:  # it must reach the one who waits
                _put(ready, error, gone)

        threading.Thread(target=prepare, name="batches", daemon=True).start()
        try:
            while (batch := ready.get()) is not None:
                if isinstance(batch, BaseException):
                    raise batch
                yield batch
        finally:
            gone.set()

    def _rows(self, epoch: int, skip: int) -> Iterator[tuple[Sequences, np.ndarray]]:
        """(a shard's windows, the windows of one batch), batch by batch."""
        rng = np.random.default_rng((self.seed, epoch))
        for number in rng.permutation(len(self.shards)).tolist():
            if skip >= self.batches_of_shard[number]:
                skip -= self.batches_of_shard[number]
                continue
            shard_windows = self._windows(self.shards[number])
            for rows in self._plan(shard_windows, np.random.default_rng((self.seed, epoch, number)))[skip:]:
                yield shard_windows, rows
            skip = 0

    def _windows(self, shard: slice) -> Sequences:
        return windows(self.sequences.take(shard), self.length)

    def _plan(self, shard_windows: Sequences, rng: np.random.Generator) -> list[np.ndarray]:
        """Shuffled, sorted by length so that a batch has hardly any padding (windows of equal length in random order),
        cut by the token budget, and the batches shuffled."""
        order = rng.permutation(len(shard_windows))
        lengths = shard_windows.lengths[order] - 1
        by_length = np.argsort(-lengths, kind="stable")
        order, lengths = order[by_length], lengths[by_length]
        cuts = _cuts(lengths, self.tokens)
        batches = [order[start:stop] for start, stop in itertools.pairwise(cuts)]
        rng.shuffle(batches)
        return batches


def _cuts(lengths: np.ndarray, tokens: int) -> list[int]:
    """Where batches end, for windows sorted by length, the longest first."""
    cuts = [0]
    while cuts[-1] < len(lengths):
        cuts.append(min(len(lengths), cuts[-1] + max(1, tokens // int(lengths[cuts[-1]]))))
    return cuts


def gather(windows_: Sequences, rows: np.ndarray) -> Batch:
    """The padded arrays of some windows."""
    chosen = windows_.take(rows)
    row, where = chosen.positions()
    column = where - chosen.starts[row]
    width = int(chosen.lengths.max())
    events = np.full((len(rows), width), PAD, dtype=np.int32)
    events[row, column] = chosen.items[where]
    targets = events[:, 1:]
    return Batch(np.where(targets != PAD, events[:, :-1], PAD), np.ascontiguousarray(targets))


def _put(
    ready: "queue.Queue[Batch | BaseException | None]", entry: Batch | BaseException | None, gone: threading.Event
) -> None:
    while not gone.is_set():
        try:
            return ready.put(entry, timeout=0.2)
        except queue.Full:
            continue
