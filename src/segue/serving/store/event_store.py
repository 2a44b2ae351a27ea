"""The event log on disk: an append-only SQLite table with a checksum in every row. No threads, no HTTP.

One connection writes and checkpoints, another only reads: SQLite's WAL mode had a corruption bug that needs two
writers (fixed in 3.51.3), so older versions are refused and a second writer never exists.
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
from segue.serving.store.sqlite import COLUMNS, FORMAT, check_sqlite, connect

CHECKED_ROWS = 50_000
"""Newest rows whose checksums are looked at when a log is opened: a crash damages the end, if anything, and older rows
are checked whenever they are read. Checking every row of a large log would keep a restart waiting."""
_INDEXES = {
    "once": "CREATE UNIQUE INDEX IF NOT EXISTS once ON events(source, event_id)",
    "by_user": "CREATE INDEX IF NOT EXISTS by_user ON events(user_id, time_us, seq) WHERE user_id IS NOT NULL",
    "by_session": "CREATE INDEX IF NOT EXISTS by_session ON events(session_id, time_us, seq) "
    "WHERE session_id IS NOT NULL",
}


@dataclass(frozen=True)
class AppendResult:
    """What became of one request's events."""

    accepted: int
    duplicates: int


@dataclass(frozen=True)
class ErasedCounts:
    """What an erasure took out of the log."""

    events: int
    sessions: list[str]
    """The person's sessions, whose histories must be forgotten too."""
    compacted: bool
    """Whether the bytes are gone from the file as well."""


class EventStore(EventReader):
    """Events by arrival; each (source, event_id) once, for ever."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the log and sets damaged rows at its end aside. ValueError when it cannot be trusted to keep
        events."""
        check_sqlite(apsw.sqlite_lib_version())
        self.path = Path(path)
        self._forced, self._loose = True, False
        try:
            self._write = connect(self.path)
            self.num_damaged = self._set_damaged_aside()
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
        """Stores whole requests in one transaction, forced to disk before this returns, together with all earlier ones;
        without ``force`` only handed to the operating system, which keeps it if this process dies.

        A request is stored completely or, when one of its ids is taken by another body, not at all: its place then
        holds a Problem (409). Also returns what is new. Raises apsw.Error when nothing could be stored.
        """
        outcomes: list[AppendResult | Problem] = []
        stored: list[StoredEventRow] = []
        next_seq = self._next_seq
        self._forcing(force)
        try:
            self._write.execute("BEGIN IMMEDIATE")
            if force and self._loose:
                # A transaction that only meets duplicates writes nothing, and then would not force what they repeat.
                self._write.execute(f"PRAGMA user_version = {FORMAT}")
            for batch in batches:
                fresh = self._fresh(batch)
                if isinstance(fresh, Problem):
                    outcomes.append(fresh)
                    continue
                new = [StoredEventRow(next_seq + i, event) for i, event in enumerate(fresh)]
                self._write.executemany(_INSERT, (_row(one) for one in new))
                next_seq += len(new)
                stored += new
                outcomes.append(AppendResult(len(new), len(batch) - len(new)))
            self._write.execute("COMMIT")
        except BaseException:
            if self._write.in_transaction:
                self._write.execute("ROLLBACK")
            raise
        self._next_seq = next_seq
        self._loose = not force and (self._loose or bool(stored))
        return outcomes, stored

    def _forcing(self, force: bool) -> None:
        """Whether a commit waits for the disk."""
        if force != self._forced:
            self._write.execute(f"PRAGMA synchronous = {'FULL' if force else 'NORMAL'}")
            self._forced = force

    def _fresh(self, batch: Iterable[Event]) -> list[Event] | Problem:
        """The events that are not stored yet, or why none of them may be."""
        fresh: dict[tuple[str, str], Event] = {}
        for event in batch:
            key = (event.source, event.event_id)
            before = fresh[key].body if key in fresh else self._write.execute(_BODY, key).get
            if before is None:
                fresh[key] = event
            elif before != event.body:
                return Problem(
                    409,
                    f"Event '{event.event_id}' of source '{event.source}' is already stored with another body; "
                    "the first one stays, and nothing of this request was stored.",
                )
        return list(fresh.values())

    def erase(self, user_id: str, *, until_us: int = 2**62) -> ErasedCounts:
        """Takes a person out of the log, with the events of the person's sessions that name nobody else, and rewrites
        the file: no byte of them stays in it. Takes as long as copying the log.

        With ``until_us`` only what lies up to that moment.
        """
        linked = "SELECT DISTINCT session_id FROM events WHERE user_id = ? AND time_us <= ? AND session_id IS NOT NULL"
        sessions = [str(row[0]) for row in self._write.execute(linked, (user_id, until_us))]
        count = 0
        with self._write:
            for table in ("events", "damaged"):
                delete = f"DELETE FROM {table} WHERE time_us <= ? AND"
                self._write.execute(f"{delete} user_id = ?", (until_us, user_id))
                count += self._write.changes()
                for session in sessions:
                    self._write.execute(f"{delete} session_id = ? AND user_id IS NULL", (until_us, session))
                    count += self._write.changes()
        return ErasedCounts(count, sessions, self.compact())

    def compact(self) -> bool:
        """Rewrites the file without what was deleted, whose bytes stay in freed pages until then; False where another
        process reads the log just now, so that the write-ahead log still holds them."""
        self._write.execute("VACUUM")
        busy = self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)").get[0]
        return not busy

    @property
    def unsynced(self) -> bool:
        """Whether something was stored that is not forced to disk yet."""
        return self._loose

    def probe(self) -> None:
        """Writes nothing of interest and forces it to disk, with everything before it; apsw.Error while the log cannot
        be written."""
        self._forcing(True)
        self._write.execute(f"PRAGMA user_version = {FORMAT}")
        self._loose = False

    def close(self) -> None:
        """Merges the write-ahead log into the file and closes it."""
        super().close()
        self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._write.close()

    def _set_damaged_aside(self) -> int:
        """Moves rows whose checksum does not hold to a table of their own, where they are kept but never served."""
        bad = list(self._damaged_rows())
        if bad:
            with self._write:
                # An index still holds what a damaged row held before, so it cannot be kept.
                for name in _INDEXES:
                    self._write.execute(f"DROP INDEX IF EXISTS {name}")
                for seq in bad:
                    self._write.execute(f"INSERT INTO damaged SELECT {COLUMNS} FROM events WHERE seq = ?", (seq,))
                    self._write.execute("DELETE FROM events WHERE seq = ?", (seq,))
        for statement in _INDEXES.values():
            self._write.execute(statement)
        return self._write.execute("SELECT count(*) FROM damaged").get

    def _damaged_rows(self) -> Iterator[int]:
        """Where the rows are that are not what was written; some cannot even be read as text."""
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
    """Stores a log's events, chunk by chunk, while no server runs on the store; safe to repeat.

    Problem when an id is taken by another body; the chunks before it stay.
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
