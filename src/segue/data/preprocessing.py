"""Preprocessing of a log: sessions by pauses, removal of repeats and floods, k-core of users and items.

No step runs by default, and the log's report counts the removed events.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from segue.config.purchase_events import PURCHASE_EVENTS, is_event_of
from segue.config.ranges import Range, check_ranges
from segue.data.id_codes import encode_ids

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


@dataclass(frozen=True)
class PreprocessingConfig:
    """Preprocessing steps of a log; none by default."""

    session_gap_s: Annotated[float, Range(gt=0)] | None = None
    """Pause in seconds between two events of a user that begins a new session, above 0; none: sessions of the log."""
    min_user_events: Annotated[int, Range(ge=1)] = 1
    """Minimum number of events per user, at least 1. Users below it are removed, in rounds with ``min_item_events``,
    until all remaining users and items have enough (the k-core)."""
    min_item_events: Annotated[int, Range(ge=1)] = 1
    """Minimum number of events per item, at least 1 (see ``min_user_events``)."""
    drop_repeats: bool = False
    """Keep only one of a user's neighboring events on one item: the first purchase, or the first event."""
    max_user_item_events: Annotated[int, Range(ge=1)] | None = None
    """Maximum number of events of one user on one item, at least 1. The newest are kept, so that one account cannot
    raise an item by a flood of events. none: no limit."""

    def __post_init__(self) -> None:
        check_ranges(self)


def preprocess(log: "EventLog", config: PreprocessingConfig) -> "EventLog":
    """Apply the configured steps in this order: repeats, floods, sessions, k-core.

    Args:
        log: log to preprocess.
        config: steps.

    Raises:
        ValueError: the log is a fixed test set, whose prefixes and labels must not change; or no event is left.
    """
    if config == PreprocessingConfig():
        return log
    if log.is_labeled_test:
        raise ValueError("A fixed test set is evaluated as it is: preprocess the training log, not this one.")
    if config.drop_repeats:
        log = drop_repeats(log)
    if config.max_user_item_events is not None:
        log = drop_floods(log, config.max_user_item_events)
    if config.session_gap_s is not None:
        log = sessionize(log, config.session_gap_s)
    if max(config.min_user_events, config.min_item_events) > 1:
        log = k_core(log, min_user_events=config.min_user_events, min_item_events=config.min_item_events)
    return log


def k_core(log: "EventLog", *, min_user_events: int, min_item_events: int) -> "EventLog":
    """Return the k-core: the largest part of the log in which every user and item has enough events.

    There is exactly one such part, so that the order of removal does not matter.

    >>> import polars as pl
    >>> from segue.data.readers.events import read_events
    >>> log = read_events(pl.DataFrame({"user": list("aabbc"), "item": list("xyxyz"), "time": range(5)}))
    >>> k_core(log, min_user_events=2, min_item_events=2).frame["user_id"].to_list()
    ['a', 'a', 'b', 'b']

    Args:
        log: log to reduce.
        min_user_events: minimum number of events per user.
        min_item_events: minimum number of events per item.

    Raises:
        ValueError: no event is left.
    """
    users, user_N = encode_ids(log.frame["user_id"])
    items, item_N = encode_ids(log.frame["item_id"])
    kept_N, rounds = np.ones(len(log), dtype=bool), 0
    while True:
        per_user = np.bincount(user_N[kept_N], minlength=len(users))
        per_item = np.bincount(item_N[kept_N], minlength=len(items))
        still_N = kept_N & (per_user[user_N] >= min_user_events) & (per_item[item_N] >= min_item_events)
        if (still_N == kept_N).all():
            break
        kept_N, rounds = still_N, rounds + 1
    if not kept_N.any():
        raise ValueError(
            f"No event is left with at least {min_user_events} events per user and {min_item_events} per item: "
            "lower the minimum."
        )
    note = (
        f"Users with fewer than {min_user_events} events and items with fewer than {min_item_events} are removed in "
        f"{rounds} rounds: {int((per_user == 0).sum()):,} of {len(users):,} users and {int((per_item == 0).sum()):,} "
        f"of {len(items):,} items."
    )
    report = log.report.with_note(note, removed=int((~kept_N).sum()), reason="users or items with too few events")
    return log.with_frame(log.frame.filter(kept_N), report)


