"""Click examples of a ranker: a history, a query time, candidates, and the candidates that the user clicked.

Shape letters: B examples, C candidates, N impressions, M clicks.
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
    """B examples: after ``histories`` row b, at time ``times_B[b]``, which of the candidates is clicked."""

    histories: Sequences
    times_B: np.ndarray
    """int64, UTC microseconds: query times. Item features use events strictly before them."""
    candidates_BC: np.ndarray
    """int32 catalog indices, PAD behind a row's candidates."""
    labels_BC: np.ndarray
    """bool: clicked."""
    groups_B: np.ndarray
    """int64: index of the example's user."""

    def __len__(self) -> int:
        return len(self.times_B)

    def take(self, rows: np.ndarray | slice) -> "ClickExamples":
        """Return some of the examples, by index, slice or mask."""
        return ClickExamples(
            self.histories.take(rows),
            self.times_B[rows],
            self.candidates_BC[rows],
            self.labels_BC[rows],
            self.groups_B[rows],
        )

    @property
    def is_candidate(self) -> np.ndarray:
        """Mask bool [B, C] of the candidates; False for PAD."""
        mask: np.ndarray = self.candidates_BC != PAD
        return mask


def click_examples_from_impressions(
    log: "EventLog",
    catalog: Catalog,
    *,
    impression_event: str = "view",
    click_event: str = "click",
    window_s: float = 1800.0,
) -> ClickExamples:
    """Return one example per impression of a catalog item; each has one candidate.

    An impression is clicked if the same user clicks the same item at that time or at most ``window_s`` seconds later.
    The history is the user's clicks strictly before the impression.

    Args:
        log: log with times and a column ``event``.
        catalog: items that can be candidates.
        impression_event: value of ``event`` that is an impression.
        click_event: value of ``event`` that is a click.
        window_s: seconds from an impression to its click.

    Raises:
        ValueError: the log has no times, no column ``event``, or no event of one of the two values.
    """
    if not log.has_times:
        raise ValueError("This log has an order but no times, so the state of an item at an impression is unknown.")
    if "event" not in log.frame.columns:
        raise ValueError(f"This log has no column 'event' to separate '{impression_event}' from '{click_event}'.")
    impressions, viewers = _sequences_of_event(log, catalog, impression_event)
    clicks, clickers = _sequences_of_event(log, catalog, click_event)
    row_N, position_N = impressions.positions()
    in_catalog_N = impressions.items[position_N] != PAD
    row_N, position_N = row_N[in_catalog_N], position_N[in_catalog_N]
    clicks_row = {user: i for i, user in enumerate(clickers)}
    clicks_row_N = np.array([clicks_row.get(user, -1) for user in viewers], dtype=np.int64)[row_N]
    assert impressions.times is not None
    items_N, times_N = impressions.items[position_N], impressions.times[position_N]
    labels_N = _time_to_click(clicks, clicks_row_N, items_N, times_N) <= window_s * 1e6
    histories = _clicks_before(clicks, clicks_row_N, times_N)
    return ClickExamples(histories, times_N, items_N[:, None], labels_N[:, None], row_N)


def _sequences_of_event(log: "EventLog", catalog: Catalog, event: str) -> tuple[Sequences, list[str]]:
    part = log.with_frame(log.frame.filter(log.frame["event"] == event))
    if len(part) == 0:
        known = ", ".join(f"'{name}'" for name in sorted(log.frame["event"].drop_nulls().unique().to_list())[:20])
        raise ValueError(f"This log has no event '{event}'. It has: {known}.")
    return part.sequences(catalog)


def _time_to_click(clicks: Sequences, row_N: np.ndarray, items_N: np.ndarray, times_N: np.ndarray) -> np.ndarray:
    """Return microseconds until the same user clicks the same item, float64 [N]; infinity for no click."""
    assert clicks.times is not None
    row_M, position_M = clicks.positions()
    distinct_times = np.unique(clicks.times[position_M])
    num_items, num_times = int(max(clicks.items.max(initial=0), items_N.max(initial=0))) + 1, len(distinct_times) + 1
    pair_M = (row_M * num_items + clicks.items[position_M]) * num_times
    key_M = np.sort(pair_M + np.searchsorted(distinct_times, clicks.times[position_M]))
    pair_N = (row_N * num_items + items_N) * num_times
    next_N = np.searchsorted(key_M, pair_N + np.searchsorted(distinct_times, times_N))
    key_M = np.append(key_M, -1)
    is_clicked_N = (key_M[next_N] // num_times == pair_N // num_times) & (row_N >= 0)
    return np.where(is_clicked_N, np.append(distinct_times, 0)[key_M[next_N] % num_times] - times_N, np.inf)


def _clicks_before(clicks: Sequences, row_N: np.ndarray, times_N: np.ndarray) -> Sequences:
    """Return each user's clicks strictly before each time, as prefixes of the users' rows."""
    assert clicks.times is not None
    row_M, position_M = clicks.positions()
    distinct_times = np.unique(clicks.times[position_M])
    key_M = row_M * (len(distinct_times) + 1) + np.searchsorted(distinct_times, clicks.times[position_M])
    query_N = row_N * (len(distinct_times) + 1) + np.searchsorted(distinct_times, times_N)
    starts_N = np.where(row_N < 0, 0, clicks.starts[row_N])
    stops_N = np.where(row_N < 0, 0, np.searchsorted(key_M, query_N))
    return Sequences(clicks.items, clicks.times, starts_N, stops_N)
