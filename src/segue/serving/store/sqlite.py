"""The one connection that writes events: the tables it needs, and a SQLite and a mode that keep what they promise."""

from pathlib import Path

import apsw

MIN_SQLITE = (3, 51, 3)
FORMAT = 1
BUSY_MS = 2_000
COLUMNS = "seq, source, event_id, user_id, session_id, item_id, time_us, event, value, context, body, crc"
_TYPES = """seq INTEGER PRIMARY KEY, source TEXT NOT NULL, event_id TEXT NOT NULL, user_id TEXT, session_id TEXT,
    item_id TEXT NOT NULL, time_us INTEGER NOT NULL, event TEXT NOT NULL, value REAL, context TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL"""
TABLES = f"CREATE TABLE IF NOT EXISTS events ({_TYPES}) STRICT; CREATE TABLE IF NOT EXISTS damaged ({COLUMNS});"


def check_sqlite(version: str) -> None:
    """ValueError for a SQLite that can corrupt its write-ahead log."""
    if tuple(int(part) for part in version.split(".")) < MIN_SQLITE:
        needed = ".".join(map(str, MIN_SQLITE))
        raise ValueError(
            f"SQLite {version} can corrupt its write-ahead log; Segue needs {needed} or newer: update apsw."
        )


def connect(path: Path) -> apsw.Connection:
    """The one writer: write-ahead log, every commit forced to disk, both verified."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_MS)
    journal = connection.execute("PRAGMA journal_mode = WAL").get
    connection.execute("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON")
    level = connection.execute("PRAGMA synchronous").get
    if (journal, level) != ("wal", 2):
        raise ValueError(
            f"{path} cannot promise durable events: SQLite answered journal_mode {journal}, synchronous {level}."
        )
    found = connection.execute("PRAGMA user_version").get
    if found not in (0, FORMAT):
        raise ValueError(f"{path} has format {found}; this version of Segue reads format {FORMAT}: update Segue.")
    connection.execute(TABLES)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    return connection
