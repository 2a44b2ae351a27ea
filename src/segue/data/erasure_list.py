"""Erased users and sessions with the time of erasure, stored as keyed digests, so that the list holds no id.

The list lies in a server's data directory (``erasures.json``, with its key in ``erasures.key``). Training with that
directory leaves out events before a user's erasure, also if an old log still contains them.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from segue.system import atomic_files

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

LIST, KEY = "erasures.json", "erasures.key"
_CHECK = "check"
"""Name of the entry that authenticates all others with the key: a list and a key that do not belong together, and a
changed letter of either, are noticed. A list of an older version has none."""
_IS_DIGEST = re.compile(r"[0-9a-f]{32}").fullmatch


_VISITOR = "session:"


def visitor_user_id(session_id: str) -> str:
    """Return the user id of a session without a known user, for a log in which every event needs one."""
    return f"{_VISITOR}{session_id}"


class ErasureList:
    """Erasure time in UTC microseconds by the digest of a user or session id.

    Events up to that time must not be used. Safe to use from several threads and processes.
    """

    def __init__(self, folder: Path, key: bytes, until: dict[str, int]) -> None:
        self._folder = folder
        self._key = key
        self._until = until

    @classmethod
    def open(cls, folder: Path, *, has_erased: bool = False) -> "ErasureList":
        """Read the list of a data directory; create a key if no user was erased yet.

        Args:
            folder: the data directory.
            has_erased: True if the directory's event log records an erasure, so that the key cannot be missing.

        Raises:
            ValueError: see ``read``; also for a missing key beside a list or ``has_erased``.
            OSError: the key cannot be written.
        """
        _remove_leftovers(folder)
        if not (folder / KEY).exists() and not (folder / LIST).exists() and not has_erased:
            atomic_files.write(folder / KEY, [secrets.token_hex(32).encode()], mode=0o600)
        return cls.read(folder, has_erased=has_erased)

    @classmethod
    def read(cls, folder: Path, *, has_erased: bool = False) -> "ErasureList":
        """Read the list of a data directory.

        Args:
            folder: the data directory.
            has_erased: True if the directory's event log records an erasure.

        Raises:
            ValueError: the list or its key is missing, unreadable, damaged, or belongs to another directory.
        """
        key = _read_key(folder, has_erased)
        return cls(folder, key, _read_entries(folder, key))

    def __len__(self) -> int:
        return len(self._until)

    def digest(self, id_type: str, id: str) -> str:
        """Return the keyed digest of an id: 16 bytes of BLAKE2b, as hexadecimal text.

        Args:
            id_type: "user_id" or "session_id".
            id: id of the user or session.
        """
        return hashlib.blake2b(f"{id_type}\x00{id}".encode(), key=self._key, digest_size=16).hexdigest()

    def add(self, keys: list[tuple[str, str]], time_us: int) -> None:
        """Add erasures; they are on disk when this returns.

        Args:
            keys: (id type, id) pairs.
            time_us: time of the erasure, UTC microseconds.

        Raises:
            OSError: the disk refuses; the erasures are not in the list.
            ValueError: the list on disk was damaged meanwhile.
        """
        self.add_digests({self.digest(*key): time_us for key in keys})

    def add_digests(self, until_us: Mapping[str, int]) -> None:
        """Add erasures by their digests; they are on disk when this returns. A later time of an entry stays.

        The list is read again under a lock first, so that no entry of another writer is lost.

        Args:
            until_us: time of the erasure in UTC microseconds by digest.

        Raises:
            OSError: the disk refuses; the erasures are not in the list.
            ValueError: the list on disk was damaged meanwhile.
        """
        with _locked(self._folder / KEY):
            merged = _merge(self._until, _read_entries(self._folder, self._key))
            merged = _merge(merged, until_us)
            content = {**merged, _CHECK: _authentication(self._key, merged)}
            encoded = json.dumps(content).encode()  # with an indent, json leaves a cycle in memory
            atomic_files.write(self._folder / LIST, [msgspec.json.format(encoded, indent=1)])
            self._until = merged

    def warning(self) -> str | None:
        """Return a sentence about a key that other users of the machine can read; None for a private one."""
        path = self._folder / KEY
        if not path.stat().st_mode & 0o077:
            return None
        return f"{path} can be read by other users of this machine, who could recognize erased ids: chmod 600 it."

    def erased_until_us(self, id_type: str, id: str) -> int | None:
        """Return the time of erasure in UTC microseconds; None if never erased.

        Args:
            id_type: "user_id" or "session_id".
            id: id of the user or session.
        """
        return self._until.get(self.digest(id_type, id)) if self._until else None

    def digest_erased_until_us(self, digest: str) -> int | None:
        """Return the time of erasure of a digest in UTC microseconds; None if never erased."""
        return self._until.get(digest)

    def covers(self, user_id: str | None, session_id: str | None, time_us: int) -> bool:
        """Return True if an event belongs to a user or session that was erased at or after its time.

        Args:
            user_id: user of the event; None: unknown, then the session is checked.
            session_id: session of the event; None: unknown.
            time_us: time of the event, UTC microseconds.
        """
        if not self._until:
            return False
        ids = (("user_id", user_id), ("session_id", session_id if user_id is None else None))
        until_us = [self._until.get(self.digest(id_type, id)) for id_type, id in ids if id is not None]
        return any(us is not None and time_us <= us for us in until_us)

    def filter_log(self, log: "EventLog") -> "EventLog":
        """Return the log without erased events; without all events of erased users if the log has no times.

        Events without a user are left out too if their session is listed, or has an erased event of its user.
        """
        import polars as pl

        all_users = log.frame["user_id"].unique().to_list()
        until = {user: us for user in all_users if (us := self._log_user_until_us(user)) is not None}
        until |= self._linked_sessions_until_us(log, until)
        if not until:
            return log
        users, times_us = list(until), list(until.values())
        column = pl.col("user_id").replace_strict(users, times_us, default=None)
        is_user = column.is_not_null()
        is_erased = is_user & (pl.col("timestamp") <= column) if log.has_times else is_user
        return log.with_frame(log.frame.filter(~is_erased))

    def _log_user_until_us(self, user_id: str) -> int | None:
        """Return the time of erasure of a user of a log, who may stand for a session."""
        until_us = self.erased_until_us("user_id", user_id)
        if until_us is None and user_id.startswith(_VISITOR):
            return self.erased_until_us("session_id", user_id.removeprefix(_VISITOR))
        return until_us

    @staticmethod
    def _linked_sessions_until_us(log: "EventLog", until_us: dict[str, int]) -> dict[str, int]:
        """Return the time of erasure by the user who stands for a session that has an erased event of its user."""
        import polars as pl

        if "session_id" not in log.frame.columns or not until_us:
            return {}
        rows = log.frame.filter(pl.col("user_id").is_in(list(until_us)) & pl.col("session_id").is_not_null())
        linked: dict[str, int] = {}
        for user, session, first in rows.group_by("user_id", "session_id").agg(pl.col("timestamp").min()).iter_rows():
            if first <= until_us[user] or not log.has_times:
                # A reader writes "user/session" for a session id that several users share.
                for name in {session, session.removeprefix(f"{user}/")}:
                    visitor = visitor_user_id(name)
                    linked[visitor] = max(until_us[user], linked.get(visitor, -1), until_us.get(visitor, -1))
        return linked


def _merge(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Return the entries of both, with the later time of each."""
    return {**old, **{digest: max(time_us, old.get(digest, 0)) for digest, time_us in new.items()}}


