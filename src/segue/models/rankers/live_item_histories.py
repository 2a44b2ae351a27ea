"""Item histories that are updated by every event, for a ranker in the server.

Shape letters: V catalog size with PAD, M events of an item that are kept, C candidates.
"""

from collections.abc import Mapping

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemEvents, ItemHistories, log_bucket, seconds


class LiveItemHistories:
    """The newest M interactions of each item; equal to ``ItemHistories`` of the whole log (tested)."""

    def __init__(self, item_events: ItemEvents) -> None:
        self.previous_items_VM = item_events.previous_items_SM
        self.buckets_VMK = item_events.buckets_SMK
        self.times_VM = item_events.times_SM
        self.lengths_V = item_events.lengths_S
        self.totals_V = item_events.totals_S

    @classmethod
    def from_item_histories(cls, item_histories: ItemHistories, width: int) -> "LiveItemHistories":
        """Return the item histories after the last event of a log.

        Args:
            item_histories: item histories of the log.
            width: M, number of interactions to keep of each item.
        """
        items_V = np.arange(item_histories.size)
        end_of_time_V = np.full(len(items_V), np.iinfo(np.int64).max)
        item_events, row_V = item_histories.newest_events(items_V, end_of_time_V, width)
        return cls(item_events.take(row_V))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "LiveItemHistories":
        """Restore the item histories of an artifact from copies of its tensors ``item_histories.{name}``."""
        names = ("previous_items", "buckets", "times", "lengths", "totals")
        return cls(ItemEvents(*(arrays[f"item_histories.{name}"].copy() for name in names)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``item_histories.{name}``."""
        return {
            "item_histories.previous_items": self.previous_items_VM,
            "item_histories.buckets": self.buckets_VMK,
            "item_histories.times": self.times_VM,
            "item_histories.lengths": self.lengths_V,
            "item_histories.totals": self.totals_V,
        }

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        return len(self.lengths_V)

    @property
    def width(self) -> int:
        """M."""
        return self.previous_items_VM.shape[1]

    def observe(self, history: Sequences, item: int, time: int) -> bool:
        """Add one interaction of an item.

        A late event is inserted at its position, and the gap of the interaction after it is corrected.

        Args:
            history: one row, the user's events before this one, with times.
            item: the item.
            time: timestamp of the event, UTC microseconds.

        Returns:
            True if a kept interaction changed.

        Raises:
            ValueError: the catalog does not contain the item.
        """
        if not PAD < item < self.size:
            raise ValueError(f"Item {item} is not in the catalog of {self.size - 1} items.")
        assert history.times is not None
        self.totals_V[item] += 1
        length, times_M = int(self.lengths_V[item]), self.times_VM[item]
        position = int(np.searchsorted(times_M[:length], time, side="right"))
        if position == 0 and length == self.width:
            return False
        num_earlier = int(history.lengths[0])
        newest = int(history.stops[0]) - 1
        previous_item = int(history.items[newest]) if num_earlier else PAD
        gap_us = time - int(history.times[newest]) if num_earlier else -1
        since_us = time - int(times_M[position - 1]) if position else -1
        buckets = [_bucket(gap_us), _bucket(since_us), int(log_bucket(np.array(num_earlier)))]
        if position < length:
            self.buckets_VMK[item, position, 1] = _bucket(int(times_M[position]) - time)
        rows = ((self.previous_items_VM, previous_item), (self.buckets_VMK, buckets), (self.times_VM, time))
        for array, value in rows:
            value_array = np.asarray(value, dtype=array.dtype)
            longer = np.insert(array[item, :length], position, value_array, axis=0)[-self.width :]
            array[item, : len(longer)] = longer
        self.lengths_V[item] = min(length + 1, self.width)
        return True

    def newest_events(self, items_C: np.ndarray, now: int) -> ItemEvents:
        """Return the items' kept interactions strictly before a time.

        Args:
            items_C: int [C].
            now: time of the request, UTC microseconds.
        """
        lengths_C, times_CM = self.lengths_V[items_C], self.times_VM[items_C]
        is_known_CM = (times_CM < now) & (np.arange(self.width) < lengths_C[:, None])
        known_C = is_known_CM.sum(axis=1)
        totals_C = self.totals_V[items_C] - (lengths_C - known_C)
        previous_items_CM = np.where(is_known_CM, self.previous_items_VM[items_C], PAD)
        buckets_CMK = np.where(is_known_CM[..., None], self.buckets_VMK[items_C], 0).astype(np.uint8)
        return ItemEvents(previous_items_CM, buckets_CMK, np.where(is_known_CM, times_CM, 0), known_C, totals_C)


def _bucket(duration_us: int) -> int:
    return 0 if duration_us < 0 else int(log_bucket(seconds(np.array(duration_us))))
