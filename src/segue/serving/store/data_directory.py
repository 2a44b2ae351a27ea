"""Data directory of a server, locked by one owner at a time."""

import fcntl
import os
from pathlib import Path


class DataDirectory:
    """Exclusive lock on a directory, held until ``release`` or the end of the process.

    The kernel drops the lock with the process, so a crash leaves nothing to clean up. The process number in the lock
    file is used only in the error message for a second owner.
    """

    def __init__(self, path: Path) -> None:
        """Lock a directory, and make it first if it does not exist.

        Raises:
            ValueError: another process holds the lock.
        """
        self.path = Path(path)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise ValueError(
                f"{self.path} is in use by process {owner}: stop that server, or choose another data directory."
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._handle)
