"""Batches almost without padding: windows of like length together, within a budget of tokens.

A window holds up to ``length + 1`` consecutive events: all but its last are inputs, all but its first are targets.
Neighbouring windows of one history share one event, so every event but a history's first is a target exactly once.
"""

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
    """All windows of a log, as batches in an order that (seed, epoch) fixes."""

    def __init__(self, sequences: Sequences, length: int, tokens: int, seed: int) -> None:
        self.windows = windows(sequences, length)
        self.tokens = tokens
        self.seed = seed
        self.num_targets = int((self.windows.lengths - 1).sum())
        if self.num_targets == 0:
            raise ValueError("There is nothing to learn from: no person or session has two events.")

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The window rows of each batch. Shuffled, sorted by length so that a batch has hardly any padding (rows of
        equal length in random order), cut by the token budget, and the batches shuffled."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.windows))
        lengths = self.windows.lengths[order] - 1
        by_length = np.argsort(-lengths, kind="stable")
        order, lengths = order[by_length], lengths[by_length]
        batches = []
        start = 0
        while start < len(order):
            stop = start + max(1, self.tokens // int(lengths[start]))
            batches.append(order[start:stop])
            start = stop
        rng.shuffle(batches)
        return batches

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number ``skip`` on, prepared ahead by a thread of their own."""
        plan = self.plan(epoch)[skip:]
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=4)
        gone = threading.Event()

        def prepare() -> None:
            try:
                for rows in plan:
                    _put(ready, self.gather(rows), gone)
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

    def gather(self, rows: np.ndarray) -> Batch:
        """The padded arrays of some windows."""
        chosen = self.windows.take(rows)
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
