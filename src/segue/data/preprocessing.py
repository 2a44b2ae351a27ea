"""Trimming a log before it trains: sessions by gap, no item twice in a row, people and items with enough events.

Nothing here happens unasked, and the log's report counts what was taken out.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from segue.data.id_codes import encode_ids

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


@dataclass(frozen=True)
class PreprocessingConfig:
    """What of a log is taken out or put in order; by default nothing."""

    session_gap_s: float | None = None
    """A longer pause between two events of a person begins a new session; None: sessions are as in the log."""
    min_user_events: int = 1
    """People with fewer events are taken out, again and again together with the next, until all have enough."""
    min_item_events: int = 1
    """Items with fewer events are taken out, likewise (the k-core)."""
    drop_repeats: bool = False
    """Of a person's neighboring events on one item only the first stays."""

    def __post_init__(self) -> None:
        if self.session_gap_s is not None and not (math.isfinite(self.session_gap_s) and self.session_gap_s > 0):
            raise ValueError(f"session_gap_s must be a positive number of seconds, got {self.session_gap_s}.")
        for name, least in (("min_user_events", self.min_user_events), ("min_item_events", self.min_item_events)):
            if least < 1:
                raise ValueError(f"{name} must be >= 1, got {least}.")


def preprocess(log: "EventLog", wanted: PreprocessingConfig) -> "EventLog":
    """All that is wanted, in this order: repeats, sessions, k-core. ValueError for a fixed test set, whose prefixes
    and labels must stay as they are."""
    if wanted == PreprocessingConfig():
        return log
    if log.is_labeled_test:
        raise ValueError("A fixed test set is asked as it is; trim the log that trains, not this one.")
    if wanted.drop_repeats:
        log = drop_repeats(log)
    if wanted.session_gap_s is not None:
        log = sessionize(log, wanted.session_gap_s)
    if max(wanted.min_user_events, wanted.min_item_events) > 1:
        log = k_core(log, people=wanted.min_user_events, items=wanted.min_item_events)
    return log


def k_core(log: "EventLog", *, people: int, items: int) -> "EventLog":
    """The largest part of the log in which everybody has ``people`` events and every item ``items``.

    There is exactly one such part, so that the order of taking out does not matter. ValueError where it is empty.

    >>> import polars as pl
    >>> from segue.data.event_log import read_events
    >>> log = read_events(pl.DataFrame({"user": list("aabbc"), "item": list("xyxyz"), "time": range(5)}))
    >>> k_core(log, people=2, items=2).frame["user_id"].to_list()
    ['a', 'a', 'b', 'b']
    """
    users, who = encode_ids(log.frame["user_id"])
    names, what = encode_ids(log.frame["item_id"])
    stays, rounds = np.ones(len(log), dtype=bool), 0
    while True:
        per_person = np.bincount(who[stays], minlength=len(users))
        per_item = np.bincount(what[stays], minlength=len(names))
        still = stays & (per_person[who] >= people) & (per_item[what] >= items)
        if (still == stays).all():
            break
        stays, rounds = still, rounds + 1
    if not stays.any():
        raise ValueError(f"Nobody is left when each person needs {people} events and each item {items}: ask for fewer.")
    note = (
        f"People with fewer than {people} events and items with fewer than {items} are taken out in {rounds} rounds: "
        f"{int((per_person == 0).sum()):,} of {len(users):,} people and {int((per_item == 0).sum()):,} of "
        f"{len(names):,} items."
    )
    report = log.report.with_note(note, taken_out=int((~stays).sum()), reason="of people or items with too few events")
    return log.with_frame(log.frame.filter(stays), report)


def sessionize(log: "EventLog", gap_s: float) -> "EventLog":
    """Sessions by pauses: ``session_id`` becomes ``person#1``, ``person#2``, ... in the order of time.

    ```
    gap 30 min   minute   0   10   20         60   70        200
    ann                   a    b    c          d    e          f
    session               ann#1                ann#2           ann#3
    ```
    ValueError for a log without times.
    """
    import polars as pl

    if not log.has_times:
        raise ValueError("Sessions cannot be told by pauses, because this log has an order but no times.")
    order, new_person = _rows_by_person(log)
    when = log.frame["timestamp"].to_numpy()[order]
    begins = new_person.copy()
    begins[1:] |= np.diff(when) > gap_s * 1e6
    running = np.cumsum(begins)
    first = running[np.flatnonzero(new_person)][np.cumsum(new_person) - 1]
    number = np.empty(len(log), dtype=np.int64)
    number[order] = running - first + 1
    name = pl.concat_str(pl.col("user_id"), pl.lit("#"), pl.Series(number).cast(pl.String)).alias("session_id")
    had = " The log's own session_id is replaced." if "session_id" in log.frame.columns else ""
    note = f"A pause of more than {gap_s:g} s begins a new session: {int(begins.sum()):,} sessions.{had}"
    return log.with_frame(log.frame.with_columns(name), log.report.with_note(note))


def drop_repeats(log: "EventLog") -> "EventLog":
    """Without events that only repeat the item of the same person's event before, as reloads of a page do."""
    order, new_person = _rows_by_person(log)
    _, what = encode_ids(log.frame["item_id"])
    repeats = ~new_person
    repeats[1:] &= np.diff(what[order]) == 0
    stays = np.ones(len(log), dtype=bool)
    stays[order[repeats]] = False
    reason = "repeats of the item just before"
    return log.with_frame(log.frame.filter(stays), log.report.with_note(taken_out=int(repeats.sum()), reason=reason))


def _rows_by_person(log: "EventLog") -> tuple[np.ndarray, np.ndarray]:
    """(rows person by person in the order of time, ties in file order; bool: a person's first row)."""
    _, who = encode_ids(log.frame["user_id"])
    order = np.lexsort((log.frame["timestamp"].to_numpy(), who))
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.diff(who[order]) != 0
    return order, new
