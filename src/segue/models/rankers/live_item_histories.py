"""What is newest of every item, kept up as events arrive: the live form of the items' own sequences.

Shape letters: V catalog size with PAD, M events of an item that are kept, C candidates.
"""

from collections.abc import Mapping

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemEvents, ItemHistories, log_bucket, seconds


class LiveItemHistories:
    """The last M interactions of each item; equal to what ``Interactions`` of the whole log would say (tested)."""

    def __init__(self, sides: ItemEvents) -> None:
        self.before_VM = sides.before_SM
        self.marks_VMK = sides.buckets_SMK
        self.times_VM = sides.times_SM
        self.lengths_V = sides.lengths_S
        self.totals_V = sides.totals_S

    @classmethod
    def of(cls, interactions: ItemHistories, width: int) -> "LiveItemHistories":
        """As things stand after the last event of the log."""
        items_V = np.arange(interactions.size)
        sides, which_V = interactions.newest_events(items_V, np.full(len(items_V), np.iinfo(np.int64).max), width)
        return cls(sides.take(which_V))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "LiveItemHistories":
        """What ``arrays`` gave."""
        names = ("before", "marks", "times", "lengths", "totals")
        return cls(ItemEvents(*(arrays[f"memory.{name}"].copy() for name in names)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {
            "memory.before": self.before_VM,
            "memory.marks": self.marks_VMK,
            "memory.times": self.times_VM,
            "memory.lengths": self.lengths_V,
            "memory.totals": self.totals_V,
        }

    @property
    def size(self) -> int:
        """V."""
        return len(self.lengths_V)

    @property
    def width(self) -> int:
        """M."""
        return self.before_VM.shape[1]

    def observe(self, history: Sequences, item: int, time: int) -> bool:
        """Takes one event in: the person of ``history`` (one row) came to the item. Whether a kept event changed.

        An event that comes late is put where it belongs; its neighbor's pause is corrected.
        """
        if not PAD < item < self.size:
            raise ValueError(f"Item {item} is not in the catalog of {self.size - 1} items.")
        assert history.times is not None
        self.totals_V[item] += 1
        kept, row = int(self.lengths_V[item]), self.times_VM[item]
        place = int(np.searchsorted(row[:kept], time, side="right"))
        if place == 0 and kept == self.width:
            return False
        past = int(history.lengths[0])
        newest = int(history.stops[0]) - 1
        before = int(history.items[newest]) if past else PAD
        gap = time - int(history.times[newest]) if past else -1
        marks = [_mark(gap), _mark(time - int(row[place - 1])) if place else 0, int(log_bucket(np.array(past)))]
        if place < kept:
            self.marks_VMK[item, place, 1] = _mark(int(row[place]) - time)
        for kind, value in ((self.before_VM, before), (self.marks_VMK, marks), (self.times_VM, time)):
            longer = np.insert(kind[item, :kept], place, np.asarray(value, dtype=kind.dtype), axis=0)[-self.width :]
            kind[item, : len(longer)] = longer
        self.lengths_V[item] = min(kept + 1, self.width)
        return True

    def newest_events(self, items_C: np.ndarray, now: int) -> ItemEvents:
        """The items' newest interactions before ``now``; of what is kept, later ones are left out."""
        lengths_C, times_CM = self.lengths_V[items_C], self.times_VM[items_C]
        known_CM = (times_CM < now) & (np.arange(self.width) < lengths_C[:, None])
        known_C = known_CM.sum(axis=1)
        totals_C = self.totals_V[items_C] - (lengths_C - known_C)
        before_CM = np.where(known_CM, self.before_VM[items_C], PAD)
        marks_CMK = np.where(known_CM[..., None], self.marks_VMK[items_C], 0).astype(np.uint8)
        return ItemEvents(before_CM, marks_CMK, np.where(known_CM, times_CM, 0), known_C, totals_C)


def _mark(duration_us: int) -> int:
    return 0 if duration_us < 0 else int(log_bucket(seconds(np.array(duration_us))))
