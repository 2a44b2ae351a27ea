"""Power cuts replayed from the system calls of a process.

``record`` runs a command under strace. ``Replay`` follows its calls on a ``Disk``, which keeps only the bytes and names
that were forced to it. After each call a power cut may leave any part of the rest: ``Disk.states`` builds such states,
as files that recovery code then opens. Files that are mapped into memory are not replayed: the ``-shm`` file of SQLite
is left out, as SQLite makes it anew.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
CALLS = (
    "open,creat,openat,dup,dup2,dup3,close,write,writev,pwrite64,pwritev,lseek,sendfile,copy_file_range,truncate,"
    "ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,"
    "mkdirat,rmdir,clone,clone3,fork,vfork"
)
NAME_MODES = ("all", "none", "prefix", "subset")
DATA_MODES = ("all", "none", "prefix", "subset", "torn")
FIXED_MODES = (("all", "all"), ("none", "none"), ("all", "none"), ("none", "all"))
RANDOM_MODES = (("all", "subset"), ("all", "torn"), ("prefix", "prefix"), ("subset", "subset"), ("none", "torn"))
IGNORED = ("-shm",)


def can_record() -> bool:
    """Return whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def record(command: Sequence[str], trace: Path, output: Path, **options: object) -> None:
    """Run a command under strace.

    Args:
        command: the command; lines that it writes to standard output are marks in the trace.
        trace: file for the system calls.
        output: file for standard output.
        options: further arguments of ``subprocess.run``.
    """
    strace = ["strace", "-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e"]
    with output.open("wb") as out:
        done = subprocess.run(
            [*strace, "signal=none", "-o", str(trace), *command],
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            **options,  # type: ignore[call-overload]
        )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]


class File:
    """A file's content as programs see it, the part that is forced to disk, and the changes since."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.durable = content
        self.pending: list[tuple[int, bytes | None]] = []
        """(offset, bytes) of a write, or (size, None) of a change of size."""
        self.num_forced = 0
        """Number of changes that were forced before the pending ones."""
        self._cache: dict[str, tuple[bytes, bytes]] = {}

    def change(self, offset: int, data: bytes | None) -> None:
        _apply(self.content, offset, data)
        self.pending.append((offset, data))
        self._cache.pop("all", None)

    def force(self, until: int) -> None:
        """Force the first changes, up to the number ``until`` of all changes."""
        number = until - self.num_forced
        if number <= 0:
            return
        durable = bytearray(self.durable)
        for offset, data in self.pending[:number]:
            _apply(durable, offset, data)
        self.durable, self.pending, self.num_forced = bytes(durable), self.pending[number:], until
        self._cache.pop("none", None)

    def after_cut(self, mode: str, rng: random.Random) -> tuple[bytes, bytes]:
        """Return content and digest after a power cut."""
        mode = mode if self.pending else "all"
        if mode in ("all", "none"):
            if mode not in self._cache:
                content = bytes(self.content) if mode == "all" else self.durable
                self._cache[mode] = (content, hashlib.blake2b(content, digest_size=16).digest())
            return self._cache[mode]
        content = bytearray(self.durable)
        torn = rng.randrange(len(self.pending)) if mode == "torn" else -1
        length = rng.randint(0, len(self.pending)) if mode == "prefix" else len(self.pending)
        for n, (offset, data) in enumerate(self.pending[:length]):
            if n == torn and data is not None:
                for start in range(0, len(data), SECTOR):
                    if rng.random() < 0.5:
                        _apply(content, offset + start, data[start : start + SECTOR])
            elif mode == "prefix" or rng.random() < (0.75 if mode == "torn" else 0.5):
                _apply(content, offset, data)
        return bytes(content), hashlib.blake2b(content, digest_size=16).digest()


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        if offset < len(content):
            del content[offset:]
        else:
            content.extend(bytes(offset - len(content)))
        return
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Folder:
    """A folder's names as programs see them, and those that are forced to disk."""

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}


