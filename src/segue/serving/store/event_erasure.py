"""Erasing part of the event store: deletion, its durable record, and the compaction that is due after it.

One record per erased user holds the counts of the receipt. It is written in the transaction of the deletion, so that an
interrupted erasure is known at the next start, and its repeat counts the events of both attempts.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw

from segue.serving.schemas.requests import HistoryKey
from segue.serving.store import wal_check
from segue.serving.store.sqlite import transaction

ALL_TIMES_US = 2**62
"""End of an interval that includes every event, UTC microseconds."""
_TABLE = """CREATE TABLE IF NOT EXISTS erasures (digest TEXT PRIMARY KEY, until_us INTEGER NOT NULL,
    events INTEGER NOT NULL, sessions INTEGER NOT NULL, session_digests TEXT NOT NULL,
    attribution_rows INTEGER NOT NULL, compacted INTEGER NOT NULL, receipted INTEGER NOT NULL) STRICT"""


@dataclass(frozen=True)
class ErasureTarget:
    """User, or sessions without a user, whose events are to be deleted."""

    digest: str
    """Keyed digest of the user, or of the session of a target without a user."""
    user_id: str | None
    """None: only the events without a user in ``sessions``."""
    sessions: Sequence[str]
    """Sessions whose events without a user are deleted too."""
    session_digests: Sequence[str]
    until_us: int
    """Time up to which later arrivals are refused, UTC microseconds."""
    delete_until_us: int = ALL_TIMES_US
    """Time up to which stored events are deleted, UTC microseconds."""
    attribution_rows: int = 0
    """Attribution rows that are about to be deleted."""


@dataclass(frozen=True)
class ErasureRecord:
    """Durable record of an erasure. The counts add up over its attempts until there is a receipt."""

    digest: str
    until_us: int
    """Time up to which arrivals are refused, UTC microseconds."""
    events: int
    """Deleted events."""
    sessions: int
    """Erased sessions."""
    session_digests: Sequence[str]
    """Digests of these sessions until there is a receipt, then empty."""
    attribution_rows: int
    """Deleted attribution rows."""
    compacted: bool
    """True if no byte of the deleted events is left in the file."""
    receipted: bool
    """True if the erasure was completed and its receipt given."""


class EventErasure:
    """Deletion over the writing connection of an event store; called in the writer's thread."""

    def __init__(self, connection: apsw.Connection, path: Path, force: Callable[[], None]) -> None:
        """Create the table of the records.

        Args:
            connection: writing connection of the log.
            path: the log.
            force: function that makes the next commit wait for the disk.
        """
        self._connection = connection
        self._path = path
        self._force = force
        self._is_rewritten = False
        connection.execute(_TABLE)
        connection.execute("PRAGMA secure_delete = ON").fetchall()

    def sessions_of(self, user_id: str, until_us: int = ALL_TIMES_US) -> tuple[list[str], int]:
        """Return the sessions of a user and the time of the newest event among them, UTC microseconds (0 without any).

        Args:
            user_id: the user.
            until_us: only events at or before this time, UTC microseconds.
        """
        sessions: dict[str, None] = {}
        newest_us = 0
        own = "SELECT session_id, max(time_us) FROM events WHERE user_id = ? AND time_us <= ? GROUP BY session_id"
        for session, time_us in self._rows(own, (user_id, until_us)):
            newest_us = max(newest_us, time_us)
            sessions |= {} if session is None else {_text(session): None}
        for (session,) in self._rows("SELECT DISTINCT session_id FROM damaged WHERE user_id = ?", (user_id,)):
            sessions |= {} if session is None else {_text(session): None}
        without_user = "SELECT max(time_us) FROM events WHERE session_id = ? AND user_id IS NULL AND time_us <= ?"
        for session in sessions:
            newest_us = max(newest_us, self._rows(without_user, (session, until_us))[0][0] or 0)
        return list(sessions), newest_us

    def stored_keys(self) -> Iterator[HistoryKey]:
        """Yield the user of each event, and the session of each event without a user, each key once per table."""
        for table in ("events", "damaged"):
            # As bytes, because a damaged id may be no text.
            for id_type, having in (("user_id", ""), ("session_id", "AND user_id IS NULL")):
                query = f"SELECT DISTINCT CAST({id_type} AS BLOB) FROM {table} WHERE {id_type} IS NOT NULL {having}"
                for (id,) in self._rows(query):
                    yield id_type, _text(id)

    def holds(self, target: ErasureTarget) -> bool:
        """Return whether an event of a target is stored."""
        for table, keys, values in self._conditions(target):
            if self._rows(f"SELECT 1 FROM {table} WHERE {keys} LIMIT 1", values):
                return True
        return False

    def delete(self, targets: Sequence[ErasureTarget]) -> None:
        """Delete the events of targets and record it, in one transaction that is on disk on return.

        Raises:
            apsw.Error: the log cannot be written, and is unchanged.
        """
        self._force()
        self._is_rewritten = False
        with transaction(self._connection):
            for target in targets:
                count = 0
                for table, keys, values in self._conditions(target):
                    self._connection.execute(f"DELETE FROM {table} WHERE {keys}", values)
                    count += self._connection.changes()
                self._write(_merged(self.record(target.digest), target, count))

    def record(self, digest: str) -> ErasureRecord | None:
        """Return the record of a user's digest; None if never erased."""
        rows = self._rows("SELECT * FROM erasures WHERE digest = ?", (digest,))
        return _record(rows[0]) if rows else None

    def recorded_until_us(self) -> dict[str, int]:
        """Return the time of erasure of every recorded digest, those of sessions without a receipt included."""
        until: dict[str, int] = {}
        for record in map(_record, self._rows("SELECT * FROM erasures")):
            until |= dict.fromkeys((record.digest, *record.session_digests), record.until_us)
        return until

    @property
    def has_records(self) -> bool:
        """Return whether a user was ever erased."""
        return bool(self._rows("SELECT 1 FROM erasures LIMIT 1"))

    @property
    def compaction_due(self) -> bool:
        """Return whether the file may still hold bytes of deleted events."""
        return bool(self._rows("SELECT 1 FROM erasures WHERE NOT compacted LIMIT 1"))

    def compact(self) -> bool:
        """Rewrite the file, so that freed pages no longer hold the bytes of deleted events, and record it.

        Returns:
            False while another process reads the log, because the write-ahead log then still holds them.

        Raises:
            apsw.Error: the log cannot be written.
            OSError: a kept write-ahead log cannot be deleted.
        """
        self._force()
        wal_check.remove_copy(self._path)
        if not self._is_rewritten:
            self._connection.execute("VACUUM").fetchall()
            self._is_rewritten = True
        if self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
            return False
        self._connection.execute("UPDATE erasures SET compacted = 1 WHERE NOT compacted").fetchall()
        return True

    def give_receipts(self, attribution_rows: dict[str, int]) -> dict[str, ErasureRecord]:
        """Record that erasures are complete, and return their final records by digest.

        Args:
            attribution_rows: attribution rows deleted now, by the user's digest.
        """
        self._force()
        records: dict[str, ErasureRecord] = {}
        with transaction(self._connection):
            for digest, rows in attribution_rows.items():
                record = self.record(digest)
                assert record is not None, "a deletion is recorded first"
                records[digest] = replace(
                    record, session_digests=(), attribution_rows=max(rows, record.attribution_rows), receipted=True
                )
                self._write(records[digest])
        return records

    def _conditions(self, target: ErasureTarget) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
        """Yield (table, condition, values) for every place of a target's events.

        The time of a damaged row is not trusted: all such rows are deleted.
        """
        until_us = target.delete_until_us
        for table, time, more in (("events", " AND time_us <= ?", (until_us,)), ("damaged", "", ())):
            if target.user_id is not None:
                yield table, f"user_id = ?{time}", (target.user_id, *more)
            for session in target.sessions:
                yield table, f"session_id = ? AND user_id IS NULL{time}", (session, *more)

    def _write(self, record: ErasureRecord) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO erasures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.digest,
                record.until_us,
                record.events,
                record.sessions,
                json.dumps(list(record.session_digests)),
                record.attribution_rows,
                record.compacted,
                record.receipted,
            ),
        )

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        return self._connection.execute(query, values).fetchall()


def _record(row: tuple[Any, ...]) -> ErasureRecord:
    digest, until_us, events, sessions, session_digests, attribution_rows, compacted, receipted = row
    digests = json.loads(session_digests)
    return ErasureRecord(
        digest, until_us, events, sessions, digests, attribution_rows, bool(compacted), bool(receipted)
    )


def _merged(record: ErasureRecord | None, target: ErasureTarget, count: int) -> ErasureRecord:
    """Return the record after another attempt.

    An attempt that finds no event after a receipt leaves its counts: the request may be repeated because the receipt
    was lost.
    """
    if record is None or (record.receipted and count):
        digests = list(dict.fromkeys(target.session_digests))
        return ErasureRecord(
            target.digest, target.until_us, count, len(digests), digests, target.attribution_rows, False, False
        )
    until_us = max(record.until_us, target.until_us)
    new = [digest for digest in dict.fromkeys(target.session_digests) if digest not in record.session_digests]
    return ErasureRecord(
        record.digest,
        until_us,
        record.events + count,
        record.sessions + len(new),
        [*record.session_digests, *new],
        max(record.attribution_rows, target.attribution_rows),
        False,
        False,
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
