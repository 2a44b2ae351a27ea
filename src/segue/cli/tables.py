"""Items and users tables of the commands: each guess, each loss and each id that does not match is printed."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from segue.cli.output import print_report
from segue.data.readers.items import read_items, read_users

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable, UserTable


def open_items(
    path: Path | str,
    known: "EventLog | Iterable[str] | None" = None,
    *,
    allow_loss: bool = False,
    quiet: bool = False,
) -> "ItemTable":
    """Read an items table, and report on it on standard error.

    Args:
        path: file of the table.
        known: log or item ids that the table is matched with: rows with an id in another spelling are left out.
            None: not matched.
        allow_loss: read a table that loses more than 20 % of its rows.
        quiet: no report.

    Raises:
        ValueError: as ``read_items``.
    """
    from segue.data.event_log import EventLog

    table = read_items(path, allow_loss=allow_loss)
    if known is not None:
        table = table.matched_with(known.frame["item_id"] if isinstance(known, EventLog) else known)
    if not quiet:
        print_report(table.lines())
    return table


def open_users(path: Path | str, log: "EventLog", *, allow_loss: bool = False, quiet: bool = False) -> "UserTable":
    """Read a users table, and report on it on standard error.

    Args:
        path: file of the table.
        log: log whose users are matched with the table's.
        allow_loss: read a table that loses more than 20 % of its rows.
        quiet: no report.

    Raises:
        ValueError: as ``read_users``.
    """
    table = read_users(path, allow_loss=allow_loss).matched_with(log.frame["user_id"])
    if not quiet:
        print_report(table.lines())
    return table
