"""Sessions of a log: a guessed session column with blanks, users without an id, and sessions that users share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from segue.data.erasure_list import visitor_user_id

if TYPE_CHECKING:
    import polars as pl


def decline_sessions_with_blanks(
    frame: "pl.DataFrame", columns: Mapping[str, str], chosen: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the roles without a guessed session column that has blank cells, and a sentence about it.

    Rows without a session would be rejected; an order number, for example, is blank in all rows but purchases.

    Args:
        frame: raw columns of the log.
        columns: role -> column.
        chosen: role -> column, given by the caller.
    """
    column = columns.get("session_id")
    if column is None or "session_id" in chosen or column == columns["user_id"]:
        return dict(columns), []
    blanks = frame[column].null_count()
    if not blanks:
        return dict(columns), []
    note = (
        f"Column '{column}' is blank in {blanks:,} rows and is not read as session_id; if it is, name it: "
        f"session_id={column}."
    )
    return {role: name for role, name in columns.items() if role != "session_id"}, [note]


def fill_guests(cells: "dict[str, pl.Series]", users: "pl.Series") -> list[str]:
    """Fill the user of rows that have a session but no user: each such session is a user of its own.

    Args:
        cells: role -> ids as text; ``user_id`` is replaced.
        users: user column of the source.

    Returns:
        A sentence with the number of rows; none without any.
    """
    import polars as pl

    sessions = cells["session_id"]
    blank = users.is_nan() if users.dtype.is_float() else users.cast(pl.String, strict=False) == ""
    guests = (users.is_null() | blank.fill_null(False)) & sessions.is_not_null() & (sessions != "").fill_null(False)
    if not guests.any():
        return []
    own = pl.select(pl.format(visitor_user_id("{}"), sessions)).to_series()
    cells["user_id"] = cells["user_id"].zip_with(~guests, own).alias("user_id")
    return [f"{int(guests.sum()):,} rows have a session but no user; each such session counts as a user."]


def separate_shared_sessions(frame: "pl.DataFrame") -> "tuple[pl.DataFrame, list[str]]":
    """Return the events with a session key for each user, ``USER/SESSION``, where users share a session id.

    Some trackers count the sessions of each user from 1, so that their numbers are no keys.

    Args:
        frame: valid events with ``user_id`` and perhaps ``session_id``.
    """
    import polars as pl

    if "session_id" not in frame.columns:
        return frame, []
    pairs = frame.select("session_id", "user_id").unique()
    shared = pairs.group_by("session_id").len().filter(pl.col("len") > 1)["session_id"]
    if not len(shared):
        return frame, []
    is_shared = pl.col("session_id").is_in(shared.implode())
    key = pl.when(is_shared).then(pl.format("{}/{}", "user_id", "session_id")).otherwise("session_id")
    total = pairs["session_id"].n_unique()
    note = f"{len(shared):,} of {total:,} session ids are shared by users; each user's part is a session of its own."
    return frame.with_columns(key.alias("session_id")), [note]