Node = File | Folder


@dataclass(eq=False)
class NameChange:
    """A change of names that happens as a whole: the new node of (folder, name), None where the name goes."""

    steps: list[tuple[Folder, str, Node | None]]


class State(NamedTuple):
    """Files and folders after a power cut, by their path below the root."""

    files: dict[str, bytes]
    folders: list[str]
    digest: bytes

    def write(self, target: Path) -> None:
        """Make the files in a folder that does not exist yet."""
        os.mkdir(target)
        for name in self.folders:
            os.mkdir(target / name)
        for name, content in self.files.items():
            handle = os.open(target / name, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(handle, content)
            os.close(handle)


class Disk:
    """A tree of files, and the names and bytes of it that a power cut leaves for certain."""

    def __init__(self, there: Path | None = None) -> None:
        """Start with the content of a folder, all of it forced to disk."""
        self.root = Folder()
        self.changes: list[NameChange] = []
        if there is not None:
            self._read(self.root, there)

    def _read(self, folder: Folder, path: Path) -> None:
        for entry in os.scandir(path):
            node: Node
            if entry.is_dir():
                node = Folder()
                self._read(node, Path(entry.path))
            else:
                node = File(Path(entry.path).read_bytes())
            folder.entries[entry.name] = folder.durable[entry.name] = node

    def find(self, path: str) -> Node | None:
        """Return the node of a path below the root, as programs see it."""
        node: Node | None = self.root
        for name in path.split("/") if path else ():
            node = node.entries.get(name) if isinstance(node, Folder) else None
        return node

    def parent(self, path: str) -> tuple[Folder, str]:
        """Return the folder of a path, and the name in it."""
        above, _, name = path.rpartition("/")
        folder = self.find(above)
        assert isinstance(folder, Folder), path
        return folder, name

    def rename(self, *steps: tuple[Folder, str, Node | None]) -> None:
        """Change names at once."""
        for folder, name, node in steps:
            if node is None:
                folder.entries.pop(name, None)
            else:
                folder.entries[name] = node
        self.changes.append(NameChange(list(steps)))

    def force(self, folder: Folder, changes: list[NameChange]) -> None:
        """Force those of the changes that concern a folder."""
        mine = {id(change) for change in changes if any(step[0] is folder for step in change.steps)}
        for change in self.changes:
            if id(change) in mine:
                for changed, name, node in change.steps:
                    _set(changed.durable, name, node)
        self.changes = [change for change in self.changes if id(change) not in mine]

    def state(self, names: str, data: str, rng: random.Random) -> State:
        """Return a state after a power cut.

        Args:
            names: changes of names that are kept, besides the forced ones: one of ``NAME_MODES``.
            data: writes that are kept: one of ``DATA_MODES``.
            rng: source of the random choices.
        """
        kept = self.changes if names == "all" else []
        if names == "prefix":
            kept = self.changes[: rng.randint(0, len(self.changes))]
        elif names == "subset":
            kept = [change for change in self.changes if rng.random() < 0.5]
        entries: dict[int, dict[str, Node]] = {}
        for change in kept:
            for folder, name, node in change.steps:
                _set(entries.setdefault(id(folder), dict(folder.durable)), name, node)
        files: dict[str, bytes] = {}
        folders: list[str] = []
        digest = hashlib.blake2b(digest_size=16)

        def walk(folder: Folder, path: str, above: tuple[int, ...]) -> None:
            there = entries.get(id(folder), folder.durable)
            for name in sorted(there):
                node, own = there[name], path + name
                digest.update(own.encode() + b"\0")
                if isinstance(node, Folder):
                    if id(node) in above:  # kept by halves, a folder would lie in itself
                        continue
                    folders.append(own)
                    walk(node, own + "/", (*above, id(node)))
                else:
                    files[own], own_digest = node.after_cut(data, rng)
                    digest.update(own_digest)

        walk(self.root, "", (id(self.root),))
        return State(files, folders, digest.digest())

    def states(self, rng: random.Random, draws: int) -> Iterator[State]:
        """Yield states that a power cut may leave now: the four extremes, and random ones.

        Args:
            rng: source of the random choices.
            draws: number of random states for each of ``RANDOM_MODES``.
        """
        for names, data in FIXED_MODES:
            yield self.state(names, data, rng)
        for _ in range(draws):
            for names, data in RANDOM_MODES:
                yield self.state(names, data, rng)

    def seen(self) -> dict[str, bytes]:
        """Return the files as programs see them."""
        files: dict[str, bytes] = {}

        def walk(folder: Folder, path: str) -> None:
            for name, node in folder.entries.items():
                if isinstance(node, Folder):
                    walk(node, f"{path}{name}/")
                else:
                    files[path + name] = bytes(node.content)

        walk(self.root, "")
        return files


def _set(entries: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


@dataclass
class Opened:
    """An open file: its node (None: outside the replayed folder), its path and its position."""

    node: Node | None
    path: str
    position: int = 0
    append: bool = False


@dataclass
class Step:
    """One call that changes the disk, or a mark: a line on standard output."""

    call: str
    path: str
    mark: str = ""


Forgets = Callable[[str, str], bool]
"""(call, path below the root) -> True for a sync that shall count for nothing, as if the code had forgotten it."""


@dataclass
class Replay:
    """The calls of a trace, carried out on a disk one after the other."""

    trace: Path
    root: Path
    disk: Disk
    forgets: Forgets = lambda call, path: False
    opened: dict[tuple[int, int], Opened] = field(default_factory=dict)
    group: dict[int, int] = field(default_factory=dict)
    """Thread -> process, which owns the open files."""

    def steps(self) -> Iterator[Step]:
        """Carry out the calls, and yield after each one that changes the disk, and at each mark."""
        self.base = os.path.realpath(self.root) + "/"
        unfinished: dict[int, tuple[str, object]] = {}
        with self.trace.open("r", encoding="ascii", errors="replace") as lines:
            for line in lines:
                thread, _, text = line.rstrip("\n").partition(" ")
                text, process = text.lstrip(), int(thread)
                self._know(process, unfinished)
                begun: object = None
                if text.endswith("<unfinished ...>"):
                    text = text[: -len("<unfinished ...>")]
                    unfinished[process] = (text, self._begin(process, text))
                    continue
                if text.startswith("<... "):
                    before, begun = unfinished.pop(process)
                    text = before + text.partition("resumed>")[2]
                    begun = begun or ()
                match = _CALL.match(text)
                if match is None or match["result"].startswith(("-1", "?")):
                    continue
                call = match["call"]
                if begun is None and call in ("fsync", "fdatasync"):
                    begun = self._begin(process, text)
                yield from self._carry_out(process, call, match["arguments"], match["result"], begun)

    def _begin(self, process: int, text: str) -> object:
        """Return the changes that a sync forces: those before it began."""
        if not text.startswith(("fsync(", "fdatasync(")):
            return None
        opened = self._opened(process, text.partition("(")[2])
        if isinstance(opened.node, File):
            return opened.node.num_forced + len(opened.node.pending)
        return list(self.disk.changes)

    def _know(self, thread: int, unfinished: dict[int, tuple[str, object]]) -> None:
        """Find the process of a thread whose first call is in the trace before the end of the call that made it."""
        if thread in self.group:
            return
        for parent, (text, _) in unfinished.items():
            if text.startswith(_CLONES):
                self._forked(parent, thread, is_thread="CLONE_THREAD" in text)
                return
        self.group[thread] = thread

    def _opened(self, process: int, argument: str) -> Opened:
        number = int(re.match(r"\d+", argument)[0])  # type: ignore[index]
        key = (self.group[process], number)
        if key not in self.opened:
            path = _text(argument.partition("<")[2].rpartition(">")[0].split(">")[0]) if "<" in argument else ""
            below = self._below(path)
            self.opened[key] = Opened(None if below is None else self.disk.find(below), path)
        return self.opened[key]

    def _below(self, path: str) -> str | None:
        """Return a path below the root; None for a path outside it, and for files that are not replayed."""
        if (path + "/") == self.base:
            return ""
        if not path.startswith(self.base) or path.endswith(IGNORED):
            return None
        return path[len(self.base) :]

    def _path(self, folder: str, name: str) -> str:
        """Return the whole path of a (folder argument, name argument) pair."""
        above = _text(folder.partition("<")[2].rstrip(">"))
        return os.path.normpath(os.path.join(above, _text(name)))

    def _carry_out(self, process: int, call: str, arguments: str, result: str, begun: object) -> Iterator[Step]:
        if call.startswith(_CLONES):
            self._forked(process, int(result.split(maxsplit=1)[0]), is_thread="CLONE_THREAD" in arguments)
        elif call in ("open", "openat", "creat"):
            yield from self._open(process, arguments, result)
        elif call.startswith("dup"):
            new = int(re.match(r"\d+", result)[0])  # type: ignore[index]
            self.opened[self.group[process], new] = self._opened(process, arguments)
        elif call == "close":
            self.opened.pop((self.group[process], int(re.match(r"\d+", arguments)[0])), None)  # type: ignore[index]
        elif call in _ON_OPENED:
            yield from self._on_opened(self._opened(process, arguments), process, call, arguments, result, begun)
        else:
            yield from self._names(call, _split(arguments))

    def _forked(self, parent: int, child: int, *, is_thread: bool) -> None:
        if child in self.group:
            return
        self.group[child] = self.group[parent] if is_thread else child
        if is_thread:
            return
        for (process, number), opened in list(self.opened.items()):
            if process == self.group[parent]:
                self.opened[child, number] = opened

    def _open(self, process: int, arguments: str, result: str) -> Iterator[Step]:
        number, _, path_text = result.partition("<")
        path = _text(path_text.split(">")[0])
        below, node = self._below(path), None
        changed = False
        if below is not None:
            node = self.disk.find(below)
            if node is None:
                folder, name = self.disk.parent(below)
                node, changed = File(), True
                self.disk.rename((folder, name, node))
            if "O_TRUNC" in arguments and isinstance(node, File) and node.content:
                node.change(0, None)
                changed = True
        opened = Opened(node, path, append="O_APPEND" in arguments)
        self.opened[self.group[process], int(number)] = opened
        if changed:
            yield Step("open", below or "")

    def _on_opened(
        self, opened: Opened, process: int, call: str, arguments: str, result: str, begun: object
    ) -> Iterator[Step]:
        path = self._below(opened.path)
        if call == "lseek":
            opened.position = int(result)
        elif call in ("fsync", "fdatasync"):
            if opened.node is None or self.forgets(call, path or ""):
                return
            if isinstance(opened.node, File):
                opened.node.force(begun)  # type: ignore[arg-type]
            else:
                self.disk.force(opened.node, begun)  # type: ignore[arg-type]
            yield Step(call, path or "")
        elif call == "ftruncate":
            if isinstance(opened.node, File):
                opened.node.change(int(_split(arguments)[1]), None)
                yield Step(call, path or "")
        elif call == "fallocate":
            _, mode, offset, length = _split(arguments)
            if isinstance(opened.node, File) and mode == "0" and int(offset) + int(length) > len(opened.node.content):
                opened.node.change(int(offset) + int(length), None)
                yield Step(call, path or "")
        else:
            pieces = [arguments] if call in ("writev", "pwritev") else _split(arguments)
            yield from self._written(opened, process, call, pieces, int(result.split(maxsplit=1)[0]))

    def _written(self, opened: Opened, process: int, call: str, arguments: list[str], length: int) -> Iterator[Step]:
        if call in ("sendfile", "copy_file_range"):
            source = self._opened(process, arguments[1 if call == "sendfile" else 0])
            opened = self._opened(process, arguments[0 if call == "sendfile" else 2])
            given = re.match(r"\[(\d+)\]", arguments[2 if call == "sendfile" else 1])
            start = int(given[1]) if given else source.position
            whole = bytes(source.node.content) if isinstance(source.node, File) else Path(source.path).read_bytes()
            data = whole[start : start + length]
            if given is None:
                source.position += length
        elif call in ("writev", "pwritev"):
            data = b"".join(_bytes(piece) for piece in re.findall(r'iov_base="([^"]*)"', arguments[0]))[:length]
        else:
            data = _bytes(arguments[1])[:length]
        if opened.node is None:
            if self._below(opened.path) is None and arguments[0].startswith("1<"):
                for line in data.decode().splitlines():
                    yield Step("mark", "", line)
            return
        assert isinstance(opened.node, File)
        if call in ("pwrite64", "pwritev"):
            offset = int(arguments[-1].rpartition(",")[2])
        else:
            offset = len(opened.node.content) if opened.append else opened.position
            opened.position = offset + len(data)
        if data:
            opened.node.change(offset, data)
            yield Step(call, self._below(opened.path) or "")

    def _names(self, call: str, arguments: list[str]) -> Iterator[Step]:
        if call in ("renameat", "renameat2", "linkat"):
            old, new = self._path(*arguments[:2]), self._path(*arguments[2:4])
        elif call in ("rename", "link"):
            old, new = self._path("", arguments[0]), self._path("", arguments[1])
        else:
            is_at = call in ("mkdirat", "unlinkat")
            old = new = self._path(arguments[0], arguments[1]) if is_at else self._path("", arguments[0])
        source, target = self._below(old), self._below(new)
        if target is None and source is None:
            return
        if source is None or target is None:
            raise AssertionError(f"{call} moves a name out of or into the replayed folder: {old}, {new}")
        folder, name = self.disk.parent(target)
        if call.startswith("mkdir"):
            self.disk.rename((folder, name, Folder()))
        elif call.startswith(("unlink", "rmdir")):
            self.disk.rename((folder, name, None))
        elif call.startswith("link"):
            self.disk.rename((folder, name, self.disk.find(source)))
        elif call == "truncate":
            node = self.disk.find(target)
            assert isinstance(node, File)
            node.change(int(arguments[1]), None)
        elif call.startswith("rename"):
            before = self.disk.parent(source)
            other = self.disk.find(target) if "RENAME_EXCHANGE" in arguments[-1] else None
            self.disk.rename((*before, other), (folder, name, self.disk.find(source)))
        else:
            raise AssertionError(f"{call} is not replayed.")
        yield Step(call, target)


_CALL = re.compile(r"(?P<call>\w+)\((?P<arguments>.*)\)\s+= (?P<result>.*)$", re.DOTALL)
_CLONES = ("clone", "fork", "vfork")
_WRITES = ("write", "writev", "pwrite64", "pwritev", "sendfile", "copy_file_range")
_ON_OPENED = frozenset({*_WRITES, "lseek", "ftruncate", "fallocate", "fsync", "fdatasync"})


def _split(arguments: str) -> list[str]:
    """Split arguments at commas outside brackets; strings are in hexadecimal and hold no comma."""
    pieces, depth, start = [], 0, 0
    if "[" not in arguments and "{" not in arguments:
        return [piece.strip() for piece in arguments.split(",")]
    for n, letter in enumerate(arguments):
        if letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            pieces.append(arguments[start:n].strip())
            start = n + 1
    return [*pieces, arguments[start:].strip()]


def _bytes(literal: str) -> bytes:
    return bytes.fromhex(literal.strip('"').replace("\\x", ""))


def _text(literal: str) -> str:
    literal = literal.strip('"')
    return os.fsdecode(_bytes(literal)) if literal.startswith("\\x") else literal
