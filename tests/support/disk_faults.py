"""The file operations of ``segue.system.atomic_files``, intercepted: to die at, to fail, to record."""

import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from segue.system import atomic_files

SECTOR = 512
Hook = Callable[[str, str, tuple[Any, ...]], None]
"""(operation, "before" | "middle" | "after", what it is about)."""


@contextmanager
def watched(hook: Hook, buffer: int = 1024) -> Iterator[None]:
    """Inside, ``hook`` hears of each operation before and after it, and of a write also when half of it is done.
    A write takes ``buffer`` bytes to the system: few, so that a small state needs several."""
    names: dict[int, str] = {}

    class Raw(io.FileIO):
        def write(self, data: Any, /) -> int:
            raw = bytes(data)
            hook("write", "before", (str(self.name), raw))
            done = super().write(raw[: len(raw) // 2])
            hook("write", "middle", (str(self.name), raw))
            done += super().write(raw[done:])
            hook("write", "after", (str(self.name), raw))
            return done

    def opened(path: Path, mode: str) -> io.BufferedWriter:
        hook("create", "before", (str(path),))
        raw = Raw(str(path), mode)
        names[raw.fileno()] = str(path)
        hook("create", "after", (str(path),))
        return io.BufferedWriter(raw, buffer)

    def heard(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            about = tuple(names.get(a, "?") if name == "fsync" else str(a) for a in arguments)
            hook(name, "before", about)
            result = real(*arguments)
            if name == "open":
                names[result] = str(arguments[0])
            hook(name, "after", about)
            return result

        return call

    with ExitStack() as stack:
        stack.enter_context(patch.object(atomic_files, "open", opened, create=True))
        for name in ("open", "fsync", "replace", "mkdir", "unlink"):
            stack.enter_context(patch.object(os, name, heard(name, getattr(os, name))))
        yield


class Disk:
    """A disk that keeps only what was forced to it, replayed from a list of operations.

    Names belong to folders and contents to files: forcing a file keeps its bytes but not its name, forcing a folder
    keeps its names. Of what was not forced, a power cut keeps any part: ``states`` gives each of them.
    """

    def __init__(self, there: Path) -> None:
        self.root = str(there)
        self.folders = {self.root}
        self.names: dict[str, int] = {}
        """Path -> file, as it is after a power cut, without the changes below."""
        self.changes: list[tuple[str, ...]] = []
        """What happened to names since their folder was forced."""
        self.now: dict[str, int] = {}
        """Path -> file, as programs see it."""
        self.written: list[bytes] = []
        self.forced: list[int] = []
        """Of each file: its bytes, and how many of them stay."""

    def do(self, name: str, about: tuple[Any, ...]) -> None:
        """One operation."""
        if name == "create":
            self.now[about[0]] = len(self.written)
            self.changes.append(("name", about[0], str(len(self.written))))
            self.written.append(b"")
            self.forced.append(0)
        elif name == "write":
            self.written[self.now[about[0]]] += about[1]
        elif name == "fsync" and about[0] in self.now:
            self.forced[self.now[about[0]]] = len(self.written[self.now[about[0]]])
        elif name == "fsync":
            mine = [c for c in self.changes if os.path.dirname(c[1]) == about[0]]
            self.names, self.folders = self._after(mine)
            self.changes = [c for c in self.changes if c not in mine]
        elif name == "replace":
            self.now[about[1]] = self.now.pop(about[0])
            self.changes.append(("move", about[1], about[0], str(self.now[about[1]])))
        elif name == "mkdir":
            self.changes.append(("mkdir", about[0]))
        elif name == "unlink":
            self.now.pop(about[0])
            self.changes.append(("unlink", about[0]))

    def _after(self, changes: Any) -> tuple[dict[str, int], set[str]]:
        names, folders = dict(self.names), set(self.folders)
        for kind, path, *more in changes:
            if kind == "name":
                names[path] = int(more[0])
            elif kind == "move":
                names.pop(more[0], None)
                names[path] = int(more[1])
            elif kind == "unlink":
                names.pop(path, None)
            else:
                folders.add(path)
        return names, folders

    def states(self) -> Iterator[tuple[dict[str, bytes], set[str]]]:
        """(path -> bytes, folders) of every state that a power cut now may leave."""
        for kept in itertools.product([False, True], repeat=len(self.changes)):
            names, folders = self._after(itertools.compress(self.changes, kept))
            there = {path: file for path, file in names.items() if os.path.dirname(path) in folders}
            for choice in itertools.product(*(self._contents(file) for file in there.values())):
                yield dict(zip(there, choice, strict=True)), folders

    def _contents(self, file: int) -> list[bytes]:
        whole, stays = self.written[file], self.forced[file]
        rest = whole[stays:]
        if not rest:
            return [whole]
        tails = [rest]
        for torn in range(0, len(rest), SECTOR):
            tails += [rest[:torn], rest[:torn] + bytes(len(rest) - torn), bytes(torn) + rest[torn:]]
        return [whole[:stays] + tail for tail in dict.fromkeys(tails)]


def recorded(work: Callable[[], None]) -> list[tuple[str, tuple[Any, ...]]]:
    """The operations of some work, in order."""
    done: list[tuple[str, tuple[Any, ...]]] = []

    def note(name: str, phase: str, about: tuple[Any, ...]) -> None:
        if phase == "after" and name != "open":
            done.append((name, about))

    with watched(note):
        work()
    return done