def sessionize(log: "EventLog", gap_s: float) -> "EventLog":
    """Set ``session_id`` to ``USER#1``, ``USER#2``, ... by time: a pause of more than ``gap_s`` seconds begins one.

    ::

        gap 30 min   minute   0   10   20         60   70        200
        ann                   a    b    c          d    e          f
        session               ann#1                ann#2           ann#3

    Args:
        log: log with times.
        gap_s: longest pause in seconds within a session.

    Raises:
        ValueError: the log has no times.
    """
    import polars as pl

    if not log.has_times:
        raise ValueError("Sessions cannot be cut at pauses, because this log has an order but no times.")
    order, is_first = _rows_by_user(log)
    times = log.frame["timestamp"].to_numpy()[order]
    begins = is_first.copy()
    begins[1:] |= np.diff(times) > gap_s * 1e6
    running = np.cumsum(begins)
    first_of_user = running[np.flatnonzero(is_first)][np.cumsum(is_first) - 1]
    number = np.empty(len(log), dtype=np.int64)
    number[order] = running - first_of_user + 1
    session_id = pl.concat_str(pl.col("user_id"), pl.lit("#"), pl.Series(number).cast(pl.String)).alias("session_id")
    replaced = " The log's own session_id is replaced." if "session_id" in log.frame.columns else ""
    note = f"A pause of more than {gap_s:g} s begins a new session: {int(begins.sum()):,} sessions.{replaced}"
    return log.with_frame(log.frame.with_columns(session_id), log.report.with_note(note))


def drop_repeats(log: "EventLog") -> "EventLog":
    """Remove events on the item of the same user's preceding event, such as reloads of a page.

    Of neighboring events on one item the first purchase is kept, because rules hide bought items, or else the first.
    """
    order, is_first = _rows_by_user(log)
    _, item_N = encode_ids(log.frame["item_id"])
    begins = is_first
    begins[1:] |= np.diff(item_N[order]) != 0
    kept = np.flatnonzero(begins)
    bought = np.flatnonzero(_are_purchases(log)[order])
    runs, first = np.unique(np.cumsum(begins)[bought] - 1, return_index=True)
    kept[runs] = bought[first]
    kept_N = np.zeros(len(log), dtype=bool)
    kept_N[order[kept]] = True
    reason, removed = "repeats of the preceding item", len(log) - len(kept)
    return log.with_frame(log.frame.filter(kept_N), log.report.with_note(removed=removed, reason=reason))


def _are_purchases(log: "EventLog") -> np.ndarray:
    """Return the bool mask of the events whose type means a purchase."""
    if "event" not in log.frame.columns:
        return np.zeros(len(log), dtype=bool)
    types = log.frame["event"]
    bought = [name for name in types.drop_nulls().unique() if is_event_of(name, PURCHASE_EVENTS)]
    mask: np.ndarray = types.is_in(bought).fill_null(False).to_numpy()
    return mask


def drop_floods(log: "EventLog", max_user_item_events: int) -> "EventLog":
    """Remove events of a user on an item but the newest ones.

    Args:
        log: log to reduce.
        max_user_item_events: maximum number of events of one user on one item.
    """
    order, _ = _rows_by_user(log)
    _, user_N = encode_ids(log.frame["user_id"])
    items, item_N = encode_ids(log.frame["item_id"])
    pair_N = (user_N.astype(np.int64) * len(items) + item_N)[order]
    by_pair = np.argsort(pair_N, kind="stable")  # the events of a pair side by side, by time
    _, first, counts = np.unique(pair_N[by_pair], return_index=True, return_counts=True)
    from_newest_N = np.repeat(first + counts, counts) - np.arange(len(pair_N))
    kept_N = np.ones(len(log), dtype=bool)
    kept_N[order[by_pair[from_newest_N > max_user_item_events]]] = False
    reason = f"more than {max_user_item_events} events of a user on an item"
    return log.with_frame(log.frame.filter(kept_N), log.report.with_note(removed=int((~kept_N).sum()), reason=reason))


def _rows_by_user(log: "EventLog") -> tuple[np.ndarray, np.ndarray]:
    """Return rows sorted by user and time, ties in file order, and the bool mask of each user's first row."""
    _, user_N = encode_ids(log.frame["user_id"])
    order = np.lexsort((log.frame["timestamp"].to_numpy(), user_N))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = np.diff(user_N[order]) != 0
    return order, is_first
