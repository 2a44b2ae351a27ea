"""Batches almost without padding: windows of like length together, within a budget of tokens."""

import itertools
import queue
import threading
from collections.abc import Iterator

import numpy as np

from segue.data.sequences import Sequences
from segue.training.tasks import Batch, Task


class BucketedBatches:
    """All windows of a log, as batches in an order that (seed, epoch) fixes.

    The log is cut into shards of neighboring rows; only one shard's windows are in memory at a time, so that memory
    does not grow with the log. Shards, and the windows within each, are shuffled.
    """

    def __init__(self, sequences: Sequences, task: Task, tokens: int, seed: int, shard_rows: int = 1 << 18) -> None:
        self.sequences = sequences
        self.task = task
        self.tokens = tokens
        self.seed = seed
        self.shards = [slice(start, start + shard_rows) for start in range(0, len(sequences), shard_rows)]
        self.num_events = 0
        """Inputs in every epoch."""
        self.batches_of_shard = []
        for shard in self.shards:
            lengths = task.widths(self._windows(shard))
            self.num_events += int(lengths.sum())
            # How many batches there are follows from the sorted lengths alone, so it is the same in every epoch.
            self.batches_of_shard.append(len(_cuts(np.sort(lengths)[::-1], tokens)) - 1)
        if self.num_events == 0:
            raise ValueError("There is nothing to learn from: no person or session has two events.")

    @property
    def num_batches(self) -> int:
        """Batches in every epoch."""
        return sum(self.batches_of_shard)

    def steps(self, epochs: int) -> int:
        """Batches in the first so many epochs."""
        return epochs * self.num_batches

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number ``skip`` on, prepared ahead by a thread of their own."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=4)
        gone = threading.Event()

        def prepare() -> None:
            try:
                for windows, rng in self._parts(epoch, skip):
                    _put(ready, self.task.batch(windows, rng), gone)
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

    def _parts(self, epoch: int, skip: int) -> Iterator[tuple[Sequences, np.random.Generator]]:
        """(the windows of one batch, the randomness it may use), batch by batch."""
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
        """Shuffled, sorted by length so that a batch has hardly any padding (windows of equal length in random order),
        cut by the token budget, and the batches shuffled."""
        order = rng.permutation(len(windows))
        lengths = self.task.widths(windows)[order]
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


def _put(
    ready: "queue.Queue[Batch | BaseException | None]", entry: Batch | BaseException | None, gone: threading.Event
) -> None:
    while not gone.is_set():
        try:
            return ready.put(entry, timeout=0.2)
        except queue.Full:
            continue
