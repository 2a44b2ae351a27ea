"""What a net is asked in training: windows of the log -> inputs and the targets to be predicted from them."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import NO_TIME, Sequences


@dataclass(frozen=True)
class StateCarryOver:
    """How a batch's rows hang together with the batches beside it: int64 [B] lanes, -1 for none."""

    from_B: np.ndarray
    """The lane whose state the row goes on from; none: its session begins."""
    to_B: np.ndarray
    """The lane whose session goes on behind the row; none: its session ends."""


@dataclass(frozen=True)
class Batch:
    """``inputs_BT`` and ``targets_BT`` int32, oldest event first, PAD behind a row's end and where nothing is asked.

    ``times_BS`` int64 [B, T + 1] is when each input happened (UTC microseconds), and behind a row's last input when its
    target did; NO_TIME where nobody knows, None where the log has no times or the net does not look at them.
    ``cuts_B`` int64, for a net that writes several steps from one place: the column of each row's first cut (see
    ``NextSteps``); None for any other. ``contexts_BT`` int32: the row of the log's ``Contexts`` that each input
    happened under, 0 where nothing is known; None where the log has none. ``carry``: for a batch of lanes.
    """

    inputs_BT: np.ndarray
    targets_BT: np.ndarray
    times_BS: np.ndarray | None = None
    cuts_B: np.ndarray | None = None
    contexts_BT: np.ndarray | None = None
    carry: StateCarryOver | None = None

    @property
    def num_events(self) -> int:
        """Events given or asked for, padding left out."""
        return int(((self.inputs_BT != PAD) | (self.targets_BT != PAD)).sum())

    @property
    def num_targets(self) -> int:
        """Events to be predicted."""
        return int((self.targets_BT != PAD).sum())

    def shard(self, rank: int, ranks: int) -> "Batch":
        """Every ``ranks``-th row, from row ``rank`` on: what one of several processes works on."""
        rows = slice(rank, None, ranks)
        times_BS, cuts_B, contexts_BT = (
            None if x is None else x[rows] for x in (self.times_BS, self.cuts_B, self.contexts_BT)
        )
        carry = None if self.carry is None else StateCarryOver(self.carry.from_B[rows], self.carry.to_B[rows])
        return Batch(self.inputs_BT[rows], self.targets_BT[rows], times_BS, cuts_B, contexts_BT, carry)


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
class NextItemTask:
    """Every event but a history's first is asked once, from all before it in its window.

    A window holds up to ``length + 1`` consecutive events: all but its last are inputs, all but its first are
    targets. Neighboring windows of one history share one event.
    """

    length: int
    timed: bool = False
    """Whether batches tell when events happened."""
    without_times: float = 1 / 16
    """The share of windows that are shown without their times even so: a net learns from them what to make of a history
    whose times nobody knows."""

    def windows(self, sequences: Sequences) -> Sequences:
        """Newest events first served: a history's remainder is its oldest window.

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
        return windows.lengths - 1

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
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
    """Some events of a window are hidden, and asked for from those on both sides (Sun et al. 2019, section 3.6).

    Each with probability ``share``, and the newest where that hides none, since that is what a history is asked for;
    in ``last_share`` of the windows the newest alone.
    """

    length: int
    share: float
    last_share: float

    def windows(self, sequences: Sequences) -> Sequences:
        """Like those of ``NextItem``: up to ``length`` events and one more."""
        return NextItemTask(self.length).windows(sequences)

    def widths(self, windows: Sequences) -> np.ndarray:
        return windows.lengths

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        events_BT = windows.padded(align="left")
        hidden_BT = (rng.random(events_BT.shape) < self.share) & (events_BT != PAD)
        hidden_BT[rng.random(len(windows)) < self.last_share] = False
        none = np.flatnonzero(~hidden_BT.any(axis=1))
        hidden_BT[none, windows.lengths[none] - 1] = True
        inputs, targets = np.where(hidden_BT, PAD, events_BT), np.where(hidden_BT, events_BT, PAD)
        return Batch(inputs, targets, contexts_BT=context_codes(windows))


@dataclass(frozen=True)
class NextItemsTask:
    """Every event but a history's first is asked once, as one of ``horizon`` events written from a cut before them.

    Windows are those of ``NextItem``. A window is cut at a column that is drawn for each row, and at every ``horizon``
    columns behind it; what lies between two cuts is written from all events up to the first of them. So one pass of a
    causal encoder serves all cuts of a window, and over the epochs an event is asked now at one step, now at another
    (at the early steps a little more often, because a window's first and last stretch may be short)::

        horizon 3, cut 2     events   a  b  c  d  e  f  g
                             from a      b  c
                             from a b c        d  e  f
                             from a .. f                g
    """

    length: int
    horizon: int

    def windows(self, sequences: Sequences) -> Sequences:
        """Those of ``NextItem``."""
        return NextItemTask(self.length).windows(sequences)

    def widths(self, windows: Sequences) -> np.ndarray:
        return windows.lengths - 1

    def batch(self, windows: Sequences, rng: np.random.Generator) -> Batch:
        plain = NextItemTask(self.length).batch(windows, rng)
        return replace(plain, cuts_B=rng.integers(0, self.horizon, len(windows)))


def context_codes(sequences: Sequences) -> np.ndarray | None:
    """int32 [B, T]: the row of ``Contexts`` that each event happened under, zeros behind; None where there are none."""
    return None if sequences.contexts is None else sequences.padded(align="left", values=sequences.contexts.codes)
