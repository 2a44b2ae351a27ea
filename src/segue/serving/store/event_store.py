"""Event store: an append-only SQLite table with a checksum in every row. No threads, no HTTP.

One connection writes and checkpoints, another only reads. SQLite's WAL mode had a corruption bug that needs two
writers (fixed in 3.51.3): older versions are refused, and a second writer never exists.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import apsw
from msgspec.structs import astuple

from segue.serving.exit_codes import TemporaryError
from segue.serving.schemas.problems import Problem
from segue.serving.store import wal_check
from segue.serving.store.catalog_tables import CatalogTables
from segue.serving.store.event import Event, has_server_time
from segue.serving.store.event_erasure import EventErasure
from segue.serving.store.event_reader import EventReader, StoredEventRow, verify_row
from segue.serving.store.file_digest import matches_digest, remove_digest, write_digest
from segue.serving.store.log_check import DamagedLogError, create_indexes, damaged_rows, is_sound, repair
from segue.serving.store.server_clock import ServerClock
from segue.serving.store.sqlite import COLUMNS, FORMAT, check_sqlite, close, connect

CHECKED_ROWS = 50_000
"""Newest rows whose checksums are verified when a log is opened. Older rows are verified whenever they are read, and by
the background check of a server. A shorter log, and one that changed while no server ran, is checked completely."""
_STAMPED_ROWS, _STAMPED_STEP = 10_000, 100
"""Newest rows among which the newest server time is searched, and rows of a step."""


@dataclass(frozen=True)
class AppendResult:
    """Numbers of new, of already stored and of refused events of one request."""

    accepted: int
    duplicates: int
    erased: int = 0
    """Events of erased users from before the erasure, which are not stored."""


class EventStore(EventReader):
    """Events in order of arrival. Each (source, event_id) is stored once."""

    def __init__(self, path: Path) -> None:
        """Open or create a log, and move damaged rows among its newest to the table ``damaged``.

        Raises:
            ValueError: the file is damaged beyond its rows, has another format, or cannot keep events durably.
        """
        check_sqlite(apsw.sqlite_lib_version())
        self.path = Path(path)
        self._forced, self._unsynced, self._is_beyond_repair = True, False, False
        self.notices: list[str] = []
        """Sentences about damage that was found, for the operator."""
        unread = wal_check.unread_pages(self.path)
        if unread:
            self.notices.append(
                f"{unread} pages at the end of the write-ahead log of {self.path} cannot be read: the newest events "
                f"may be missing. {wal_check.keep_copy(self.path)}"
            )
        unchanged = matches_digest(self.path)
        remove_digest(self.path)
        try:
            self._write = connect(self.path)
            self.completely_checked = self._check(unchanged)
            self.erasure = EventErasure(self._write, self.path, lambda: self._set_synchronous(True))
            self.catalog = CatalogTables(self._write, lambda: self._set_synchronous(True))
            super().__init__(self.path)
            row = self._write.execute(_MAX_SEQ).get
        except (DamagedLogError, apsw.CorruptError, apsw.NotADBError) as error:
            raise ValueError(f"{self.path} is damaged beyond its rows ({error}): restore it from a backup.") from None
        except (apsw.FullError, apsw.IOError) as error:
            raise TemporaryError(f"{self.path} cannot be opened: {error}. Is the disk full?") from None
        except apsw.Error as error:
            raise ValueError(f"{self.path} cannot be opened as an event log: {error}.") from None
        self._next_seq = row + 1
        self.clock = ServerClock(self._newest_server_time_us())
        """Clock that stamps the events without a timestamp."""

    def _newest_server_time_us(self) -> int:
        """Return the time of the newest event that got it from the server, among the newest rows; 0 without one."""
        after = self._next_seq - 1
        while after >= max(0, self._next_seq - _STAMPED_ROWS):
            after -= _STAMPED_STEP
            for stored in reversed(self.events_between(after, after + _STAMPED_STEP)):
                if has_server_time(stored.event):
                    return stored.event.time_us
        return 0

    def _check(self, unchanged: bool | None) -> bool:
        """Check the log and repair it if necessary. Return whether the whole log was checked.

        Args:
            unchanged: result of comparing the file with its digest.
        """
        newest = self._write.execute("SELECT coalesce(max(seq), 0) FROM events").get
        is_small = newest <= CHECKED_ROWS
        complete = unchanged is False or (unchanged is None and is_small)
        first = -(2**63) if complete or is_small else newest - CHECKED_ROWS
        is_damaged = next(damaged_rows(self._write, first), None) is not None
        if is_damaged or (unchanged is not True and not is_sound(self._write, complete=complete)):
            self.repair()
            return True
        create_indexes(self._write)
        self.num_damaged = self._write.execute("SELECT count(*) FROM damaged").get
        return complete or unchanged is True

    def repair(self) -> None:
        """Move damaged rows to the table ``damaged``, and build the indexes again from the other rows.

        Raises:
            DamagedLogError: the file is damaged beyond its rows and indexes; it is unchanged.
        """
        repair(self._write)
        self.num_damaged = self._write.execute("SELECT count(*) FROM damaged").get
        self.notices.append(f"{self.path} was damaged: its indexes were built again from the sound rows.")

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
        try:
            return self._append(batches, force)
        except (apsw.CorruptError, apsw.ConstraintError, UnicodeDecodeError) as error:
            if self._is_beyond_repair:
                raise
            try:
                self.repair()
            except DamagedLogError as damage:
                self._is_beyond_repair = True
                self.notices.append(f"{self.path} is damaged beyond its rows ({damage}): restore it from a backup.")
                raise apsw.CorruptError(str(error)) from None
        return self._append(batches, force)

    def _append(
        self, batches: Sequence[Sequence[Event]], force: bool
    ) -> tuple[list[AppendResult | Problem], list[StoredEventRow]]:
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
            stored_body = new_events[key].body if key in new_events else self._stored_body(key)
            if stored_body is None:
                new_events[key] = event
            elif stored_body != event.body:
                return Problem(
                    409,
                    f"Event '{event.event_id}' of source '{event.source}' is already stored with another body; "
                    "the first one stays, and nothing of this request was stored.",
                )
        return list(new_events.values())

    def _stored_body(self, key: tuple[str, str]) -> bytes | None:
        """Return the body of the stored event with a source and an id; None without one."""
        row = self._write.execute(_BY_ID, key).fetchone()
        if row is None:
            return None
        stored = verify_row(row)
        if stored is None or (stored.event.source, stored.event.event_id) != key:
            raise apsw.CorruptError("The index of event ids names a row of another id.")
        return stored.event.body

    @property
    def unsynced(self) -> bool:
        """Return whether a stored event is not forced to disk yet."""
        return self._unsynced

    @property
    def newest_seq(self) -> int:
        """Sequence number of the newest event."""
        return self._next_seq - 1

    def probe(self) -> None:
        """Force a write without content to disk, with everything before it.

        Raises:
            apsw.Error: the log cannot be written.
        """
        if self._is_beyond_repair:
            raise apsw.CorruptError("The log is damaged beyond its rows.")
        self._set_synchronous(True)
        self._write.execute(f"PRAGMA user_version = {FORMAT}")
        self._unsynced = False

    def close(self) -> None:
        """Merge the write-ahead log into the file, close both connections and write the digest of the file."""
        super().close()
        close(self._write)
        if not (self._is_beyond_repair or self.num_left_out):  # the next start has to check a damaged log
            write_digest(self.path)


_MAX_SEQ = "SELECT max(coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(seq) FROM damaged), 0))"
_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BY_ID = f"SELECT {COLUMNS} FROM events WHERE source = ? AND event_id = ?"


def _row(stored: StoredEventRow) -> tuple[object, ...]:
    return (stored.seq, *astuple(stored.event), stored.event.checksum(stored.seq))


_IMPORT_CHUNK = 5_000


def import_events(
    store: EventStore,
    events: Iterable[Event],
    without_erased: Callable[[Sequence[Sequence[Event]]], Sequence[Sequence[Event]]] = lambda batches: batches,
) -> AppendResult:
    """Store the events of a log in chunks, while no server runs on the store. Safe to repeat.

    Args:
        store: the event store.
        events: validated events.
        without_erased: removes the events of erased users.

    Raises:
        Problem: 409 for an event id that is already stored with another body. The chunks before it stay.
    """
    accepted = duplicates = erased = 0
    iterator = iter(events)
    while chunk := list(islice(iterator, _IMPORT_CHUNK)):
        (kept,) = without_erased([chunk])
        (outcome,), _ = store.append([kept])
        if isinstance(outcome, Exception):
            raise outcome
        accepted += outcome.accepted
        duplicates += outcome.duplicates
        erased += len(chunk) - len(kept)
    return AppendResult(accepted, duplicates, erased)
