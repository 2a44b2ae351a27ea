"""Time features of events as rows of an embedding table: gap to the event before, hour of the day, weekday.

An unknown value has row 0 of its input. Shape letters: B rows, T time step, N events, C inputs, R rows of the table of
time embeddings, D hidden size.
"""

from collections.abc import Mapping

import numpy as np

from segue.data.sequences import NO_TIME, Sequences
from segue.data.time_units import DAY_US
from segue.models.neural.configs.shared import TimeConfig, TimeInput

NUM_GAP_BUCKETS = 64
"""Number of gap buckets, the one for an unknown gap included."""
GAP_STEP = 0.35
"""Logarithm of the ratio of neighboring buckets: each is exp(0.35) = 1.42 times as long as the one before. One second
is in bucket 2, one day in bucket 33, and the last bucket holds gaps beyond 80 years."""
NUM_VALUES: dict[str, int] = {"gap": NUM_GAP_BUCKETS, "daypart": 1 + 24, "weekday": 1 + 7}
"""Number of rows of each input: one for unknown, then the gap buckets, hours or weekdays (UTC)."""
HOUR_US = 3_600_000_000


def gap_buckets(gap_us: np.ndarray) -> np.ndarray:
    """Return the bucket of each gap: 1 + floor(ln(1 + seconds) / GAP_STEP), int64; a negative gap counts as 0.

    >>> gap_buckets(np.array([-5, 0, 1_000_000, 86_400_000_000])).tolist()
    [1, 1, 2, 33]
    """
    steps = np.log1p(np.maximum(gap_us, 0) * 1e-6) / GAP_STEP
    return np.minimum(1 + steps.astype(np.int64), NUM_GAP_BUCKETS - 1)


def time_rows(times: np.ndarray, previous_times: np.ndarray, inputs: tuple[TimeInput, ...]) -> np.ndarray:
    """Return the rows of the embedding table that belong to events.

    Args:
        times: int64, timestamp of each event, UTC microseconds; NO_TIME where unknown and in padding.
        previous_times: int64, same shape, timestamp of the event before; NO_TIME also for a first event.
        inputs: time inputs of the network.

    Returns:
        int64 [..., C].
    """
    is_known = times != NO_TIME
    known_times = np.where(is_known, times, 0)
    has_gap = is_known & (previous_times != NO_TIME)
    rows: dict[str, np.ndarray] = {
        "gap": np.where(has_gap, gap_buckets(known_times - np.where(has_gap, previous_times, 0)), 0),
        "daypart": np.where(is_known, 1 + known_times // HOUR_US % 24, 0),
        "weekday": np.where(is_known, 1 + (known_times // DAY_US + 3) % 7, 0),  # 1970 began on a Thursday
    }
    return np.stack([rows[name] + first for name, first in _first_rows(inputs).items()], axis=-1)


def _first_rows(inputs: tuple[TimeInput, ...]) -> dict[str, int]:
    sizes = [0, *(NUM_VALUES[name] for name in inputs)]
    return dict(zip(inputs, np.cumsum(sizes).tolist(), strict=False))


def num_rows(inputs: tuple[TimeInput, ...]) -> int:
    """Return R, the number of rows of the embedding table for these inputs."""
    return sum(NUM_VALUES[name] for name in inputs)


class TimeEmbedding:
    """Trained time embeddings, float32 [R, D], which are added to the input embeddings of events."""

    def __init__(self, time_inputs: tuple[TimeInput, ...], embeddings_RD: np.ndarray) -> None:
        self.time_inputs = time_inputs
        self.embeddings_RD = embeddings_RD
        self.timeless_D: np.ndarray = embeddings_RD[list(_first_rows(time_inputs).values())].sum(axis=0)
        """Embedding of an event without a timestamp."""

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: TimeConfig) -> "TimeEmbedding | None":
        """Restore the embeddings of an artifact.

        Args:
            arrays: tensors of the artifact, ``time.embeddings`` among them.
            config: settings of the model.

        Returns:
            None if the settings have no time input.
        """
        if not config.time_inputs:
            return None
        if len(arrays["time.embeddings"]) != num_rows(config.time_inputs):
            raise ValueError("The tensor 'time.embeddings' has not one row for each value of the time inputs.")
        return cls(config.time_inputs, arrays["time.embeddings"])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``time.embeddings``."""
        return {"time.embeddings": self.embeddings_RD}

    def embed(self, histories: Sequences) -> np.ndarray:
        """Return the time embedding of each event in the order of ``positions()``, float32 [N, D].

        The first event of a row has no gap.
        """
        row_N, position_N = histories.positions()
        if histories.times is None:
            return np.tile(self.timeless_D, (len(position_N), 1))
        times_N = histories.times[position_N]
        previous_N = np.where(position_N > histories.starts[row_N], np.roll(times_N, 1), NO_TIME)
        embeddings_ND: np.ndarray = self.embeddings_RD[time_rows(times_N, previous_N, self.time_inputs)].sum(axis=1)
        return embeddings_ND


def event_times(histories: Sequences, width: int) -> np.ndarray:
    """Return the timestamps of events, oldest first, and behind the newest event of each row its query time.

    Args:
        histories: B histories.
        width: T, at least the length of the longest row.

    Returns:
        int64 [B, T + 1], UTC microseconds; NO_TIME where unknown and in padding.
    """
    out_BS = np.full((len(histories), width + 1), NO_TIME)
    if histories.times is not None:
        row_N, position_N = histories.positions()
        out_BS[row_N, position_N - histories.starts[row_N]] = histories.times[position_N]
    if histories.query_times is not None:
        out_BS[np.arange(len(histories)), histories.lengths] = histories.query_times
    return out_BS
