"""Times as numbers that a network looks up: the gap before an event, its hour, its weekday. No torch.

What is unknown has a number of its own, 0. Shape letters: B rows, T time step, N events, C inputs, R rows of the table
of time vectors, D hidden size.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from segue.data.sequences import NO_TIME, Sequences
from segue.models.neural.configs.shared import TimeInput

NUM_GAP_BUCKETS = 64
"""Buckets of gaps, the unknown one among them."""
GAP_STEP = 0.35
"""Each bucket of gaps is exp(this) = 1.42 times as long as the one before it: a second is in the second one, a day in
the 33rd, and the last one holds everything beyond 80 years."""
NUM_VALUES: dict[str, int] = {"gap": NUM_GAP_BUCKETS, "daypart": 1 + 24, "weekday": 1 + 7}
"""Numbers of each input: an unknown one; the gap's buckets, the hours of a day and the days of a week, all in UTC."""
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def gap_buckets(gap_us: np.ndarray) -> np.ndarray:
    """int64, of gaps in microseconds: 1 + ln(1 + seconds) / GAP_STEP, rounded down; a negative gap is none.

    >>> gap_buckets(np.array([-5, 0, 1_000_000, 86_400_000_000])).tolist()
    [1, 1, 2, 33]
    """
    steps = np.log1p(np.maximum(gap_us, 0) * 1e-6) / GAP_STEP
    return np.minimum(1 + steps.astype(np.int64), NUM_GAP_BUCKETS - 1)


def time_rows(times: np.ndarray, before: np.ndarray, inputs: tuple[TimeInput, ...]) -> np.ndarray:
    """int64 [..., C]: the rows of the table that belong to events at ``times``, whose events ``before`` were then.

    Both are UTC microseconds, NO_TIME where unknown, where there was none, and behind a row's end."""
    known = times != NO_TIME
    moment = np.where(known, times, 0)
    paired = known & (before != NO_TIME)
    found: dict[str, np.ndarray] = {
        "gap": np.where(paired, gap_buckets(moment - np.where(paired, before, 0)), 0),
        "daypart": np.where(known, 1 + moment // HOUR_US % 24, 0),
        "weekday": np.where(known, 1 + (moment // DAY_US + 3) % 7, 0),  # 1970 began on a Thursday
    }
    return np.stack([found[name] + first for name, first in _first_rows(inputs).items()], axis=-1)


def _first_rows(inputs: tuple[TimeInput, ...]) -> dict[str, int]:
    sizes = [0, *(NUM_VALUES[name] for name in inputs)]
    return dict(zip(inputs, np.cumsum(sizes).tolist(), strict=False))


def num_rows(inputs: tuple[TimeInput, ...]) -> int:
    """R: rows of the table that these inputs need."""
    return sum(NUM_VALUES[name] for name in inputs)


class TimeEmbedding:
    """The vectors that a network learned for times, float32 [R, D]; an event's are added to its item's."""

    def __init__(self, inputs: tuple[TimeInput, ...], vectors_RD: np.ndarray) -> None:
        self.inputs = inputs
        self.vectors_RD = vectors_RD
        self.timeless_D: np.ndarray = vectors_RD[list(_first_rows(inputs).values())].sum(axis=0)
        """What an event gets whose time nobody knows."""

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: Any) -> "TimeEmbedding | None":
        """From the name that ``arrays`` gives; None where the settings name no input."""
        return cls(config.time_inputs, arrays["time.vectors"]) if config.time_inputs else None

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {"time.vectors": self.vectors_RD}

    def embed(self, histories: Sequences) -> np.ndarray:
        """float32 [N, D] for the events in the order of ``positions()``; a row's first event has no gap."""
        row_N, where_N = histories.positions()
        if histories.times is None:
            return np.tile(self.timeless_D, (len(where_N), 1))
        times_N = histories.times[where_N]
        before_N = np.where(where_N > histories.starts[row_N], np.roll(times_N, 1), NO_TIME)
        found: np.ndarray = self.vectors_RD[time_rows(times_N, before_N, self.inputs)].sum(axis=1)
        return found


def event_times(histories: Sequences, width: int) -> np.ndarray:
    """int64 [B, width + 1]: when each event was, oldest first, and behind each row's newest the moment of asking.

    Unknown ones, and all behind, are NO_TIME. ``width`` is at least the longest row."""
    out_BS = np.full((len(histories), width + 1), NO_TIME)
    if histories.times is not None:
        row_N, where_N = histories.positions()
        out_BS[row_N, where_N - histories.starts[row_N]] = histories.times[where_N]
    if histories.query_times is not None:
        out_BS[np.arange(len(histories)), histories.lengths] = histories.query_times
    return out_BS
