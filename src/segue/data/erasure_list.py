"""Erased users and sessions with the time of erasure, stored as keyed digests, so that the list holds no id.

The list lies in a server's data directory (``erasures.json``, with its key in ``erasures.key``). Training with that
directory leaves out events before a user's erasure, also if an old log still contains them.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from segue.system import atomic_files

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

LIST, KEY = "erasures.json", "erasures.key"


def visitor_user_id(session_id: str) -> str:
    """Return the user id of a session without a known user, for a log in which every event needs one."""
    return f"session:{session_id}"


class ErasureList:
    """Erasure time in UTC microseconds by the digest of a user or session id.

    Events up to that time must not be used.
    """

    def __init__(self, folder: Path, key: bytes, until: dict[str, int]) -> None:
        self._folder = folder
        self._key = key
        self._until = until

    @classmethod
    def open(cls, folder: Path) -> "ErasureList":
        """Read the list of a data directory; create an empty one if there is none."""
        if not (folder / KEY).exists():
            atomic_files.write(folder / KEY, [secrets.token_hex(32).encode()])
            os.chmod(folder / KEY, 0o600)
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> "ErasureList":
        """Read the list of a data directory. Raises ValueError if it is missing or damaged."""
        try:
            key = bytes.fromhex((folder / KEY).read_text(encoding="ascii"))
        except FileNotFoundError:
            raise ValueError(f"{folder} has no list of erased users: name a server's data directory.") from None
        path = folder / LIST
        until = json.loads(path.read_text(encoding="ascii")) if path.exists() else {}
        if not isinstance(until, dict) or not all(type(value) is int for value in until.values()):
            raise ValueError(f"{path} is damaged: restore it from a backup, or erased users come back.")
        return cls(folder, key, until)

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
        """
        merged = {**self._until, **{self.digest(*key): time_us for key in keys}}
        atomic_files.write(self._folder / LIST, [json.dumps(merged, indent=0, sort_keys=True).encode()])
        self._until = merged

    def erased_until_us(self, id_type: str, id: str) -> int | None:
        """Return the time of erasure in UTC microseconds; None if never erased.

        Args:
            id_type: "user_id" or "session_id".
            id: id of the user or session.
        """
        return self._until.get(self.digest(id_type, id))

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
        return any(id is not None and time_us <= self._until.get(self.digest(id_type, id), -1) for id_type, id in ids)

    def filter_log(self, log: "EventLog") -> "EventLog":
        """Return the log without erased events; without all events of erased users if the log has no times."""
        import polars as pl

        erased = pl.lit(False)
        has_no_user = (
            pl.col("user_id") == pl.format("session:{}", "session_id") if "session_id" in log.frame.columns else None
        )
        for id_type, applies in (("user_id", pl.lit(True)), ("session_id", has_no_user)):
            if applies is None:
                continue
            ids = log.frame[id_type].drop_nulls().unique().to_list()
            until_of = {id: self._until[d] for id in ids if (d := self.digest(id_type, id)) in self._until}
            if until_of:
                values = list(until_of.values())
                until = pl.col(id_type).replace_strict(list(until_of), values, default=-1, return_dtype=pl.Int64)
                early = pl.col("timestamp") <= until if log.has_times else until >= 0
                erased = erased | (applies & early)
        return log.with_frame(log.frame.filter(~erased.fill_null(False)))
