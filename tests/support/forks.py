"""Child processes by fork, from a test program that has done its imports: a start costs milliseconds."""

import os
import sys
from collections.abc import Callable


def start(work: Callable[[], None]) -> int:
    """Start ``work`` in a process of its own and return the process's number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    """Wait for a process and return its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(work: Callable[[], None]) -> int:
    """Run ``work`` in a process of its own and return its exit code, or minus the signal that ended it."""
    return exit_code(start(work))
