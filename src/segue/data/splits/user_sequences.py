"""Sequences to split: one per user, or one per session in the order of their begins."""

from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import Catalog
from segue.data.preprocessing import sessionize
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def user_sequences(log: "EventLog") -> tuple[Sequences, tuple[str, ...]]:
    """Return one sequence per user, sorted by user id, and the ids of all items."""
    catalog = log.catalog()
    return log.sequences(catalog, by="user")[0], catalog.ids


def session_sequences(log: "EventLog", catalog: Catalog, gap_minutes: float | None) -> tuple[Sequences, str]:
    """Return one sequence per session, and the definition of a session in words.

    Sessions are those of ``session_id``. Without that column a user's pause ends a session; without times each user is
    one session.

    Args:
        log: events.
        catalog: index of the items.
        gap_minutes: longest pause within a session, above 0; None: without ``session_id`` each user is one session.

    Returns:
        Sessions by the time of their first event, ties in file order.
    """
    if gap_minutes is not None and gap_minutes <= 0:
        raise ValueError(f"gap_minutes must be above 0, got {gap_minutes}.")
    meaning = "sessions by session_id"
    if "session_id" not in log.frame.columns and log.has_times and gap_minutes is not None:
        log, meaning = sessionize(log, gap_minutes * 60), f"sessions end at a pause of {gap_minutes:g} minutes"
    elif "session_id" not in log.frame.columns:
        meaning = "each user is one session"
    key = "session_id" if "session_id" in log.frame.columns else "user_id"
    rows, keys = log.sequences(catalog, by="session")
    return rows.take(_order_of_begin(log, key, keys)), meaning


def _order_of_begin(log: "EventLog", key: str, keys: list[str]) -> np.ndarray:
    """Return the order of rows by first event, ties by file row, int64 [B]; without times the timestamp is the row."""
    import polars as pl

    events = log.frame.select(key, "timestamp").sort("timestamp", maintain_order=True)
    ranks = events.select(key).unique(keep="first", maintain_order=True).with_row_index("rank")
    rank_B = pl.DataFrame({key: keys}).join(ranks, on=key, how="left", maintain_order="left")["rank"]
    return np.argsort(rank_B.to_numpy())
