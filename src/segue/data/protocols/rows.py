"""The log as rows to be cut: one a person, or one a session in the order of their beginnings."""

from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.events import EventLog


def people(log: "EventLog") -> tuple[Sequences, tuple[str, ...]]:
    """(one row a person, sorted by id; the ids of all items)."""
    catalog = log.catalog()
    return log.sequences(catalog, by="user")[0], catalog.ids


def sessions(log: "EventLog", catalog: Catalog, gap_minutes: float) -> tuple[Sequences, str]:
    """(one row a session, by its first event's time, ties in file order; what a session is, in words).

    A ``session_id`` column says where sessions begin; without one a person's pause of more than ``gap_minutes`` does,
    and where there are no times either, each person is one session.
    """
    if gap_minutes <= 0:
        raise ValueError(f"gap_minutes must be above 0, got {gap_minutes}.")
    if "session_id" in log.frame.columns or not log.has_times:
        key = "session_id" if "session_id" in log.frame.columns else "user_id"
        rows, keys = log.sequences(catalog, by="session")
        return rows.take(_by_beginning(log, key, keys)), f"sessions by {key}"
    rows = split_at_pauses(log.sequences(catalog, by="user")[0], gap_minutes)
    assert rows.times is not None
    order = np.argsort(rows.times[rows.starts], kind="stable")
    return rows.take(order), f"sessions end at a pause of {gap_minutes:g} minutes"


def split_at_pauses(rows: Sequences, gap_minutes: float) -> Sequences:
    """Rows that lie one behind the other, parted wherever two events are more than the gap apart."""
    assert rows.times is not None
    begins_N = np.ones(len(rows.items), dtype=bool)
    begins_N[1:] = np.diff(rows.times) > gap_minutes * 60e6
    begins_N[rows.starts] = True
    return Sequences.from_offsets(rows.items, np.append(np.flatnonzero(begins_N), len(rows.items)), rows.times)


def _by_beginning(log: "EventLog", key: str, keys: list[str]) -> np.ndarray:
    """The order of rows by first event, ties by file row, int64 [B]. Without times the timestamp is the file row."""
    import polars as pl

    first = log.frame.with_row_index("__at__").group_by(key).agg(pl.col("timestamp", "__at__").min())
    first = pl.DataFrame({key: keys}).join(first, on=key, how="left", maintain_order="left")
    return np.lexsort((first["__at__"].to_numpy(), first["timestamp"].to_numpy()))
