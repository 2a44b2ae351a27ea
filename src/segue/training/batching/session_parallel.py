"""Session-parallel batches: a fixed number of sessions in parallel, of which each step takes the next events.

The procedure of Hidasi et al. (2016, section 3.1.1): a slot holds one session. When the session ends, the slot takes
the next session that is not started, from a zero state. Shape letters: K sessions, B rows of a batch::

    3 slots        step   1   2   3   4   5   6
    slot 0                a1  a2  a3  d1  d2  d3
    slot 1                b1  e1  e2  e3  e4
    slot 2                c1  c2  f1  f2  f3
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


def session_parallel_order(lengths_K: np.ndarray, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the slot and the first step of each session: in order, in the slot that is free first, the lowest of ties.

    Args:
        lengths_K: int64, number of steps of each session.
        slots: number of parallel sessions.

    Returns:
        Slot int64 [K] and first step int64 [K], both from 0.

    >>> [part.tolist() for part in session_parallel_order(np.array([3, 1, 2, 3, 4, 3]), 3)]
    [[0, 1, 2, 1, 2, 0], [0, 0, 0, 1, 2, 3]]
    """
    slot_K, step_K = (np.empty(len(lengths_K), dtype=np.int64) for _ in range(2))
    free = [(0, slot) for slot in range(slots)]
    for k, length in enumerate(lengths_K.tolist()):
        step_K[k], slot_K[k] = step, slot = free[0]
        heapq.heapreplace(free, (step + length, slot))
    return slot_K, step_K


@dataclass(frozen=True)
class Schedule:
    """Order of the sessions of one epoch, with the slot, the first and the last step of each."""

    rows_K: np.ndarray
    slot_K: np.ndarray
    begin_K: np.ndarray
    end_K: np.ndarray
    """Step after the last one."""


class SessionParallelBatches:
    """Batches of ``parallel_sessions`` sessions and ``bptt_steps`` steps; the order is a function of (seed, epoch), or
    follows timestamps.

    A row holds the events of one session in a batch. If a session ends within a batch, the next session of its slot has
    a row of its own. Near the end of an epoch, slots without a session stay empty.

    Args:
        sequences: sessions, of which those with two or more events are used.
        task: inputs and targets of a row.
        config: settings of the batches.
        seed: seed of the order.

    Raises:
        ValueError: no session has two events.
    """

    def __init__(self, sequences: Sequences, task: Task, config: TrainingConfig, seed: int) -> None:
        self.sequences = sequences
        self.task = task
        self.config = config
        self.seed = seed
        rows_K = np.flatnonzero(sequences.lengths > 1)
        if len(rows_K) == 0:
            raise ValueError("There is nothing to train on: no user or session has two events.")
        if config.session_order == "time" and sequences.times is not None:
            rows_K = rows_K[np.argsort(sequences.times[sequences.starts[rows_K]], kind="stable")]
        self._rows_K = rows_K
        self.num_events = int((sequences.lengths[rows_K] - 1).sum())
        """Number of input events per epoch."""

    @property
    def num_batches(self) -> int:
        """Number of batches in the first epoch; other epochs may have a few more or fewer."""
        return self.steps(1)

    def steps(self, epochs: int) -> int:
        """Return the number of batches in the first ``epochs`` epochs."""
        return sum(self._count(epoch) for epoch in range(epochs))

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Args:
            epoch: number of the epoch, from 0.
            skip: number of batches to leave out at the start.
        """
        plan, wide = self._schedule(epoch), self.config.bptt_steps
        running_R, started = np.empty(0, dtype=np.int64), 0
        for number in range(skip, self._count(epoch)):
            first, stop = number * wide, (number + 1) * wide
            begun = int(np.searchsorted(plan.begin_K, stop))
            running_R = np.concatenate([running_R, np.arange(started, begun)])
            running_R, started = running_R[plan.end_K[running_R] > first], begun
            rng = np.random.default_rng((self.seed, epoch, number))
            yield self._batch(plan, running_R, (first, stop), rng)

    def _batch(self, plan: Schedule, running_B: np.ndarray, steps: tuple[int, int], rng: np.random.Generator) -> Batch:
        """Return the events of the running sessions from the first of the steps to before the second."""
        first, stop = steps
        rows_B, slot_B, begin_B, end_B = (
            part[running_B] for part in (plan.rows_K, plan.slot_K, plan.begin_K, plan.end_K)
        )
        starts_B = self.sequences.starts[rows_B] + np.maximum(first - begin_B, 0)
        stops_B = self.sequences.starts[rows_B] + np.minimum(end_B, stop) - begin_B + 1  # the target of the last input
        part = replace(self.sequences, starts=starts_B, stops=stops_B)
        carry = StateCarryOver(np.where(begin_B < first, slot_B, -1), np.where(end_B > stop, slot_B, -1))
        return replace(self.task.batch(part, rng), carry=carry)

    def _schedule(self, epoch: int) -> Schedule:
        if self.config.session_order == "time":
            return self._by_time
        order_K = np.random.default_rng((self.seed, epoch)).permutation(len(self._rows_K))
        return self._make_schedule(self._rows_K[order_K])

    @cached_property
    def _by_time(self) -> Schedule:
        return self._make_schedule(self._rows_K)

    def _make_schedule(self, rows_K: np.ndarray) -> Schedule:
        lengths_K = self.sequences.lengths[rows_K] - 1
        slot_K, begin_K = session_parallel_order(lengths_K, self.config.parallel_sessions)
        return Schedule(rows_K, slot_K, begin_K, begin_K + lengths_K)

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
    """Return packed windows, or session-parallel batches if ``parallel_sessions`` is set.

    Args:
        sequences: events by user or session.
        task: inputs and targets of a window or row.
        encoder: the encoder to train.
        config: settings of the batches.
        seed: seed of the order.

    Raises:
        ValueError: session-parallel batches are set for an encoder without a recurrent state, or with time features.
    """
    if not config.parallel_sessions:
        return BucketedBatches(sequences, task, config.batch_tokens, seed)
    if encoder.state_shape is None:
        raise ValueError(
            "parallel_sessions is for gru4rec, whose state is carried from event to event: leave it out for this model."
        )
    if encoder.uses_target_times:
        raise ValueError(
            "Session-parallel batches do not know the time since the last event of the batch before: leave out "
            "parallel_sessions, or time_inputs."
        )
    return SessionParallelBatches(sequences, task, config, seed)
