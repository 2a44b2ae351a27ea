"""The log as rows to be cut: one a person, or one a session in the order of their beginnings."""

from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import Catalog
from segue.data.preprocessing import sessionize
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def user_sequences(log: "EventLog") -> tuple[Sequences, tuple[str, ...]]:
    """(one row a person, sorted by id; the ids of all items)."""
    catalog = log.catalog()
    return log.sequences(catalog, by="user")[0], catalog.ids


def session_sequences(log: "EventLog", catalog: Catalog, gap_minutes: float) -> tuple[Sequences, str]:
    """(one row a session, by its first event's time, ties in file order; what a session is, in words).

    A ``session_id`` column says where sessions begin; without one a person's pause of more than ``gap_minutes`` does,
    and where there are no times either, each person is one session.
    """
    if gap_minutes <= 0:
        raise ValueError(f"gap_minutes must be above 0, got {gap_minutes}.")
    meaning = "sessions by session_id"
    if "session_id" not in log.frame.columns and log.has_times:
        log, meaning = sessionize(log, gap_minutes * 60), f"sessions end at a pause of {gap_minutes:g} minutes"
    elif "session_id" not in log.frame.columns:
        meaning = "each person is one session"
    key = "session_id" if "session_id" in log.frame.columns else "user_id"
    rows, keys = log.sequences(catalog, by="session")
    return rows.take(_by_beginning(log, key, keys)), meaning


def _by_beginning(log: "EventLog", key: str, keys: list[str]) -> np.ndarray:
    """The order of rows by first event, ties by its file row, int64 [B]; without times the timestamp is the row."""
    import polars as pl

    events = log.frame.select(key, "timestamp").sort("timestamp", maintain_order=True)
    places = events.select(key).unique(keep="first", maintain_order=True).with_row_index("place")
    place_B = pl.DataFrame({key: keys}).join(places, on=key, how="left", maintain_order="left")["place"]
    return np.argsort(place_B.to_numpy())
