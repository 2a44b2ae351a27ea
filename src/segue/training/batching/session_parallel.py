"""Session-parallel batches: many sessions run side by side, and each step takes the next events of every one.

The procedure of Hidasi et al. (2016, section 3.1.1): a lane holds one session; when that ends, the lane takes the next
session that nobody has, and starts it from a zero state. Shape letters: K sessions, B rows of a batch::

    3 lanes        step   1   2   3   4   5   6
    lane 0                a1  a2  a3  d1  d2  d3
    lane 1                b1  e1  e2  e3  e4
    lane 2                c1  c2  f1  f2  f3
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from segue.data.sequences import Sequences
from segue.training.batching.bucketed import BucketedBatches
from segue.training.config import TrainingConfig
from segue.training.nets.encoders.encoder import SequenceEncoder
from segue.training.tasks import Batch, StateCarryOver, Task


def session_parallel_order(lengths_K: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """(lane int64 [K], step int64 [K] from 0) where each session begins: each in its turn, in the lane that is free
    first, the lowest one of several.

    >>> [part.tolist() for part in side_by_side(np.array([3, 1, 2, 3, 4, 3]), 3)]
    [[0, 1, 2, 1, 2, 0], [0, 0, 0, 1, 2, 3]]
    """
    lane_K, step_K = (np.empty(len(lengths_K), dtype=np.int64) for _ in range(2))
    free = [(0, lane) for lane in range(lanes)]
    for k, length in enumerate(lengths_K.tolist()):
        step_K[k], lane_K[k] = step, lane = free[0]
        heapq.heapreplace(free, (step + length, lane))
    return lane_K, step_K


@dataclass(frozen=True)
class Schedule:
    """One epoch: sessions in the order in which they are taken, the lane of each, and its first and last step."""

    rows_K: np.ndarray
    slot_K: np.ndarray
    begin_K: np.ndarray
    end_K: np.ndarray
    """Behind the last step."""


class SessionParallelBatches:
    """All sessions of a log, whole, as batches of ``lanes`` sessions and ``bptt`` steps; the order follows from (seed,
    epoch), or from time.

    A row is what one session has in a batch. Where a session ends in the middle of a batch, the lane's next one has a
    row of its own in it. Near the end of an epoch, lanes for which no session is left stand idle.
    """

    def __init__(self, sequences: Sequences, task: Task, config: TrainingConfig, seed: int) -> None:
        self.sequences = sequences
        self.task = task
        self.config = config
        self.seed = seed
        rows_K = np.flatnonzero(sequences.lengths > 1)
        if len(rows_K) == 0:
            raise ValueError("There is nothing to learn from: no person or session has two events.")
        if config.session_order == "time" and sequences.times is not None:
            rows_K = rows_K[np.argsort(sequences.times[sequences.starts[rows_K]], kind="stable")]
        self._rows_K = rows_K
        self.num_events = int((sequences.lengths[rows_K] - 1).sum())
        """Inputs in every epoch."""

    @property
    def num_batches(self) -> int:
        """Batches in the first epoch; another order may need a few more or less."""
        return self.steps(1)

    def steps(self, epochs: int) -> int:
        """Batches in the first so many epochs."""
        return sum(self._count(epoch) for epoch in range(epochs))

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number ``skip`` on."""
        plan, wide = self._schedule(epoch), self.config.bptt_steps
        running_R, taken = np.empty(0, dtype=np.int64), 0
        for number in range(skip, self._count(epoch)):
            first, stop = number * wide, (number + 1) * wide
            begun = int(np.searchsorted(plan.begin_K, stop))
            running_R = np.concatenate([running_R, np.arange(taken, begun)])
            running_R, taken = running_R[plan.end_K[running_R] > first], begun
            rng = np.random.default_rng((self.seed, epoch, number))
            yield self._batch(plan, running_R, (first, stop), rng)

    def _batch(self, plan: Schedule, running_B: np.ndarray, steps: tuple[int, int], rng: np.random.Generator) -> Batch:
        """What the running sessions have from the first of the steps to before the second."""
        first, stop = steps
        rows_B, lane_B, begin_B, end_B = (
            part[running_B] for part in (plan.rows_K, plan.slot_K, plan.begin_K, plan.end_K)
        )
        starts_B = self.sequences.starts[rows_B] + np.maximum(first - begin_B, 0)
        stops_B = self.sequences.starts[rows_B] + np.minimum(end_B, stop) - begin_B + 1  # the target of the last input
        part = replace(self.sequences, starts=starts_B, stops=stops_B)
        carry = StateCarryOver(np.where(begin_B < first, lane_B, -1), np.where(end_B > stop, lane_B, -1))
        return replace(self.task.batch(part, rng), carry=carry)

    def _schedule(self, epoch: int) -> Schedule:
        if self.config.session_order == "time":
            return self._in_time
        order_K = np.random.default_rng((self.seed, epoch)).permutation(len(self._rows_K))
        return self._arranged(self._rows_K[order_K])

    @cached_property
    def _in_time(self) -> Schedule:
        return self._arranged(self._rows_K)

    def _arranged(self, rows_K: np.ndarray) -> Schedule:
        lengths_K = self.sequences.lengths[rows_K] - 1
        lane_K, begin_K = session_parallel_order(lengths_K, self.config.parallel_sessions)
        return Schedule(rows_K, lane_K, begin_K, begin_K + lengths_K)

    def _count(self, epoch: int) -> int:
        epoch = 0 if self.config.session_order == "time" else epoch
        if epoch not in self._counts:
            self._counts[epoch] = -(-int(self._schedule(epoch).end_K.max()) // self.config.bptt_steps)
        return self._counts[epoch]

    @cached_property
    def _counts(self) -> dict[int, int]:
        return {}


def make_batches(
    sequences: Sequences, task: Task, encoder: SequenceEncoder, config: TrainingConfig, seed: int
) -> BucketedBatches | SessionParallelBatches:
    """Packed windows, or lanes where they are asked for. ValueError for an encoder that has no state to carry on."""
    if not config.parallel_sessions:
        return BucketedBatches(sequences, task, config.batch_tokens, seed)
    if encoder.state_shape is None:
        raise ValueError("lanes is for gru4rec, whose state goes on from event to event: leave it out for this model.")
    if encoder.uses_target_times:
        raise ValueError(
            "In lanes a session's batches do not know how long before they began its last event was: leave lanes out, "
            "or time_inputs."
        )
    return SessionParallelBatches(sequences, task, config, seed)
