"""Read-only access to the event log, safe while a server writes to it."""

import json
import logging
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from segue.serving.store.event import Event
from segue.serving.store.sqlite import BUSY_MS, COLUMNS

_log = logging.getLogger("segue.serving")
_MAX_COUNTED = 10_000
"""Damaged rows that are counted one by one."""
MAX_SEARCHED = 50_000
"""Newest events among which those of some types are looked for: a bound on the time of one query."""


@dataclass(frozen=True, slots=True)
class StoredEventRow:
    """A stored event with its sequence number ``seq``: the order of arrival, which breaks ties between equal times."""

    seq: int
    event: Event


class EventReader:
    """Queries of an event log over a connection that never writes. Safe to use from several threads.

    Rows with a wrong checksum, and rows that a damaged index names for another key, are left out of every result.
    """

    def __init__(self, path: Path) -> None:
        """Open an event log.

        Raises:
            apsw.Error: there is no event log at ``path``.
        """
        self.path = Path(path)
        self.connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        """Connection that only reads."""
        self.connection.set_busy_timeout(BUSY_MS)
        self._reading = threading.Lock()
        self._left_out: set[int] = set()

    @property
    def num_left_out(self) -> int:
        """Return the number of damaged rows met by queries; the first one is logged."""
        return len(self._left_out)

    def newest(self, key: str, value: str, limit: int, types: Container[str] | None = None) -> list[StoredEventRow]:
        """Return the newest events of a user or session, oldest first, by time and then by arrival.

        Args:
            key: "user_id" or "session_id".
            value: the id.
            limit: largest number of events.
            types: only events of these types, among the newest MAX_SEARCHED; None: of all types.
        """
        rows = self._newest(f"{_COLUMN[key]} = ?", (value,), "time_us DESC, seq DESC", limit, types)
        return [stored for stored in self._sound(reversed(rows)) if getattr(stored.event, key) == value]

    def events_after(
        self, time_us: int, seq: int, limit: int, types: Container[str] | None = None
    ) -> list[StoredEventRow]:
        """Return the newest arrivals after a time and a sequence number, oldest arrival first.

        Args:
            time_us: only events later than this, UTC microseconds.
            seq: only events with a larger sequence number.
            limit: largest number of events.
            types: see ``newest``.
        """
        rows = self._newest("seq > ? AND time_us > ?", (seq, time_us), "seq DESC", limit, types)
        return list(self._sound(reversed(rows)))

    def seq_after(self, seq: int, count: int) -> int | None:
        """Return the sequence number of the last of the next arrivals; None without any.

        Args:
            seq: only events with a larger sequence number.
            count: largest number of arrivals.
        """
        query = "SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?)"
        return self._query(query, (seq, count))[0][0]

    def events_between(self, after: int, until: int) -> list[StoredEventRow]:
        """Return the events of an interval in order of arrival.

        Args:
            after: only events with a larger sequence number.
            until: largest sequence number.
        """
        query = f"SELECT {COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq"
        return list(self._sound(self._query(query, (after, until))))

    def newest_of_items(
        self, items: Sequence[str], after_seq: int, limit: int, types: Container[str] | None = None
    ) -> list[StoredEventRow]:
        """Return the newest arrivals of some items after a sequence number, oldest arrival first.

        Args:
            items: item ids.
            after_seq: only events with a larger sequence number.
            limit: largest number of events.
            types: see ``newest``.
        """
        where = "seq > ? AND item_id IN (SELECT value FROM json_each(?))"
        rows = self._newest(where, (after_seq, json.dumps(list(items))), "seq DESC", limit, types)
        return list(self._sound(reversed(rows)))

    def count_of_items(
        self, items: Sequence[str], after_seq: int, types: Container[str] | None = None
    ) -> dict[str, int]:
        """Return item id -> number of its events after a sequence number; items without any are left out.

        Args:
            items: item ids.
            after_seq: only events with a larger sequence number.
            types: only events of these types; None: of all types.
        """
        query = (
            "SELECT item_id, event, count(*) FROM events WHERE seq > ? AND item_id IN (SELECT value FROM json_each(?)) "
            "GROUP BY item_id, event"
        )
        counts: dict[str, int] = {}
        for item, event, count in self._query(query, (after_seq, json.dumps(list(items)))):
            if types is None or event in types:
                counts[item] = counts.get(item, 0) + count
        return counts

    def has_events_until(self, user_id: str, until_us: int) -> bool:
        """Return whether a user has an event at or before a time.

        Args:
            user_id: the user.
            until_us: the time, UTC microseconds.
        """
        return bool(self._query("SELECT 1 FROM events WHERE user_id = ? AND time_us <= ? LIMIT 1", (user_id, until_us)))

    def user_events(self, user_id: str) -> Iterator[StoredEventRow]:
        """Return every event of a user, by time and then by arrival."""
        rows = self._query(f"SELECT {COLUMNS} FROM events WHERE user_id = ? ORDER BY time_us, seq", (user_id,))
        return (stored for stored in self._sound(rows) if stored.event.user_id == user_id)

    def user_ids(self) -> list[str]:
        """Return the ids of all users with an event."""
        return [row[0] for row in self._query("SELECT DISTINCT user_id FROM events WHERE user_id IS NOT NULL")]

    def session_ids(self) -> list[str]:
        """Return the ids of all sessions with an event."""
        return [row[0] for row in self._query("SELECT DISTINCT session_id FROM events WHERE session_id IS NOT NULL")]

    def count(self) -> int:
        """Return the number of stored events."""
        return self._query("SELECT count(*) FROM events")[0][0]

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a query on another table of the store.

        Args:
            query: SQL statement that only reads.
            values: its parameters.
        """
        return self._query(query, values)

    def _newest(
        self, where: str, values: tuple[Any, ...], order: str, limit: int, types: Container[str] | None
    ) -> list[Any]:
        """Return the first rows of events of some types in an order, newest first; None: of all types."""
        if types is None:
            query = f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY {order} LIMIT ?"
            return self._query(query, (*values, limit))
        query = f"SELECT seq, event FROM events WHERE {where} ORDER BY {order} LIMIT ?"
        seqs = [seq for seq, event in self._query(query, (*values, MAX_SEARCHED)) if event in types][:limit]
        query = f"SELECT {COLUMNS} FROM events WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY {order}"
        return self._query(query, (json.dumps(seqs),))

    def _query(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        # One thread at a time: the connection refuses a second one instead of waiting.
        with self._reading:
            try:
                return self.connection.execute(query, values).fetchall()
            except UnicodeDecodeError:
                return self._readable(self.connection.execute(query, values))

    def _readable(self, cursor: apsw.Cursor) -> list[Any]:
        """Return the rows of a query that can be read as text."""
        rows = []
        while True:
            try:
                rows.append(next(cursor))
            except StopIteration:
                return rows
            except UnicodeDecodeError:
                self._leave_out(-1)

    def _sound(self, rows: Iterable[Any]) -> Iterator[StoredEventRow]:
        for row in rows:
            stored = verify_row(row)
            if stored is None:
                self._leave_out(row[0])
            else:
                yield stored

    def _leave_out(self, seq: int) -> None:
        if not self._left_out:
            _log.error("%s holds damaged rows, which are not served: a restart sets them aside.", self.path)
        if len(self._left_out) < _MAX_COUNTED:
            self._left_out.add(seq)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


_COLUMN = {"user_id": "user_id", "session_id": "session_id"}
"""Columns that are keys of histories; no other text enters a query."""


def scan_events(path: Path, chunk: int = 10_000) -> Iterator[list[StoredEventRow]]:
    """Yield every sound event of a log in order of arrival, in chunks. A server may be writing to the log.

    Args:
        path: the event log.
        chunk: rows read at a time.

    Raises:
        ValueError: there is no event log at ``path``.
    """
    try:
        reader = EventReader(path)
        last: Any = 0
        while (until := reader.seq_after(last, chunk)) is not None:
            yield reader.events_between(last, until)
            last = until
        reader.close()
    except apsw.Error as error:
        raise ValueError(f"{path} cannot be read as an event log: {error}.") from None


def verify_row(row: tuple) -> StoredEventRow | None:
    """Return the event of a row; None if the checksum does not match."""
    event = Event(*row[1:-1])
    return StoredEventRow(row[0], event) if event.checksum(row[0]) == row[-1] else None
