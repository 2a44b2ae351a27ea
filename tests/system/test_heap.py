"""Heap of the C library: few arenas however many threads there are, and freed pages go back."""

import ctypes
import subprocess
import sys

import pytest

from segue.system import heap

if not hasattr(ctypes.CDLL(None), "malloc_trim"):
    pytest.skip("this C library is not glibc", allow_module_level=True)

ARENAS = """
import ctypes, sys, tempfile, threading
from segue.system import heap
if sys.argv[1] == "limited":
    assert heap.limit_arenas()
together = threading.Barrier(6)
def allocate():
    together.wait()
    kept = [bytes(5_000) for _ in range(50)]
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(library.fopen(file.name.encode(), b"w"))
    library.malloc_info(0, stream)
    library.fclose(stream)
    print(file.read().count(b"<heap nr="))
"""


def num_arenas(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", ARENAS, word], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_process_with_many_threads_has_few_arenas() -> None:
    assert num_arenas("limited") <= heap.MAX_ARENAS < num_arenas("unlimited")


TRIM = """
from segue.system import heap
def resident():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0])
blocks = [bytes(20_000) for _ in range(4_000)]
kept = blocks[::100]
full = resident()
del blocks
freed = resident()
assert heap.trim_heap()
print(full, freed, resident(), len(kept))
"""


def test_freed_pages_between_used_ones_go_back() -> None:
    done = subprocess.run([sys.executable, "-c", TRIM], capture_output=True, text=True, check=True)
    full, freed, trimmed, _ = map(int, done.stdout.split())
    assert freed > 0.8 * full  # the pages stay with the process: without a trim there would be nothing to show
    assert trimmed < 0.5 * full
