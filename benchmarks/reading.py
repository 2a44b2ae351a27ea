"""Speed and memory of reading a log of a million events: `python benchmarks/reading.py` (half a minute).

Each format is read in a process of its own, three times. Seconds are the median. Memory is the peak above the same
process before reading, divided by the size of the three raw columns in the Arrow layout.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from machine import about, save

EVENTS = 1_000_000
PROGRAM = """
import json, sys, time
from segue.system import memory_usage
from segue.data.readers.events import read_events
import polars, segue.data.readers.formats.file_formats, segue.data.readers.timestamps
memory_usage.reset_peak(); before = memory_usage.peak_mb()
started = time.perf_counter()
log = read_events(sys.argv[1])
seconds = time.perf_counter() - started
print(json.dumps({"events": len(log), "seconds": seconds, "peak_mb": memory_usage.peak_mb() - before}))
"""


def write(frame: pl.DataFrame, path: Path, format: str) -> None:
    """Write the log in one of the formats; the faulty one has a row that is too short.

    Args:
        frame: the log.
        path: file to write.
        format: name of the format.
    """
    if format == "parquet":
        frame.write_parquet(path)
    elif format == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path, compression="gzip" if format == "csv.gz" else "uncompressed")
    if format == "csv with a faulty row":
        with path.open("a", encoding="utf-8") as file:
            file.write("user-1,item-1\n")


def read(path: Path) -> dict[str, float]:
    """Return seconds and memory of one reading in a new process."""
    completed = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, check=True)
    result: dict[str, float] = json.loads(completed.stdout)
    return result


def main() -> None:
    """Measure every format and write the result."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user_id": [f"user-{n}" for n in rng.integers(0, 100_000, EVENTS)],
            "item_id": [f"item-{n}" for n in (20_000 * rng.random(EVENTS) ** 3).astype(int)],
            "timestamp": 1_700_000_000 + np.sort(rng.integers(0, 10_000_000, EVENTS)),
        }
    )
    raw_mb = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).nbytes / 1e6
    result = {"about": about(), "events": EVENTS, "raw_columns_mb": round(raw_mb, 1), "formats": {}}
    with tempfile.TemporaryDirectory() as folder:
        for format in ("parquet", "csv", "csv.gz", "csv with a faulty row", "jsonl"):
            path = Path(folder) / f"log.{format.split()[0]}"
            write(frame, path, format)
            runs = [read(path) for _ in range(3)]
            seconds = statistics.median(run["seconds"] for run in runs)
            peak = statistics.median(run["peak_mb"] for run in runs)
            result["formats"][format] = {
                "events_per_s": round(EVENTS / seconds),
                "peak_mb": round(peak, 1),
                "peak_over_raw": round(peak / raw_mb, 2),
            }
            print(format, result["formats"][format], file=sys.stderr)
    save("reading", result)


if __name__ == "__main__":
    main()
