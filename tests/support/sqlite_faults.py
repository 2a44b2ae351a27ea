"""SQLite whose file operations in this process call a hook: to die at, or to fail with an error of the disk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath

import apsw

NAME = "segue-faults"
Hook = Callable[[str, str, str], None]
"""("write", "sync" or "truncate"; the kind of file, such as "sqlite" or "sqlite-wal"; "before", "middle" or "after").
A write is also reported when half of it is done."""


class _File(apsw.VFSFile):
    """File of the operating system whose changes are reported first."""

    def __init__(self, name: "str | apsw.URIFilename | None", flags: list[int], hook: Hook) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else (name or "temporary")
        self._kind = PurePath(path).suffix.removeprefix(".") or "temporary"
        self._hook = hook
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._hook("write", self._kind, "before")
        half = len(data) // 2
        super().xWrite(data[:half], offset)
        self._hook("write", self._kind, "middle")
        super().xWrite(data[half:], offset + half)
        self._hook("write", self._kind, "after")

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._hook("sync", self._kind, "before")
        super().xSync(flags)
        self._hook("sync", self._kind, "after")

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._hook("truncate", self._kind, "before")
        super().xTruncate(size)
        self._hook("truncate", self._kind, "after")


class _Files(apsw.VFS):
    """The files of the operating system, opened with a hook."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        super().__init__(NAME, "unix", makedefault=True)

    def xOpen(self, name: "str | apsw.URIFilename | None", flags: list[int]) -> _File:  # noqa: N802
        return _File(name, flags, self._hook)


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Inside, connections that are opened call the hook; each of them must be closed at the end."""
    files = _Files(hook)
    try:
        yield
    finally:
        files.unregister()
