"""Items and users tables of the commands: each guess, each loss and each id that does not match is printed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.cli.output import print_report
from segue.data.readers.formats.encodings import is_utf8_instead
from segue.data.readers.items import read_items, read_users

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable, UserTable

_TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".gz", ".jsonl", ".ndjson", ".json", ".item", ".user")


def open_items(
    path: Path | str,
    known: "EventLog | Iterable[str] | None" = None,
    *,
    allow_loss: bool = False,
    quiet: bool = False,
    column_types: Mapping[str, Any] | None = None,
) -> "ItemTable":
    """Read an items table, and report on it on standard error.

    Args:
        path: file of the table.
        known: log or item ids that the table is matched with: rows with an id in another spelling are left out.
            None: not matched.
        allow_loss: read a table that loses more than 20 % of its rows.
        quiet: no report.
        column_types: types of columns at a training; those that the table lacks do not count. None: all are guessed.

    Raises:
        ValueError: as ``read_items``.
    """
    from segue.data.event_log import EventLog

    encoding = _encoding(Path(path), known if isinstance(known, EventLog) else None)
    table = read_items(path, allow_loss=allow_loss, encoding=encoding)
    known_types = {name: kind for name, kind in (column_types or {}).items() if name in table.column_types}
    if any(table.column_types[name] != kind for name, kind in known_types.items()):
        table = read_items(path, allow_loss=allow_loss, encoding=encoding, column_types=known_types)
    if known is not None:
        table = table.matched_with(known.frame["item_id"] if isinstance(known, EventLog) else known)
    if not quiet:
        print_report([*_encoding_note(path, encoding), *table.lines()])
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
    encoding = _encoding(Path(path), log)
    table = read_users(path, allow_loss=allow_loss, encoding=encoding)
    table = table.matched_with(log.frame["user_id"])
    if not quiet:
        print_report([*_encoding_note(path, encoding), *table.lines()])
    return table


def _encoding(path: Path, log: "EventLog | None") -> str:
    """Return the encoding that the log was described with, for a table of text that is not in UTF-8; else "auto"."""
    described = "auto" if log is None else str(log.description.options.get("encoding", "auto"))
    if described == "auto" or not path.is_file() or path.suffix.lower() not in _TEXT_SUFFIXES:
        return "auto"
    return "auto" if is_utf8_instead(path, described) else described


def _encoding_note(path: Path | str, encoding: str) -> list[str]:
    return [] if encoding == "auto" else [f"{path} is read as {encoding}, as the log."]
