"""Files that are there whole or not at all: written beside, forced to disk, renamed over what was there."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def write(path: Path, pieces: Iterable[Any], *, keep: Path | None = None) -> None:
    """Replaces a file by ``pieces`` (bytes, or anything with a buffer): a crash or a power cut at any moment leaves
    the old file or the new one, and once this returns the new one stays.

    With ``keep`` the old file goes on under that name; for a moment it is the only one. OSError where the disk
    refuses: then the old file is what it was.
    """
    make_folder(path.parent)
    fresh = path.with_name(path.name + ".writing")
    try:
        with open(fresh, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise
    if keep is not None and path.exists():
        os.replace(path, keep)
    os.replace(fresh, path)
    fsync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; each one's name is forced to disk, or a power cut would take it away with
    all that is in it."""
    if not folder.exists():
        make_folder(folder.parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
        fsync_folder(folder.parent)


def fsync_folder(path: Path) -> None:
    """Forces a file, or a folder's names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
