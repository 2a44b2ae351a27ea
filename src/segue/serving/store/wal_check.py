"""Check of a write-ahead log before SQLite opens it: committed pages that SQLite would drop without an error.

SQLite reads a write-ahead log up to the first page with a wrong checksum. After a crash that is the end of an
interrupted write. After a flipped bit it is the loss of every later commit. Format: sqlite.org/fileformat2.html,
section 4; index header: sqlite.org/walformat.html, section 2.1.
"""

import shutil
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segue.system import atomic_files

_HEADER, _FRAME_HEADER = 32, 24
_MAGIC = {0x377F0682: "<u4", 0x377F0683: ">u4"}
"""First word of a log, with the byte order in which its checksums read a page."""
_VERSION = 3007000
_CHUNK_FRAMES = 2048
_ASSUMED_PAGE_BYTES = 4096
"""Page size for counting the pages of a log whose header is unreadable, in bytes."""


class _Index(NamedTuple):
    """State of the log according to the index file, which survives the death of a process but not a power cut."""

    salts: bytes
    committed: int
    """Pages of the log up to its last commit."""
    merged: int
    """Pages of the log that are in the database file already."""


def unread_pages(database: Path) -> int:
    """Return the number of pages of a database's write-ahead log that may be committed, and that SQLite will not read.

    Args:
        database: the database file; no process has it open.
    """
    index = _read_index(database.with_name(database.name + "-shm"))
    path = database.with_name(database.name + "-wal")
    size = path.stat().st_size if path.is_file() else 0
    if size < _HEADER:
        return 0 if index is None else index.committed - index.merged
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    magic, version, page_bytes = struct.unpack(">3I", header[:12])
    words = np.frombuffer(header[:24], _MAGIC.get(magic, "<u4")).astype(np.uint32)[None]
    checksum = _checksums(words, np.zeros((1, 2), np.uint32))[0]
    if magic not in _MAGIC or version != _VERSION or tuple(checksum) != struct.unpack(">2I", header[24:]):
        in_file = -(-(size - _HEADER) // (_ASSUMED_PAGE_BYTES + _FRAME_HEADER))
        return in_file if index is None else index.committed - index.merged
    return _unread_frames(path, header, page_bytes, index)


def keep_copy(database: Path) -> str:
    """Copy a write-ahead log before SQLite overwrites it, and return a sentence about the copy.

    Args:
        database: the database file.
    """
    copy = database.with_name(database.name + "-wal.unread")
    try:
        shutil.copyfile(database.with_name(database.name + "-wal"), copy)
        atomic_files.fsync_folder(copy)
    except OSError as error:
        return f"The unread log cannot be kept ({error.strerror})."
    return f"The unread log is kept as {copy.name}."


def remove_copy(database: Path) -> None:
    """Delete a kept write-ahead log, which may hold events of an erased user."""
    database.with_name(database.name + "-wal.unread").unlink(missing_ok=True)


def _unread_frames(path: Path, header: bytes, page_bytes: int, index: _Index | None) -> int:
    frame_bytes = _FRAME_HEADER + page_bytes
    whole, rest = divmod(path.stat().st_size - _HEADER, frame_bytes)
    salts, order = header[16:24], _MAGIC[struct.unpack(">I", header[:4])[0]]
    before = np.frombuffer(header[24:32], ">u4").astype(np.uint32)
    valid = committed = beyond = 0
    is_prefix = True
    with open(path, "rb") as file:
        file.seek(_HEADER)
        for first in range(0, whole, _CHUNK_FRAMES):
            count = min(_CHUNK_FRAMES, whole - first)
            frames = np.frombuffer(file.read(count * frame_bytes), np.uint8).reshape(count, frame_bytes)
            stored = np.ascontiguousarray(frames[:, 16:24]).view(">u4").astype(np.uint32)
            content = np.concatenate([frames[:, :8], frames[:, _FRAME_HEADER:]], axis=1)
            starts = np.concatenate([before[None], stored[:-1]])
            is_chained = (_checksums(content.view(order), starts) == stored).all(axis=1)
            is_of_log = (frames[:, 8:16] == np.frombuffer(salts, np.uint8)).all(axis=1)
            is_commit = (frames[:, 4:8] != 0).any(axis=1)
            before = stored[-1]
            for chained, of_log, commit in zip(is_chained, is_of_log, is_commit, strict=True):
                if is_prefix and chained and of_log:
                    valid += 1
                    committed = valid if commit else committed
                    continue
                # A frame with other salts is left over from an earlier log, unless its checksum continues this one.
                beyond += bool(of_log or (is_prefix and chained))
                is_prefix = False
    if index is not None and index.salts == salts and index.committed >= committed:
        return index.committed - committed
    return beyond + bool(rest)


def _checksums(words: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the checksums [N, 2] of rows of words [N, 2W], each begun with the checksum before it [N, 2]."""
    columns = np.ascontiguousarray(words.astype(np.uint32).T)
    first, second = starts[:, 0].copy(), starts[:, 1].copy()
    for even, odd in zip(columns[::2], columns[1::2], strict=True):
        first += even + second
        second += odd + first
    return np.stack([first, second], axis=1)


def _read_index(path: Path) -> _Index | None:
    """Return the state in an index file; None if there is no sound one."""
    try:
        raw = path.read_bytes()[:136]
    except OSError:
        return None
    if len(raw) < 136 or raw[:48] != raw[48:96]:
        return None
    checksum = _checksums(np.frombuffer(raw[:40], np.uint32)[None], np.zeros((1, 2), np.uint32))[0]
    fields: tuple[Any, ...] = struct.unpack("=3I2BH2I", raw[:24])
    if tuple(checksum) != struct.unpack("=2I", raw[40:48]) or fields[0] != _VERSION or not fields[3]:
        return None
    committed, merged = fields[6], struct.unpack("=I", raw[96:100])[0]
    return _Index(raw[32:40], committed, min(merged, committed))
