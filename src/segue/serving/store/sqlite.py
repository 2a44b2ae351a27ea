"""SQLite connection that writes events: required version, durable journal mode, tables, transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

MIN_SQLITE = (3, 51, 3)
"""Oldest SQLite without the write-ahead log bug that corrupts a database with two writers."""
FORMAT = 1
"""Format number of the event log, kept as SQLite's ``user_version``."""
BUSY_MS = 2_000
"""Wait for a lock of another connection, in milliseconds."""
COLUMNS = "seq, source, event_id, user_id, session_id, item_id, time_us, event, value, context, body, crc"
_TYPES = """seq INTEGER PRIMARY KEY, source TEXT NOT NULL, event_id TEXT NOT NULL, user_id TEXT, session_id TEXT,
    item_id TEXT NOT NULL, time_us INTEGER NOT NULL, event TEXT NOT NULL, value REAL, context TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL"""
TABLES = f"CREATE TABLE IF NOT EXISTS events ({_TYPES}) STRICT; CREATE TABLE IF NOT EXISTS damaged ({COLUMNS});"


def check_sqlite(version: str) -> None:
    """Check that a SQLite version keeps its write-ahead log sound.

    Raises:
        ValueError: the version is older than ``MIN_SQLITE``.
    """
    if tuple(int(part) for part in version.split(".")) < MIN_SQLITE:
        needed = ".".join(map(str, MIN_SQLITE))
        raise ValueError(
            f"SQLite {version} can corrupt its write-ahead log; Segue needs {needed} or newer: update apsw."
        )


def connect(path: Path) -> apsw.Connection:
    """Open the writing connection of an event log: write-ahead log, every commit forced to disk, both verified.

    Raises:
        ValueError: SQLite does not accept these modes, or the log has another format.
    """
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_MS)
    journal = connection.execute("PRAGMA journal_mode = WAL").get
    connection.execute("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON")
    level = connection.execute("PRAGMA synchronous").get
    if (journal, level) != ("wal", 2):
        raise ValueError(
            f"{path} cannot promise durable events: SQLite answered journal_mode {journal}, synchronous {level}."
        )
    stored_format = connection.execute("PRAGMA user_version").get
    if stored_format not in (0, FORMAT):
        raise ValueError(
            f"{path} has format {stored_format}; this version of Segue reads format {FORMAT}: update Segue."
        )
    encoding = connection.execute("PRAGMA encoding").get
    if encoding != "UTF-8":
        raise ValueError(f"{path} is damaged beyond its rows (encoding {encoding}): restore it from a backup.")
    connection.execute(TABLES)
    if not stored_format:
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    return connection


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Run a block in one transaction, which an exception rolls back.

    ``with connection`` of apsw keeps the interpreter lock through the fsync of its commit: on a slow disk every thread
    of the process would wait for it. ``execute`` releases it.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def close(connection: apsw.Connection) -> None:
    """Merge the write-ahead log into the file, then close the connection.

    ``Connection.close`` alone would merge it too, and keep the interpreter lock meanwhile.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()
