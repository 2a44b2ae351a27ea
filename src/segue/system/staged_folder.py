"""Folders replaced as a whole: written under a hidden name, then renamed or exchanged with the old one.

A folder in work is locked, so that the remains of a killed process are recognized and removed.
"""

import ctypes
import errno
import fcntl
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segue.system.atomic_files import fsync_folder, make_folder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Make a hidden folder beside ``target``, locked, and remove it at the end unless it was put in place.

    Remains of killed processes are removed first.

    Args:
        target: the folder that is prepared.
    """
    make_folder(target.parent)
    remove_remains(target.parent, target.name)
    handle: int | None = None
    while handle is None:
        staged = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        os.mkdir(staged)  # not a tempfile: the server that reads the folder may run as another user
        handle = lock_folder(staged)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        os.close(handle)


def put_in_place(staged: Path, target: Path) -> None:
    """Rename a folder over another one: a crash or a power cut leaves the old folder or the new one.

    The old folder then has the name ``staged``. The files of ``staged`` must be on disk already. Where the file system
    cannot exchange two names, the old folder is renamed first, and a power cut in that instant leaves it as
    ``staged`` with "-old".

    Args:
        staged: the new folder.
        target: the folder to replace; it may be missing.
    """
    try:
        os.rename(staged, target)  # also over an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not exchange(staged, target):
            _replace_in_two_steps(staged, target)
    fsync_folder(target.parent)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; return False if the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, _RENAME_EXCHANGE)
        else:
            failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    except AttributeError:  # a C library without it
        return False
    number = ctypes.get_errno()
    if failed and number not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        raise OSError(number, os.strerror(number), str(other))
    return not failed


def _replace_in_two_steps(staged: Path, target: Path) -> None:
    old = staged.with_name(f"{staged.name}-old")
    os.rename(target, old)
    try:
        os.rename(staged, target)
    except BaseException:
        os.rename(old, target)
        raise
    os.rename(old, staged)


def lock_folder(folder: Path) -> int | None:
    """Lock a folder for this process until the returned descriptor is closed; the kernel unlocks it with the process.

    Returns:
        None if another process has it, or it is no longer at this path. A file system without locks grants it.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(folder)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        return handle
    os.close(handle)
    return None


def remove_remains(parent: Path, target: str | None = None) -> None:
    """Remove hidden folders whose process was killed.

    Args:
        parent: the folder that holds them.
        target: name of the folder that they were to replace; None: any.
    """
    names = ".+" if target is None else re.escape(target)
    with suppress(OSError):
        for name in os.listdir(parent):
            remains = re.fullmatch(rf"\.({names})-[0-9a-f]{{32}}(-old)?", name)
            if remains is not None and (remains[2] is None or (parent / remains[1]).exists()):
                _remove_if_unlocked(parent / name)


def _remove_if_unlocked(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error: in work, or a file system without locks
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
