"""Event store: an append-only SQLite table with a checksum in every row. No threads, no HTTP.

One connection writes and checkpoints, another only reads. SQLite's WAL mode had a corruption bug that needs two
writers (fixed in 3.51.3): older versions are refused, and a second writer never exists.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import apsw
from msgspec.structs import astuple

from segue.serving.schemas.problems import Problem
from segue.serving.store.event import Event
from segue.serving.store.event_reader import EventReader, StoredEventRow, verify_row
from segue.serving.store.sqlite import COLUMNS, FORMAT, check_sqlite, close, connect, transaction

CHECKED_ROWS = 50_000
"""Newest rows whose checksums are verified when a log is opened. A crash damages the end, if anything. Older rows are
verified whenever they are read, because verifying every row of a large log would delay a restart."""
_INDEXES = {
    "once": "CREATE UNIQUE INDEX IF NOT EXISTS once ON events(source, event_id)",
    "by_user": "CREATE INDEX IF NOT EXISTS by_user ON events(user_id, time_us, seq) WHERE user_id IS NOT NULL",
    "by_session": "CREATE INDEX IF NOT EXISTS by_session ON events(session_id, time_us, seq) "
    "WHERE session_id IS NOT NULL",
}


@dataclass(frozen=True)
class AppendResult:
    """Numbers of new and of already stored events of one request."""

    accepted: int
    duplicates: int


@dataclass(frozen=True)
class ErasedCounts:
    """Result of an erasure from the log."""

    events: int
    sessions: list[str]
    """The user's sessions, whose histories must be dropped from memory too."""
    compacted: bool
    """True if the erased bytes are gone from the file as well."""


