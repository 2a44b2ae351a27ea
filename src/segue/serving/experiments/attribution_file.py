"""SQLite file of recorded lists and their outcomes: tables, opening, and setting an unusable file aside.

Recorded lists are not promised. A file that is damaged, foreign, of another format, or no file at all never stops a
server: it is renamed, and an empty file takes its place. Pages change only in ``merge_log``, so that the file has a
digest at most other times, also after a crash.
"""

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import apsw

from segue.serving.store.file_digest import matches_digest, remove_digest, write_digest
from segue.serving.store.sqlite import close

FORMAT = 2
"""Format number of the file, kept as SQLite's ``user_version``. Format 1 has no conditions and no propensities; it gets
the column when it is opened."""
MIN_LOG_BYTES = 16 << 20
"""Size of the write-ahead log from which it is merged into the file, in bytes; at least a quarter of the file, which is
read for its digest then."""
MAX_SET_ASIDE = 3
"""Unusable files kept; older ones are deleted, because a failing disk must not fill itself."""
_OPTIONS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA secure_delete = ON",
    "PRAGMA wal_autocheckpoint = 0",
)
_TABLES = """
CREATE TABLE IF NOT EXISTS impressions (id INTEGER PRIMARY KEY, list TEXT NOT NULL UNIQUE, time_us INTEGER NOT NULL,
    version TEXT NOT NULL, variant TEXT NOT NULL, propensity REAL NOT NULL, placement TEXT, user TEXT,
    experiment TEXT, items TEXT NOT NULL, conditions TEXT) STRICT;
CREATE TABLE IF NOT EXISTS outcomes (list TEXT NOT NULL, item TEXT NOT NULL, outcome TEXT NOT NULL,
    position INTEGER NOT NULL, source TEXT, time_us INTEGER NOT NULL, user TEXT, value REAL,
    PRIMARY KEY (list, item, outcome)) STRICT;
CREATE INDEX IF NOT EXISTS outcomes_by_user ON outcomes(user, item, time_us);
CREATE INDEX IF NOT EXISTS impressions_by_user ON impressions(user);
"""


class UnusableFileError(ValueError):
    """Content of the file that cannot be used: damage, or another format."""


UNUSABLE = (
    UnusableFileError,
    UnicodeDecodeError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.FormatError,
    apsw.SchemaChangeError,
    apsw.SQLError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
)
"""Errors after which the file is set aside. All others leave it as it is, because they may pass: a lock of another
process, a full or failing disk."""


def open_file(path: Path) -> apsw.Connection:
    """Open or create the file, and check it.

    Its write-ahead log is synced when it is merged only: a power cut loses rows, but damages none.

    Raises:
        UnusableFileError: the file is damaged, has another format, or was changed while no server ran.
        apsw.Error: SQLite refuses the file.
    """
    unchanged = matches_digest(path)
    if unchanged is False:
        raise UnusableFileError("it was changed while no server ran")
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(2_000)
        if connection.execute("PRAGMA journal_mode").get != "wal":  # a restored backup, whose header changes below
            remove_digest(path)
        # One statement each: apsw stops at the first row, and would leave out the rest.
        for statement in _OPTIONS:
            connection.execute(statement).fetchall()
        stored_format = connection.execute("PRAGMA user_version").get
        if stored_format not in (0, 1, FORMAT):
            raise UnusableFileError(f"it has format {stored_format}, this version of Segue reads format {FORMAT}")
        connection.execute(_TABLES).fetchall()
        if stored_format == 1:
            connection.execute("ALTER TABLE impressions ADD COLUMN conditions TEXT").fetchall()
        connection.execute(f"PRAGMA user_version = {FORMAT}").fetchall()
        if not unchanged and connection.execute("PRAGMA quick_check(1)").get != "ok":
            raise UnusableFileError("its pages are damaged")
    except BaseException:
        connection.close()
        raise
    return connection


def merge_log(path: Path, connection: apsw.Connection, *, with_digest: bool = True) -> None:
    """Merge the write-ahead log into the file and write the digest of the file.

    Args:
        path: the file.
        connection: its connection.
        with_digest: False: no digest until the next merge, because reading the file would keep events waiting.
    """
    remove_digest(path)
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
    if with_digest and not busy:
        write_digest(path)


def must_merge(path: Path) -> bool:
    """Return whether the write-ahead log is long enough to be merged."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size >= max(MIN_LOG_BYTES, path.stat().st_size // 4)


def close_file(path: Path, connection: apsw.Connection) -> None:
    """Close the file and write its digest. An error of the disk leaves the write-ahead log.

    Args:
        path: the file.
        connection: its connection.
    """
    try:
        merge_log(path, connection)
        close(connection)
    except (apsw.Error, OSError):
        return


def set_aside(path: Path) -> Path:
    """Rename an unusable file, with its write-ahead log, and return its new path.

    Raises:
        OSError: the folder does not permit it.
    """
    remove_digest(path)
    unusable = path.with_name(f"{path.name}.unusable-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(unusable.with_name(unusable.name + suffix))
    kept = [file for file in files_set_aside(path) if not file.name.endswith(("-wal", "-shm"))]
    for old in kept[:-MAX_SET_ASIDE]:
        _remove(old)
    return unusable


def files_set_aside(path: Path) -> list[Path]:
    """Return the unusable files beside a file, oldest first."""
    return sorted(path.parent.glob(f"{path.name}.unusable-*"))


def remove_files_set_aside(path: Path) -> None:
    """Delete the unusable files: the rows of an erased user cannot be deleted in them one by one."""
    for file in files_set_aside(path):
        _remove(file)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        file.unlink(missing_ok=True)
