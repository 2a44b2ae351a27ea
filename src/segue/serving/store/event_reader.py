"""The event log as it is read: over a connection that never writes, while a server may be writing."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from segue.serving.store.event import Event
from segue.serving.store.sqlite import BUSY_MS, COLUMNS


@dataclass(frozen=True, slots=True)
class StoredEventRow:
    """An event with its place in the log: ``seq`` counts arrivals and breaks ties between equal times."""

    seq: int
    event: Event


class EventReader:
    """What is asked of a log. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """apsw.Error where there is no log."""
        self.path = Path(path)
        self._read = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        self._read.set_busy_timeout(BUSY_MS)
        self._reading = threading.Lock()

    def newest(self, key: str, value: str, limit: int) -> list[StoredEventRow]:
        """The newest events of one person (``key`` "user_id") or session ("session_id"), oldest first, by time and
        then by arrival; rows whose checksum does not hold are left out."""
        found = self._ask(_NEWEST[key], (value, limit))
        return [one for row in reversed(found) if (one := verify_row(row)) is not None]

    def events_after(self, time_us: int, seq: int, limit: int) -> list[StoredEventRow]:
        """At most so many of the newest arrivals that arrived after ``seq`` and happened after a moment, the oldest
        arrival first."""
        query = f"SELECT {COLUMNS} FROM events WHERE seq > ? AND time_us > ? ORDER BY seq DESC LIMIT ?"
        found = self._ask(query, (seq, time_us, limit))
        return [one for row in reversed(found) if (one := verify_row(row)) is not None]

    def has_events_until(self, user_id: str, until_us: int) -> bool:
        """Whether a person has an event up to that moment."""
        return bool(self._ask("SELECT 1 FROM events WHERE user_id = ? AND time_us <= ? LIMIT 1", (user_id, until_us)))

    def user_events(self, user_id: str) -> Iterator[StoredEventRow]:
        """Every event of a person, by time and then by arrival."""
        found = self._ask(f"SELECT {COLUMNS} FROM events WHERE user_id = ? ORDER BY time_us, seq", (user_id,))
        return (one for row in found if (one := verify_row(row)) is not None)

    def user_ids(self) -> list[str]:
        """Everybody who has an event."""
        return [row[0] for row in self._ask("SELECT DISTINCT user_id FROM events WHERE user_id IS NOT NULL")]

    def count(self) -> int:
        """How many events are stored."""
        return self._ask("SELECT count(*) FROM events")[0][0]

    def _ask(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Every row of an answer. One thread at a time: the connection refuses a second one instead of waiting."""
        with self._reading:
            return self._read.execute(query, values).fetchall()

    def close(self) -> None:
        """Lets go of the file."""
        self._read.close()


_NEWEST = {
    key: f"SELECT {COLUMNS} FROM events WHERE {key} = ? ORDER BY time_us DESC, seq DESC LIMIT ?"
    for key in ("user_id", "session_id")
}


def scan_events(path: Path, chunk: int = 10_000) -> Iterator[list[StoredEventRow]]:
    """Every sound event of a log by arrival, in chunks, over a connection that only reads: a server may be writing.

    ValueError where there is no log.
    """
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_MS)
        last: Any = 0
        query = f"SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows: list[Any]
        while rows := connection.execute(query, (last, chunk)).fetchall():
            last = rows[-1][0]
            yield [one for row in rows if (one := verify_row(row)) is not None]
        connection.close()
    except apsw.Error as error:
        raise ValueError(f"{path} cannot be read as an event log: {error}.") from None


def verify_row(row: tuple) -> StoredEventRow | None:
    """The event of a row, or None when the row is not what was written."""
    event = Event(*row[1:-1])
    return StoredEventRow(row[0], event) if event.checksum(row[0]) == row[-1] else None