class EventStore(EventReader):
    """Events in order of arrival. Each (source, event_id) is stored once."""

    def __init__(self, path: Path) -> None:
        """Open or create a log, and move damaged rows among its newest to the table ``damaged``.

        Raises:
            ValueError: the file is damaged beyond its rows, has another format, or cannot keep events durably.
        """
        check_sqlite(apsw.sqlite_lib_version())
        self.path = Path(path)
        self._forced, self._unsynced = True, False
        try:
            self._write = connect(self.path)
            self.num_damaged = self._move_damaged_rows()
            super().__init__(self.path)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise ValueError(f"{self.path} is damaged beyond its rows ({error}): restore it from a backup.") from None
        except apsw.Error as error:
            raise ValueError(f"{self.path} cannot be opened as an event log: {error}.") from None
        row = self._write.execute(
            "SELECT max(coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(seq) FROM damaged), 0))"
        ).get
        self._next_seq = row + 1

    def append(
        self, batches: Sequence[Sequence[Event]], *, force: bool = True
    ) -> tuple[list[AppendResult | Problem], list[StoredEventRow]]:
        """Store the events of several requests in one transaction.

        Args:
            batches: the events of each request. A request is stored completely or not at all.
            force: force this and every earlier transaction to disk before returning. Otherwise the transaction is only
                handed to the operating system, which keeps it if this process dies.

        Returns:
            The result of each request, and the new events of all requests. The result is a Problem (409) for a request
            with an event id that is already stored with another body.

        Raises:
            apsw.Error: nothing could be stored.
        """
        outcomes: list[AppendResult | Problem] = []
        stored: list[StoredEventRow] = []
        next_seq = self._next_seq
        self._set_synchronous(force)
        try:
            self._write.execute("BEGIN IMMEDIATE")
            if force and self._unsynced:
                # A transaction that only meets duplicates writes nothing, and then would not force what they repeat.
                self._write.execute(f"PRAGMA user_version = {FORMAT}")
            for batch in batches:
                new_events = self._new_events(batch)
                if isinstance(new_events, Problem):
                    outcomes.append(new_events)
                    continue
                rows = [StoredEventRow(next_seq + i, event) for i, event in enumerate(new_events)]
                self._write.executemany(_INSERT, (_row(row) for row in rows))
                next_seq += len(rows)
                stored += rows
                outcomes.append(AppendResult(len(rows), len(batch) - len(rows)))
            self._write.execute("COMMIT")
        except BaseException:
            if self._write.in_transaction:
                self._write.execute("ROLLBACK")
            raise
        self._next_seq = next_seq
        self._unsynced = not force and (self._unsynced or bool(stored))
        return outcomes, stored

    def _set_synchronous(self, force: bool) -> None:
        """Set whether a commit waits for the disk."""
        if force != self._forced:
            self._write.execute(f"PRAGMA synchronous = {'FULL' if force else 'NORMAL'}")
            self._forced = force

    def _new_events(self, batch: Iterable[Event]) -> list[Event] | Problem:
        """Return the events that are not stored yet, or a Problem if an id is taken by another body."""
        new_events: dict[tuple[str, str], Event] = {}
        for event in batch:
            key = (event.source, event.event_id)
            stored_body = new_events[key].body if key in new_events else self._write.execute(_BODY, key).get
            if stored_body is None:
                new_events[key] = event
            elif stored_body != event.body:
                return Problem(
                    409,
                    f"Event '{event.event_id}' of source '{event.source}' is already stored with another body; "
                    "the first one stays, and nothing of this request was stored.",
                )
        return list(new_events.values())

    def erase(self, user_id: str, *, until_us: int = 2**62) -> ErasedCounts:
        """Erase a user's events, and events without a user in the user's sessions, then rewrite the file.

        No byte of an erased event stays in the file. Takes as long as copying the log.

        Args:
            user_id: the user.
            until_us: erase only events at or before this time, UTC microseconds.

        Raises:
            apsw.Error: the log cannot be written.
        """
        linked = "SELECT DISTINCT session_id FROM events WHERE user_id = ? AND time_us <= ? AND session_id IS NOT NULL"
        sessions = [str(row[0]) for row in self._write.execute(linked, (user_id, until_us))]
        count = 0
        with transaction(self._write):
            for table in ("events", "damaged"):
                delete = f"DELETE FROM {table} WHERE time_us <= ? AND"
                self._write.execute(f"{delete} user_id = ?", (until_us, user_id))
                count += self._write.changes()
                for session in sessions:
                    self._write.execute(f"{delete} session_id = ? AND user_id IS NULL", (until_us, session))
                    count += self._write.changes()
        return ErasedCounts(count, sessions, self.compact())

    def compact(self) -> bool:
        """Rewrite the file, so that freed pages no longer hold the bytes of deleted rows.

        Returns:
            False while another process reads the log, because the write-ahead log then still holds them.
        """
        self._write.execute("VACUUM")
        busy = self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)").get[0]
        return not busy

    @property
    def unsynced(self) -> bool:
        """Return whether a stored event is not forced to disk yet."""
        return self._unsynced

    def probe(self) -> None:
        """Force a write without content to disk, with everything before it.

        Raises:
            apsw.Error: the log cannot be written.
        """
        self._set_synchronous(True)
        self._write.execute(f"PRAGMA user_version = {FORMAT}")
        self._unsynced = False

    def close(self) -> None:
        """Merge the write-ahead log into the file and close both connections."""
        super().close()
        close(self._write)

    def _move_damaged_rows(self) -> int:
        """Move rows with a wrong checksum to the table ``damaged``, where they are kept but never served."""
        damaged = list(self._damaged_rows())
        if damaged:
            with transaction(self._write):
                # An index still holds the row's values from before the damage, so it cannot be kept.
                for name in _INDEXES:
                    self._write.execute(f"DROP INDEX IF EXISTS {name}")
                for seq in damaged:
                    self._write.execute(f"INSERT INTO damaged SELECT {COLUMNS} FROM events WHERE seq = ?", (seq,))
                    self._write.execute("DELETE FROM events WHERE seq = ?", (seq,))
        for statement in _INDEXES.values():
            self._write.execute(statement)
        return self._write.execute("SELECT count(*) FROM damaged").get

    def _damaged_rows(self) -> Iterator[int]:
        """Yield the sequence numbers of rows with a wrong checksum; some cannot even be read as text."""
        newest = self._write.execute("SELECT coalesce(max(seq), 0) FROM events").get
        last = newest - CHECKED_ROWS if newest > CHECKED_ROWS else -(2**63)
        while True:
            try:
                for row in self._write.execute(f"SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq", (last,)):
                    last = row[0]
                    if verify_row(row) is None:
                        yield last
                return
            except UnicodeDecodeError:
                last = self._write.execute("SELECT min(seq) FROM events WHERE seq > ?", (last,)).get
                yield last


_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BODY = "SELECT body FROM events WHERE source = ? AND event_id = ?"


def _row(stored: StoredEventRow) -> tuple[object, ...]:
    return (stored.seq, *astuple(stored.event), stored.event.checksum(stored.seq))


_IMPORT_CHUNK = 5_000


def import_events(store: EventStore, events: Iterable[Event]) -> AppendResult:
    """Store the events of a log in chunks, while no server runs on the store. Safe to repeat.

    Args:
        store: the event store.
        events: validated events.

    Raises:
        Problem: 409 for an event id that is already stored with another body. The chunks before it stay.
    """
    accepted = duplicates = 0
    iterator = iter(events)
    while chunk := list(islice(iterator, _IMPORT_CHUNK)):
        (outcome,), _ = store.append([chunk])
        if isinstance(outcome, Exception):
            raise outcome
        accepted += outcome.accepted
        duplicates += outcome.duplicates
    return AppendResult(accepted, duplicates)
