"""Who asked to be forgotten, and when: keyed digests, so that the list itself names nobody.

The list lies in a server's data directory (``erasures.json``, with its key in ``erasures.key``). A training that is
given the directory leaves out what these people did before they were erased, also where an old log still has it.
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
    """The person of a session whose person nobody knows, in a log where every event needs one."""
    return f"session:{session_id}"


class ErasureList:
    """Digest of a person or a session -> until when (UTC microseconds) what they did must not be known."""

    def __init__(self, folder: Path, key: bytes, until: dict[str, int]) -> None:
        self._folder = folder
        self._key = key
        self._until = until

    @classmethod
    def open(cls, folder: Path) -> "ErasureList":
        """The list of a data directory; a new one where there is none."""
        if not (folder / KEY).exists():
            atomic_files.write(folder / KEY, [secrets.token_hex(32).encode()])
            os.chmod(folder / KEY, 0o600)
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> "ErasureList":
        """The list of a data directory. ValueError where it has none, or a damaged one."""
        try:
            key = bytes.fromhex((folder / KEY).read_text(encoding="ascii"))
        except FileNotFoundError:
            raise ValueError(f"{folder} has no list of erased people: name a server's data directory.") from None
        path = folder / LIST
        until = json.loads(path.read_text(encoding="ascii")) if path.exists() else {}
        if not isinstance(until, dict) or not all(type(value) is int for value in until.values()):
            raise ValueError(f"{path} is damaged: restore it from a backup, or people who were erased come back.")
        return cls(folder, key, until)

    def __len__(self) -> int:
        return len(self._until)

    def digest(self, kind: str, name: str) -> str:
        """Stands for a person ("user_id") or a session ("session_id") where the name must not be written."""
        return hashlib.blake2b(f"{kind}\x00{name}".encode(), key=self._key, digest_size=16).hexdigest()

    def add(self, keys: list[tuple[str, str]], time_us: int) -> None:
        """Notes (kind, name) pairs, on disk when this returns."""
        merged = {**self._until, **{self.digest(*key): time_us for key in keys}}
        atomic_files.write(self._folder / LIST, [json.dumps(merged, indent=0, sort_keys=True).encode()])
        self._until = merged

    def erased_until_us(self, kind: str, name: str) -> int | None:
        """Until when what somebody did must not be known; None for who was never erased."""
        return self._until.get(self.digest(kind, name))

    def covers(self, user_id: str | None, session_id: str | None, time_us: int) -> bool:
        """Whether an event of that moment belongs to somebody who was erased later."""
        if not self._until:
            return False
        named = (("user_id", user_id), ("session_id", session_id if user_id is None else None))
        return any(name is not None and time_us <= self._until.get(self.digest(kind, name), -1) for kind, name in named)

    def filter_log(self, log: "EventLog") -> "EventLog":
        """The log without what it must not know; all of a person's events where the log has no times."""
        import polars as pl

        gone = pl.lit(False)
        nobody = (
            pl.col("user_id") == pl.format("session:{}", "session_id") if "session_id" in log.frame.columns else None
        )
        for kind, theirs in (("user_id", pl.lit(True)), ("session_id", nobody)):
            if theirs is None:
                continue
            names = log.frame[kind].drop_nulls().unique().to_list()
            found = {name: self._until[d] for name in names if (d := self.digest(kind, name)) in self._until}
            if found:
                values = list(found.values())
                until = pl.col(kind).replace_strict(list(found), values, default=-1, return_dtype=pl.Int64)
                early = pl.col("timestamp") <= until if log.has_times else until >= 0
                gone = gone | (theirs & early)
        return log.with_frame(log.frame.filter(~gone.fill_null(False)))
