"""Space for the event log: a part of the disk that stays free, and an optional largest size of the log."""

import os
from pathlib import Path

MB = 1_000_000
_SMALL_DISK = 20
"""At most one part in this number of a disk is kept free: a small disk is not full from the beginning."""


class DiskQuota:
    """Limit of the event log, checked before each commit: two calls of the file system, about 5 us."""

    def __init__(self, path: Path, *, min_free_mb: int = 0, max_log_mb: int | None = None) -> None:
        """Make a limit.

        Args:
            path: the event log.
            min_free_mb: megabytes of the disk that stay free, at most a twentieth of the disk.
            max_log_mb: largest size of the log, megabytes; None: no limit.
        """
        self._path = path
        self._min_free_bytes = min_free_mb * MB
        self._max_log_bytes = None if max_log_mb is None else max_log_mb * MB

    def refusal(self) -> str | None:
        """Return the sentence that refuses further events; None while there is space."""
        if self._max_log_bytes is not None and self.log_bytes() >= self._max_log_bytes:
            return (
                f"The event log has reached its largest size of {self._max_log_bytes // MB} MB, nothing was stored: "
                "the operator has to raise --max-log-mb or to erase events. Send the events again later."
            )
        if self._min_free_bytes:
            try:
                disk = os.statvfs(self._path.parent)
            except OSError:
                return None  # the commit meets the same disk, and reports its error
            least = min(self._min_free_bytes, disk.f_blocks * disk.f_frsize // _SMALL_DISK)
            if disk.f_bavail * disk.f_frsize < least:
                return (
                    f"The disk of the event log has less than {least / MB:.3g} MB free, nothing was stored: "
                    "the operator has to free space. Send the events again later."
                )
        return None

    def log_bytes(self) -> int:
        """Return the size of the log with its write-ahead log, in bytes."""
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += os.stat(f"{self._path}{suffix}").st_size
            except FileNotFoundError:
                continue
        return total
