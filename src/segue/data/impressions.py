"""What a ranker is asked: a history, a moment, some candidates, and which of them the person went on to.

Shape letters: B cases, C candidates, N flat events.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


@dataclass(frozen=True)
class ClickExamples:
    """B questions: at ``moments`` b, after ``histories`` row b, which of the candidates is taken?"""

    histories: Sequences
    times_B: np.ndarray
    """int64, UTC microseconds: nothing that happened at or after it is known of any item."""
    candidates_BC: np.ndarray
    """int32; PAD where there is none."""
    labels_BC: np.ndarray
    """bool."""
    groups_B: np.ndarray
    """int64: whose case it is."""

    def __len__(self) -> int:
        return len(self.times_B)

    def take(self, rows: np.ndarray | slice) -> "ClickExamples":
        """Some of the cases, by index, slice or mask."""
        return ClickExamples(
            self.histories.take(rows),
            self.times_B[rows],
            self.candidates_BC[rows],
            self.labels_BC[rows],
            self.groups_B[rows],
        )

    @property
    def requested_items(self) -> np.ndarray:
        """bool [B, C]: where there is a candidate."""
        asked: np.ndarray = self.candidates_BC != PAD
        return asked


def click_examples_from_impressions(
    log: "EventLog", catalog: Catalog, *, shown: str = "view", taken: str = "click", window_s: float = 1800.0
) -> ClickExamples:
    """A log that says what was shown -> one case for each impression of an item of the catalog.

    An impression is taken where the same person takes the same item at that moment or at most ``window_s`` seconds
    later. Histories are what the person took strictly before. ValueError where the log has no times, no column
    ``event``, or no event of one of the two kinds.
    """
    if not log.has_times:
        raise ValueError("This log has an order but no times, so it cannot say what was known when an item was shown.")
    if "event" not in log.frame.columns:
        raise ValueError(f"This log has no column 'event' that could tell '{shown}' from '{taken}'.")
    parts = {}
    for kind in (shown, taken):
        parts[kind] = log.with_frame(log.frame.filter(log.frame["event"] == kind))
        if len(parts[kind]) == 0:
            known = ", ".join(f"'{name}'" for name in sorted(log.frame["event"].drop_nulls().unique().to_list())[:20])
            raise ValueError(f"This log has no event '{kind}'. It has: {known}.")
    asked, viewers = parts[shown].sequences(catalog)
    done, takers = parts[taken].sequences(catalog)
    row_N, where_N = asked.positions()
    known_N = asked.items[where_N] != PAD
    row_N, where_N = row_N[known_N], where_N[known_N]
    place = {person: i for i, person in enumerate(takers)}
    taker_N = np.array([place.get(person, -1) for person in viewers], dtype=np.int64)[row_N]
    assert asked.times is not None
    items_N, moments_N = asked.items[where_N], asked.times[where_N]
    labels_N = _next_take(done, taker_N, items_N, moments_N) <= window_s * 1e6
    histories = _taken_before(done, taker_N, moments_N)
    return ClickExamples(histories, moments_N, items_N[:, None], labels_N[:, None], row_N)


def _next_take(done: Sequences, taker_N: np.ndarray, items_N: np.ndarray, moments_N: np.ndarray) -> np.ndarray:
    """Microseconds until the same person takes the same item, float64 [N]; infinity where never."""
    assert done.times is not None
    row_M, where_M = done.positions()
    moments = np.unique(done.times[where_M])
    width, depth = int(max(done.items.max(initial=0), items_N.max(initial=0))) + 1, len(moments) + 1
    pair_M = (row_M * width + done.items[where_M]) * depth
    key_M = np.sort(pair_M + np.searchsorted(moments, done.times[where_M]))
    wanted_N = (taker_N * width + items_N) * depth
    found_N = np.searchsorted(key_M, wanted_N + np.searchsorted(moments, moments_N))
    key_M = np.append(key_M, -1)
    same_N = (key_M[found_N] // depth == wanted_N // depth) & (taker_N >= 0)
    return np.where(same_N, np.append(moments, 0)[key_M[found_N] % depth] - moments_N, np.inf)


def _taken_before(done: Sequences, taker_N: np.ndarray, moments_N: np.ndarray) -> Sequences:
    """What each person took strictly before each moment, as prefixes of their rows."""
    assert done.times is not None
    row_M, where_M = done.positions()
    moments = np.unique(done.times[where_M])
    key_M = row_M * (len(moments) + 1) + np.searchsorted(moments, done.times[where_M])
    wanted_N = taker_N * (len(moments) + 1) + np.searchsorted(moments, moments_N)
    starts_N = np.where(taker_N < 0, 0, done.starts[taker_N])
    stops_N = np.where(taker_N < 0, 0, np.searchsorted(key_M, wanted_N))
    return Sequences(done.items, done.times, starts_N, stops_N)
