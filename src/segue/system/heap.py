"""Heap of the C library (glibc): few arenas, and freed memory given back to the operating system.

glibc gives threads arenas of their own, up to eight for each core, and each arena keeps the pages that were freed
between pages in use. A server with a dozen threads, which loads versions and scores batches, grows for hours until all
of its arenas are as large as the largest need. With other C libraries the functions do nothing.
"""

import ctypes
import functools

_M_ARENA_MAX = -8
"""Parameter of mallopt(3)."""
MAX_ARENAS = 2
"""Arenas of a server process. The interpreter runs one thread at a time, so that threads hardly wait for an arena."""


def limit_arenas() -> bool:
    """Limit the arenas of this process to ``MAX_ARENAS``, before its threads start; return False without glibc."""
    try:
        return bool(_library().mallopt(_M_ARENA_MAX, MAX_ARENAS))
    except AttributeError:
        return False


def trim_heap() -> bool:
    """Give freed pages back to the operating system; return False without glibc. Takes milliseconds."""
    try:
        _library().malloc_trim(0)
    except AttributeError:
        return False
    return True


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
