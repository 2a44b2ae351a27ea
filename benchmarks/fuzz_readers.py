"""Fuzz of the readers with harmed files of every format and with built tables: no traceback, no row unaccounted for.

    python benchmarks/fuzz_readers.py [--files 20000] [--seed 0] [--processes 2]

Writes benchmarks/results/fuzz-readers.json; a failure ends with exit code 1. About 30 ms for each file on an idle core.
"""

import argparse
import os
import resource
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from machine import about, save

CHUNK = 250
MEMORY_BYTES = 8 << 30
"""Address space of a process: a damaged length must not take all memory. The libraries reserve 2.5 GB of it."""
SHOWN = 20


def start_worker() -> None:
    """Limit the memory of a process, and drop the messages that a panic of a library prints."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def read_chunk(first: int, count: int, seed: int) -> dict[str, Any]:
    """Read some harmed files in this process."""
    from tests.support import reader_fuzz

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        return reader_fuzz.run(Path(folder), first, count, seed)


def run_chunk(first: int, count: int, seed: int) -> list[dict[str, Any]]:
    """Read a chunk in a process of its own; where it dies, read the halves, so that the file is known."""
    with ProcessPoolExecutor(1, get_context("spawn"), start_worker) as pool:
        try:
            return [pool.submit(read_chunk, first, count, seed).result()]
        except BrokenProcessPool:
            print(f"a process died among the {count} files from {first}", file=sys.stderr, flush=True)
    if count == 1:
        failure = {"file": first, "problem": "the process died"}
        return [{"by_format": {"?": {"files": 1, "failed": 1}}, "failures": [failure]}]
    half = count // 2
    return run_chunk(first, half, seed) + run_chunk(first + half, count - half, seed)


def run_chunks(starts: list[tuple[int, int]], seed: int, processes: int) -> list[dict[str, Any]]:
    """Read chunks side by side.

    Args:
        starts: (first file, number of files) of each chunk.
        seed: random seed.
        processes: number of processes at a time.
    """
    results: list[dict[str, Any]] = []
    with ThreadPoolExecutor(processes) as threads:
        for found in threads.map(lambda chunk: run_chunk(*chunk, seed), starts):
            results += found
            for failure in (failure for result in found for failure in result["failures"]):
                print(failure, file=sys.stderr, flush=True)
            failures = sum(len(result["failures"]) for result in results)
            files = sum(counts["files"] for result in results for counts in result["by_format"].values())
            print(f"{files} files, {failures} failures", file=sys.stderr, flush=True)
    return results


def main() -> int:
    """Read the files, write the result and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="number of harmed files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    starts = [(first, min(CHUNK, options.files - first)) for first in range(0, options.files, CHUNK)]
    results = run_chunks(starts, options.seed, options.processes)
    totals: Counter[str] = Counter()
    by_format: dict[str, Counter[str]] = {}
    for result in results:
        for name, counts in result["by_format"].items():
            by_format.setdefault(name, Counter()).update(counts)
            totals.update(counts)
    failures = [failure for result in results for failure in result["failures"]]
    accounted = sum(totals[name] for name in ("kept", "filtered_out", "rejected", "removed"))
    summary = {
        "files": totals["files"],
        "read": totals["read"],
        "refused in a sentence": totals["refused"],
        "tracebacks": totals["failed"],
        "files whose rows were also counted apart": totals["counted"],
        "items and users tables read": totals["tables"],
        "rows read": totals["rows_read"],
        "rows unaccounted for": totals["rows_read"] - accounted,
        "failures": len(failures),
    }
    formats = {name: dict(counts) for name, counts in sorted(by_format.items())}
    result = {"about": about(options.seed), **summary, "by_format": formats, "first_failures": failures[:SHOWN]}
    save("fuzz-readers", result)
    print(summary)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
