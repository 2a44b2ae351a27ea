"""How much memory a piece of work took at its peak."""

import resource
import sys
from pathlib import Path


def reset_peak() -> None:
    """Starts a new measurement, where the system can (Linux); elsewhere the peak is the whole process's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """The largest resident memory since the last reset, in MB (10**6 bytes), the interpreter included."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6, 1)
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
