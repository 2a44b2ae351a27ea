"""Mark of a folder that a process uses, such as a model that a server follows: a locked file beside the folder.

The kernel drops the lock with the process, so a crash leaves a file that means nothing. A server that may not write
beside the folder leaves no mark.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def _mark(folder: Path) -> Path:
    folder = Path(os.path.abspath(folder))
    return folder.with_name(f".{folder.name}.in-use")


@contextmanager
def mark_in_use(folder: Path) -> Iterator[None]:
    """Mark a folder as used until the end; several processes may mark it.

    Args:
        folder: the folder, which may be replaced meanwhile.
    """
    path, handle = _mark(folder), None
    with suppress(OSError):
        while handle is None:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            fcntl.flock(handle, fcntl.LOCK_SH)
            if not _is_at(path, handle):  # the last user has removed it in between
                os.close(handle)
                handle = None
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):  # an error: another process uses the folder too
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, handle):
                    path.unlink()
            os.close(handle)


def is_in_use(folder: Path) -> bool:
    """Return True while a process has marked the folder."""
    try:
        handle = os.open(_mark(folder), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
