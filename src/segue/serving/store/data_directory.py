"""The data directory: one owner at a time."""

import fcntl
import os
from pathlib import Path


class DataDirectory:
    """Holds a directory's lock until ``release``, or until the process ends, however it ends.

    The kernel drops the lock with the process, so that nothing has to be cleaned up after a crash; the process
    number in the file is only for the sentence that a second owner reads.
    """

    def __init__(self, path: Path) -> None:
        """Makes the directory where it does not exist. ValueError when another process owns it."""
        self.path = Path(path)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise ValueError(
                f"{self.path} is in use by process {holder}: stop that server, or choose another data directory."
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets the next owner in."""
        os.close(self._handle)
