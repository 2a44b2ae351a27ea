"""Data directory of a server, locked by one owner at a time."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from segue.serving.exit_codes import TemporaryError
from segue.system import atomic_files


class DataDirectory:
    """Exclusive lock on a directory, held until ``release`` or the end of the process.

    The kernel drops the lock with the process, so a crash leaves nothing to clean up. The process number in the lock
    file is used only in the error message for a second owner.
    """

    def __init__(self, path: Path) -> None:
        """Lock a directory, and make it first, durably, if it does not exist.

        Raises:
            TemporaryError: another process holds the lock.
            ValueError: the directory cannot be made or written.
        """
        self.path = Path(path)
        try:
            atomic_files.make_folder(self.path, 0o700)
            with suppress(PermissionError):  # a crash may have left it before its name was synced
                atomic_files.fsync_folder(self.path.absolute().parent)
            self._handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except (NotADirectoryError, FileExistsError, PermissionError) as error:
            raise ValueError(f"{self.path} cannot be used as a data directory: {error.strerror}.") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise TemporaryError(
                f"{self.path} is in use by process {owner}: stop that server, or choose another data directory."
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._handle)
