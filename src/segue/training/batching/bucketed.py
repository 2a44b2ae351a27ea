"""Bucketed batches: windows of similar length together, within a budget of tokens, almost without padding."""

import itertools
import queue
import threading
from collections.abc import Iterator

import numpy as np

from segue.data.sequences import Sequences
from segue.training.tasks import Batch, Task


class BucketedBatches:
    """Batches of all windows of a log, in an order that is a function of (seed, epoch).

    The log is cut into shards of neighboring rows; only one shard's windows are in memory at a time, so that memory
    does not grow with the log. Shards, and the windows within each, are shuffled.

    Args:
        sequences: events by user or session.
        task: inputs and targets of a window.
        tokens: number of events in a batch, padding included.
        seed: seed of the order.
        shard_rows: number of rows in a shard.

    Raises:
        ValueError: no row has two events.
    """

    def __init__(self, sequences: Sequences, task: Task, tokens: int, seed: int, shard_rows: int = 1 << 18) -> None:
        self.sequences = sequences
        self.task = task
        self.tokens = tokens
        self.seed = seed
        self.shards = [slice(start, start + shard_rows) for start in range(0, len(sequences), shard_rows)]
        self.num_events = 0
        """Number of input events per epoch."""
        self.batches_of_shard = []
        for shard in self.shards:
            lengths = task.widths(self._windows(shard))
            self.num_events += int(lengths.sum())
            # The number of batches follows from the sorted lengths alone, so it is the same in every epoch.
            self.batches_of_shard.append(len(_cuts(np.sort(lengths)[::-1], tokens)) - 1)
        if self.num_events == 0:
            raise ValueError("There is nothing to train on: no user or session has two events.")

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch."""
        return sum(self.batches_of_shard)

    def steps(self, epochs: int) -> int:
        """Return the number of batches in the first ``epochs`` epochs."""
        return epochs * self.num_batches

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, prepared ahead by a thread.

        Args:
            epoch: number of the epoch, from 0.
            skip: number of batches to leave out at the start.
        """
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=4)
        closed = threading.Event()

        def prepare() -> None:
            try:
                for windows, rng in self._parts(epoch, skip):
                    _put(ready, self.task.batch(windows, rng), closed)
                _put(ready, None, closed)
            except BaseException as error:  # raised again in the consumer
                _put(ready, error, closed)

        threading.Thread(target=prepare, name="batches", daemon=True).start()
        try:
            while (batch := ready.get()) is not None:
                if isinstance(batch, BaseException):
                    raise batch
                yield batch
        finally:
            closed.set()

    def _parts(self, epoch: int, skip: int) -> Iterator[tuple[Sequences, np.random.Generator]]:
        """Yield the windows and the generator of each batch."""
        rng = np.random.default_rng((self.seed, epoch))
        for number in rng.permutation(len(self.shards)).tolist():
            if skip >= self.batches_of_shard[number]:
                skip -= self.batches_of_shard[number]
                continue
            windows = self._windows(self.shards[number])
            plan = self._plan(windows, np.random.default_rng((self.seed, epoch, number)))
            for place, rows in enumerate(plan[skip:], start=skip):
                yield windows.take(rows), np.random.default_rng((self.seed, epoch, number, place))
            skip = 0

    def _windows(self, shard: slice) -> Sequences:
        return self.task.windows(self.sequences.take(shard))

    def _plan(self, windows: Sequences, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the rows of each batch: shuffled, sorted by length so that a batch has hardly any padding,
        cut by the token budget, and the batches shuffled. Windows of equal length are in random order."""
        order = rng.permutation(len(windows))
        lengths = self.task.widths(windows)[order]
        by_length = np.argsort(-lengths, kind="stable")
        order, lengths = order[by_length], lengths[by_length]
        cuts = _cuts(lengths, self.tokens)
        batches = [order[start:stop] for start, stop in itertools.pairwise(cuts)]
        rng.shuffle(batches)
        return batches


def _cuts(lengths: np.ndarray, tokens: int) -> list[int]:
    """Return the bounds of batches, for windows sorted by length, the longest first."""
    cuts = [0]
    while cuts[-1] < len(lengths):
        cuts.append(min(len(lengths), cuts[-1] + max(1, tokens // int(lengths[cuts[-1]]))))
    return cuts


def _put(
    ready: "queue.Queue[Batch | BaseException | None]", entry: Batch | BaseException | None, closed: threading.Event
) -> None:
    while not closed.is_set():
        try:
            return ready.put(entry, timeout=0.2)
        except queue.Full:
            continue
