"""Atomic file writes: a temporary file is written, synced to disk, and renamed over the old file."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def write(path: Path, pieces: Iterable[Any], *, keep: Path | None = None, mode: int | None = None) -> None:
    """Replace a file atomically: a crash or a power cut leaves the old file or the new one.

    The new file is on disk when this returns.

    Args:
        path: file to replace; missing folders are made.
        pieces: content in order: bytes, or objects with a buffer.
        keep: new name of the old file, which for an instant is the only file; None: the old file is deleted.
        mode: permissions of the file, set before its content is written; None: those of the process.

    Raises:
        OSError: the disk refuses; the old file is unchanged.
    """
    make_folder(path.parent)
    temporary = path.with_name(path.name + ".writing")
    try:
        with open(temporary, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if keep is not None and path.exists():
        os.replace(path, keep)
    os.replace(temporary, path)
    fsync_folder(path.parent)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and its parents, and sync each name to disk: a power cut would remove an unsynced folder with all
    its files.

    Args:
        folder: the folder.
        mode: permissions of the folder itself; its parents get the usual ones.
    """
    if not folder.exists():
        make_folder(folder.parent)
        with suppress(FileExistsError):
            os.mkdir(folder, mode)
        fsync_folder(folder.parent)


def fsync_folder(path: Path) -> None:
    """Sync a file, or the names of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
