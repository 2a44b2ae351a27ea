"""Peak memory of a measured section."""

import resource
import sys
from pathlib import Path


def reset_peak() -> None:
    """Start a new measurement. Only Linux can; elsewhere the peak is that of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """Return the largest resident memory since the last reset, in MB (10**6 bytes), with the interpreter."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6, 1)
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
