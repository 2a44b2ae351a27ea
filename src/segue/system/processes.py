"""Parent and state of processes: a child that ends with its parent, and processes that were stopped by a signal."""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Request that the kernel kills this process when the thread that started it ends, even while it is stopped.

    Linux only; elsewhere a child has to notice a closed pipe or socket.

    Args:
        parent: process number of the parent. If it has already ended, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped by SIGSTOP; False where its state cannot be read (not Linux)."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] == "T"
        )
    except (OSError, IndexError):
        return False
