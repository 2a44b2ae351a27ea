"""Users that are probably no single visitor: far too many events, or bursts of events within a second."""

from typing import TYPE_CHECKING

import numpy as np

from segue.data.read_report import shorten_list

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

MIN_HEAVY_EVENTS = 200
"""Least number of events of a user that counts as heavy."""
HEAVY_FACTOR = 100
"""Events of a heavy user, as a multiple of the median user's."""
BURST_EVENTS = 10
"""Number of events of a user within a second that no visitor makes by hand."""
NUM_EXAMPLES = 3
"""Number of heavy users that a sentence lists."""
_SECOND_US = 1_000_000


def find_robots(log: "EventLog") -> list[str]:
    """Return sentences about users with far too many events, and about bursts within a second.

    A log whose times are whole minutes or days has no bursts: all events of a basket have one time.

    Args:
        log: the events.
    """
    return [*_heavy_users(log), *(_bursts(log) if log.has_times else [])]


def _heavy_users(log: "EventLog") -> list[str]:
    import polars as pl

    counts = log.frame.group_by("user_id").len("events").sort(["events", "user_id"], descending=[True, False])
    median = float(counts["events"].median() or 0)  # type: ignore[arg-type]
    limit = min(max(1000, 0.01 * len(log)), max(MIN_HEAVY_EVENTS, HEAVY_FACTOR * median))
    heavy = counts.filter(pl.col("events") > limit)
    if not heavy.height:
        return []
    listed = shorten_list(f"{user} {events:,}" for user, events in heavy.head(NUM_EXAMPLES).rows())
    many, kind = f"{heavy.height:,} users have", "resellers, robots or shared ids"
    if heavy.height == 1:
        many, kind = "One user has", "a reseller, a robot or a shared id"
    return [f"{many} far more events than the median of {median:,g} ({listed}): {kind}?"]


def _bursts(log: "EventLog") -> list[str]:
    if len(log) < BURST_EVENTS or (log.frame["timestamp"] % (60 * _SECOND_US) == 0).all():
        return []
    rows = log.frame.select("user_id", "timestamp").sort("user_id", "timestamp")
    times_N, users_N = rows["timestamp"].to_numpy(), rows["user_id"].rle_id().to_numpy()
    last = BURST_EVENTS - 1
    is_burst_N = (users_N[last:] == users_N[:-last]) & (times_N[last:] - times_N[:-last] < _SECOND_US)
    starts = np.flatnonzero(is_burst_N)
    if not len(starts):
        return []
    count, first = len(np.unique(users_N[starts])), int(starts[0])
    time = np.datetime64(int(times_N[first]), "us").astype("datetime64[s]")
    many, kind = f"{count:,} users have", "robots, or baskets"
    if count == 1:
        many, kind = "One user has", "a robot, or a basket"
    return [
        f"{many} {BURST_EVENTS} or more events within a second (as {rows['user_id'][first]} at {time}Z): {kind} "
        "with one time?"
    ]
