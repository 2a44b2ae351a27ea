"""Training tasks: windows of a log, and batches of inputs with the targets to predict from them."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import NO_TIME, Sequences


@dataclass(frozen=True)
class StateCarryOver:
    """Slots of hidden states that connect the rows of a session-parallel batch to the batches before and after it."""

    from_B: np.ndarray
    """int64, slot whose state the row continues; -1: the session begins in this batch."""
    to_B: np.ndarray
    """int64, slot that takes the last state of the row; -1: the session ends in this batch."""


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of some windows, oldest event first, padded at the end."""

    inputs_BT: np.ndarray
    """int32; PAD after the end of a row and for hidden events."""
    targets_BT: np.ndarray
    """int32; PAD at positions without a target."""
    times_BS: np.ndarray | None = None
    """int64 UTC microseconds, S = T + 1: timestamp of each input, then that of the row's last target; NO_TIME if
    unknown. None: the log has no timestamps, or the net uses none."""
    cuts_B: np.ndarray | None = None
    """int64, column of each row's first cut (see ``NextItemsTask``); None for any other task."""
    contexts_BT: np.ndarray | None = None
    """int32, row of the log's ``EventContexts`` of each input, 0 if unknown; None: the log has no contexts."""
    carry: StateCarryOver | None = None
    """Slots of a session-parallel batch; None for any other batch."""

    @property
    def num_events(self) -> int:
        """Return the number of inputs and targets, without padding."""
        return int(((self.inputs_BT != PAD) | (self.targets_BT != PAD)).sum())

    @property
    def num_targets(self) -> int:
        """Return the number of events to predict."""
        return int((self.targets_BT != PAD).sum())

    def shard(self, rank: int, ranks: int) -> "Batch":
        """Return the rows of one process: every ``ranks``-th row, from row ``rank`` on.

        Args:
            rank: number of the process, from 0.
            ranks: number of processes.
        """
        rows = slice(rank, None, ranks)
        times_BS, cuts_B, contexts_BT = (
            None if x is None else x[rows] for x in (self.times_BS, self.cuts_B, self.contexts_BT)
        )
        carry = None if self.carry is None else StateCarryOver(self.carry.from_B[rows], self.carry.to_B[rows])
        return Batch(self.inputs_BT[rows], self.targets_BT[rows], times_BS, cuts_B, contexts_BT, carry)


class Task(Protocol):
    """Split of a log into windows, and of windows into inputs and targets."""

    def windows(self, sequences: Sequences) -> Sequences:
        """Return the windows of all sequences."""
        ...

    def widths(self, windows: Sequences) -> np.ndarray:
        """Return the number of columns of each window in a batch, int64 [B]."""
        ...

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        """Return a batch of the windows, in their order.

        Args:
            windows: some of the windows, B of them.
            rng: generator of all random choices.
        """
        ...


@dataclass(frozen=True)
class NextItemTask:
    """Next-item prediction: every event but the first of a history is a target once, given the events before it.

    A window holds up to ``length + 1`` consecutive events: all but its last are inputs, all but its first are
    targets. Neighboring windows of one history share one event.
    """

    length: int
    timed: bool = False
    """True: batches contain timestamps."""
    without_times: float = 1 / 16
    """Share of windows whose timestamps are hidden, so that the net is also trained on histories without timestamps."""

    def windows(self, sequences: Sequences) -> Sequences:
        """Return the windows, cut from the newest event on, so that the oldest window of a history may be short.

        >>> NextItemTask(2).windows(Sequences.from_lists([[1, 2, 3, 4, 5, 6], [7], [8, 9]])).to_lists()
        [[1, 2], [2, 3, 4], [4, 5, 6], [8, 9]]
        """
        targets = np.maximum(sequences.lengths - 1, 0)
        count = -(-targets // self.length)
        row = np.repeat(np.arange(len(sequences)), count)
        from_end = (np.repeat(np.cumsum(count), count) - 1) - np.arange(len(row))
        stops = sequences.stops[row] - from_end * self.length
        starts = np.maximum(sequences.starts[row], stops - self.length - 1)
        return sequences.with_bounds(starts, stops)

    def widths(self, windows: Sequences) -> np.ndarray:
        """See `Task.widths`."""
        return windows.lengths - 1

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        """See `Task.batch`."""
        events = windows.padded(align="left")
        targets = events[:, 1:]
        times_BS = None
        if self.timed and windows.times is not None:
            times_BS = windows.padded(align="left", values=windows.times)
            times_BS[rng.random(len(windows)) < self.without_times] = NO_TIME
        contexts_BT = context_codes(windows)
        if contexts_BT is not None:
            contexts_BT = np.where(targets != PAD, contexts_BT[:, :-1], 0)
        inputs = np.where(targets != PAD, events[:, :-1], PAD)
        return Batch(inputs, np.ascontiguousarray(targets), times_BS, contexts_BT=contexts_BT)


@dataclass(frozen=True)
class MaskedItemTask:
    """Masked-item prediction: some events of a window are hidden, and predicted from both sides (Sun et al. 2019,
    section 3.6).

    The newest event is hidden if no other is, since a recommendation predicts the event after a history.
    """

    length: int
    share: float
    """Probability that an event is hidden."""
    last_share: float
    """Share of windows in which only the newest event is hidden."""

    def windows(self, sequences: Sequences) -> Sequences:
        """Return the windows of ``NextItemTask``: up to ``length + 1`` events."""
        return NextItemTask(self.length).windows(sequences)

    def widths(self, windows: Sequences) -> np.ndarray:
        """See `Task.widths`."""
        return windows.lengths

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        """See `Task.batch`."""
        events_BT = windows.padded(align="left")
        hidden_BT = (rng.random(events_BT.shape) < self.share) & (events_BT != PAD)
        hidden_BT[rng.random(len(windows)) < self.last_share] = False
        none = np.flatnonzero(~hidden_BT.any(axis=1))
        hidden_BT[none, windows.lengths[none] - 1] = True
        inputs, targets = np.where(hidden_BT, PAD, events_BT), np.where(hidden_BT, events_BT, PAD)
        return Batch(inputs, targets, contexts_BT=context_codes(windows))


@dataclass(frozen=True)
class NextItemsTask:
    """Several-step prediction: every event but the first of a history is a target once, at a step up to ``horizon``.

    Windows are those of ``NextItemTask``. A window is cut at a column sampled for each row, and at every ``horizon``
    columns after it. The events between two cuts are predicted from all events up to the first cut. So one pass of a
    causal encoder serves all cuts of a window. Over the epochs an event is a target at different steps, at early steps
    slightly more often, because the first and last part of a window may be short::

        horizon 3, cut 2     events   a  b  c  d  e  f  g
                             from a      b  c
                             from a b c        d  e  f
                             from a .. f                g
    """

    length: int
    horizon: int
    """Number of events predicted from one cut."""

    def windows(self, sequences: Sequences) -> Sequences:
        """Return the windows of ``NextItemTask``."""
        return NextItemTask(self.length).windows(sequences)

    def widths(self, windows: Sequences) -> np.ndarray:
        """See `Task.widths`."""
        return windows.lengths - 1

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        """See `Task.batch`."""
        plain = NextItemTask(self.length).batch(windows, rng)
        return replace(plain, cuts_B=rng.integers(0, self.horizon, len(windows)))


def context_codes(sequences: Sequences) -> np.ndarray | None:
    """Return the row of ``EventContexts`` of each event, int32 [B, T], 0 after the end; None: no contexts."""
    return None if sequences.contexts is None else sequences.padded(align="left", values=sequences.contexts.codes)