def _authentication(key: bytes, entries: Mapping[str, int]) -> str:
    content = f"{LIST}\x00{json.dumps(entries, sort_keys=True)}".encode()
    return hashlib.blake2b(content, key=key, digest_size=16).hexdigest()


def _read_key(folder: Path, has_erased: bool) -> bytes:
    path = folder / KEY
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if not has_erased and not (folder / LIST).exists():
            raise ValueError(f"{folder} has no list of erased users: name a server's data directory.") from None
        raise ValueError(
            f"{path} is missing: restore it from a backup. Without it erased users are not recognized, and come back."
        ) from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    if not re.fullmatch(rb"[0-9a-f]{64}\s*", text):
        raise ValueError(
            f"{path} is damaged: it should hold 64 hexadecimal digits. Restore it from a backup. Without it erased "
            "users are not recognized, and come back."
        )
    return bytes.fromhex(text.decode())


def _read_entries(folder: Path, key: bytes) -> dict[str, int]:
    path = folder / LIST
    try:
        entries: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise _damaged(path)
    check = entries.pop(_CHECK, None)
    if not all(_IS_DIGEST(digest) and type(time_us) is int for digest, time_us in entries.items()):
        raise _damaged(path)
    if check is not None and check != _authentication(key, entries):
        raise ValueError(
            f"{path} does not belong to {folder / KEY}, or one of them is damaged: restore both from a backup, or "
            "erased users come back."
        )
    return entries


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged: restore it from a backup, or erased users come back.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's exclusive lock, against other threads as well as other processes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a write that a crash ended."""
    for name in (LIST, KEY):
        for path in folder.glob(f"{name}*.writing"):
            path.unlink(missing_ok=True)
