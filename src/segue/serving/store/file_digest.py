"""Digest of a database file, written at a clean stop and compared at the next start: the file did not change between.

SQLite detects some flipped bits of a file at rest and returns wrong rows for others. After a crash there is no digest,
because SQLite writes pages until the end; the caller then checks the file's structure instead.
"""

import os
import zlib
from contextlib import suppress
from pathlib import Path

from segue.system import atomic_files

MAX_BYTES = 4 << 30
"""Largest file with a digest, in bytes: reading a larger one would delay a start for seconds."""
_CHUNK = 1 << 20


def digest_path(path: Path) -> Path:
    """Return the path of a file's digest."""
    return path.with_name(path.name + ".crc")


def write_digest(path: Path) -> None:
    """Write the digest of a closed database file beside it, twice. A disk that refuses leaves no digest."""
    with suppress(OSError):
        if path.stat().st_size <= MAX_BYTES:
            atomic_files.write(digest_path(path), [2 * f"{_digest(path)}\n".encode()])


def matches_digest(path: Path) -> bool | None:
    """Return whether a file is the one that was closed; None without a digest."""
    try:
        first, second = digest_path(path).read_bytes().splitlines()
    except (OSError, ValueError):
        return None
    if first != second:
        return None  # the digest itself is damaged
    try:
        return first == _digest(path).encode()
    except OSError:
        return False


def remove_digest(path: Path) -> None:
    """Remove the digest of a file that is about to change, durably."""
    try:
        os.unlink(digest_path(path))
    except FileNotFoundError:
        return
    atomic_files.fsync_folder(path.parent)


def _digest(path: Path) -> str:
    """Return the size and CRC-32 of a file, which detects every damage of up to 32 adjacent bits."""
    checksum = size = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
            size += len(chunk)
    return f"{size} {checksum:08x}"
