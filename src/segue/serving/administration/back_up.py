"""Backup of a server's data directory, also while the server runs.

The copy of the event log is one read transaction: every event acknowledged before the backup began, and of a later
request all events or none. The erasure list is copied after it: a user who is erased meanwhile is in the list, and is
erased from the copy when a server opens it.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from segue.data.erasure_list import KEY, LIST
from segue.serving.store import wal_check
from segue.serving.store.data_directory import DataDirectory
from segue.serving.store.event_reader import EventReader
from segue.serving.store.file_digest import write_digest
from segue.serving.store.log_check import damaged_rows, is_sound
from segue.serving.store.sqlite import BUSY_MS
from segue.system import atomic_files

_LOG, _LISTS = "events.sqlite", "attribution.sqlite"


@dataclass(frozen=True)
class Backup:
    """Content of a backup."""

    events: int
    bytes: int
    notices: list[str]
    """Sentences about parts that could not be copied."""


def back_up(data_dir: Path, out: Path, report: Callable[[str], None] = lambda line: None) -> Backup:
    """Copy a data directory to a new folder, which is itself a data directory, and check the copy.

    Args:
        data_dir: data directory of a server, which may be running.
        out: the new folder; it appears when it is complete and on disk.
        report: receives a line before each long step.

    Raises:
        ValueError: there is no event log, ``out`` exists, the log is damaged, or the disk refuses.
    """
    log = data_dir / _LOG
    if not log.is_file():
        raise ValueError(f"{data_dir} is not a server's data directory: it has no {_LOG}.")
    if out.exists():
        raise ValueError(f"{out} exists already: choose another folder for the backup.")
    _check_write_ahead_log(data_dir)
    writing = out.with_name(f"{out.name}.writing")
    shutil.rmtree(writing, ignore_errors=True)
    try:
        atomic_files.make_folder(writing, 0o700)
        report(f"Copying {log}.")
        _copy_database(log, writing / _LOG)
        for name in (KEY, LIST):
            if (data_dir / name).exists():
                atomic_files.write(writing / name, [(data_dir / name).read_bytes()], mode=0o600)
        notices = _copy_lists(data_dir / _LISTS, writing / _LISTS)
        report("Checking the copy.")
        events = _check(log, writing / _LOG)
        for name in (_LOG, _LISTS):
            if (writing / name).exists():
                write_digest(writing / name)
        size = sum(file.stat().st_size for file in writing.iterdir())
        os.rename(writing, out)
        atomic_files.fsync_folder(out.absolute().parent)
    except (OSError, apsw.Error) as error:
        raise ValueError(f"{data_dir} cannot be copied to {out}: {error}.") from None
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return Backup(events, size, notices)


def _check_write_ahead_log(data_dir: Path) -> None:
    """Refuse a damaged write-ahead log; that of a running server is its own business."""
    try:
        directory = DataDirectory(data_dir)
    except (ValueError, OSError):
        return
    try:
        unread = wal_check.unread_pages(data_dir / _LOG)
    finally:
        directory.release()
    if unread:
        raise ValueError(
            f"{unread} pages at the end of the write-ahead log of {data_dir / _LOG} cannot be read: "
            "start the server once, which reports and keeps them, then back up."
        )


def _copy_database(source: Path, target: Path) -> None:
    connection = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.execute("VACUUM INTO ?", (str(target),)).fetchall()
    finally:
        connection.close()
    os.chmod(target, 0o600)
    atomic_files.fsync_folder(target)


def _copy_lists(source: Path, target: Path) -> list[str]:
    """Copy the recorded lists, which are not promised; return a sentence if that fails."""
    if not source.exists():
        return []
    try:
        _copy_database(source, target)
    except apsw.Error as error:
        target.unlink(missing_ok=True)
        return [f"{source} cannot be copied ({error}): the backup has no recorded lists."]
    return []


def _check(log: Path, copy: Path) -> int:
    """Check every page, index and row of a copy, and return the number of its events."""
    reader = EventReader(copy)
    try:
        if not is_sound(reader.connection, complete=True) or next(damaged_rows(reader.connection), None) is not None:
            raise ValueError(f"{log} is damaged: start the server again, which repairs it, then back up.")
        return reader.count()
    finally:
        reader.close()
