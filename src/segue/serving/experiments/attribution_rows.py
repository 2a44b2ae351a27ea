"""Rows of the attribution file: outcomes of events, deletion of users and of the oldest lists."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import apsw
import msgspec

from segue.config.purchase_events import is_event_of
from segue.serving.config import AttributionConfig
from segue.serving.experiments.attribution_file import UnusableFileError
from segue.serving.experiments.shown_lists import ShownItem
from segue.serving.store.event import RECOMMENDATION, Event
from segue.serving.store.sqlite import transaction

_TABLES = ("impressions", "outcomes")
"""Tables with rows of users."""


def attribute_event(
    database: apsw.Connection, event: Event, digest: Callable[[str, str], str], config: AttributionConfig
) -> None:
    """Attribute an event to the list that it names, if the item is in that list.

    A purchase without a list is attributed to the list of the user's last click on the item.

    Args:
        database: connection of the file.
        event: the event.
        digest: ("user_id" or "session_id", id) -> keyed digest.
        config: event types and window.
    """
    outcome = "purchase" if is_event_of(event.event, config.purchase_events) else "click"
    list_id = json.loads(event.context).get(RECOMMENDATION)
    if list_id is None:
        keys = [("user_id", event.user_id), ("session_id", event.session_id)]
        users = [digest(id_type, id) for id_type, id in keys if id is not None]
        list_id = _last_click(database, users, event, config.window_s)
    elif outcome == "click" and not is_event_of(event.event, config.click_events):
        return
    if not isinstance(list_id, str):  # a context may hold any value under that key
        return
    row = database.execute("SELECT items, user FROM impressions WHERE list = ?", (list_id,)).fetchone()
    if row is None:
        return
    try:
        items = enumerate(msgspec.json.decode(row[0], type=list[ShownItem]), 1)
    except (msgspec.DecodeError, UnicodeError):
        raise UnusableFileError("a recorded list is damaged") from None
    by_id = {item.id: (position, item.source) for position, item in items}
    if event.item_id not in by_id:
        return
    database.execute(
        "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (list_id, event.item_id, outcome, *by_id[event.item_id], event.time_us, row[1], event.value),
    )


def _last_click(database: apsw.Connection, users: Sequence[str], event: Event, window_s: float) -> str | None:
    earliest_us = event.time_us - round(window_s * 1e6)
    row = database.execute(
        "SELECT list FROM outcomes WHERE user IN (?, ?) AND item = ? AND outcome = 'click' "
        "AND time_us BETWEEN ? AND ? ORDER BY time_us DESC LIMIT 1",
        (users[0], users[-1], event.item_id, earliest_us, event.time_us),
    ).fetchone()
    return None if row is None else row[0]


def delete_oldest(database: apsw.Connection, max_lists: int) -> None:
    """Delete the oldest lists with their outcomes.

    Args:
        database: connection of the file.
        max_lists: number of newest lists that stay.
    """
    newest = database.execute("SELECT max(id) FROM impressions").get or 0
    last = newest - max_lists
    old_lists = "SELECT list FROM impressions WHERE id <= ?"
    database.execute(f"DELETE FROM outcomes WHERE list IN ({old_lists})", (last,))
    database.execute("DELETE FROM impressions WHERE id <= ?", (last,))


def count_rows(database: apsw.Connection, groups: Sequence[Sequence[str]]) -> list[int]:
    """Return the number of rows of each group of users.

    Args:
        database: connection of the file.
        groups: digests of users and sessions.
    """
    query = (
        "SELECT (SELECT count(*) FROM impressions WHERE user = ?1) + (SELECT count(*) FROM outcomes WHERE user = ?1)"
    )
    return [sum(database.execute(query, (user,)).get for user in users) for users in groups]


def delete_rows(database: apsw.Connection, groups: Sequence[Sequence[str]]) -> list[int]:
    """Delete the rows of users, and return the number of rows of each group.

    Args:
        database: connection of the file.
        groups: digests of users and sessions.
    """
    counts = [0] * len(groups)
    with transaction(database):
        for number, users in enumerate(groups):
            for user in users:
                for table in _TABLES:
                    database.execute(f"DELETE FROM {table} WHERE user = ?", (user,))
                    counts[number] += database.changes()
    return counts


def delete_erased(database: apsw.Connection, erased_until_us: Callable[[str], int | None]) -> None:
    """Delete the rows of erased users from before their erasure, which a restored backup has brought back.

    Args:
        database: connection of the file.
        erased_until_us: time of the erasure of a digest, UTC microseconds; None for a user who was not erased.
    """
    stored = "SELECT user FROM impressions UNION SELECT user FROM outcomes"
    rows: list[Any] = database.execute(stored).fetchall()
    until_us = {user: erased_until_us(user) for (user,) in rows if user is not None}
    with transaction(database):
        for user, time_us in until_us.items():
            for table in _TABLES if time_us is not None else ():
                database.execute(f"DELETE FROM {table} WHERE user = ? AND time_us <= ?", (user, time_us))
