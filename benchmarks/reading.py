"""How fast and in how much memory a log of a million events is read: `python benchmarks/reading.py` (half a minute).

Each format is read in a process of its own, three times; seconds are the median, memory is the peak above the same
process before it read, divided by the size of the three raw columns in Arrow's own layout.
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
WORK = """
import json, sys, time
from segue import memory
from segue.data.event_log import read_events
import polars, segue.data.readers.formats, segue.data.readers.data_frames, segue.data.readers.timestamps
memory.reset_peak(); before = memory.peak_mb()
started = time.perf_counter()
log = read_events(sys.argv[1])
seconds = time.perf_counter() - started
print(json.dumps({"events": len(log), "seconds": seconds, "peak_mb": memory.peak_mb() - before}))
"""


def write(frame: pl.DataFrame, path: Path, kind: str) -> None:
    """The same log in one of the formats; the faulty one has a row that is too short, and so is read with care."""
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path, compression="gzip" if kind == "csv.gz" else "uncompressed")
    if kind == "csv with a faulty row":
        with path.open("a", encoding="utf-8") as file:
            file.write("user-1,item-1\n")


def read(path: Path) -> dict[str, float]:
    """Seconds and memory of one reading in a fresh process."""
    done = subprocess.run([sys.executable, "-c", WORK, str(path)], capture_output=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
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
        for kind in ("parquet", "csv", "csv.gz", "csv with a faulty row", "jsonl"):
            path = Path(folder) / f"log.{kind.split()[0]}"
            write(frame, path, kind)
            runs = [read(path) for _ in range(3)]
            seconds = statistics.median(run["seconds"] for run in runs)
            peak = statistics.median(run["peak_mb"] for run in runs)
            result["formats"][kind] = {
                "events_per_s": round(EVENTS / seconds),
                "peak_mb": round(peak, 1),
                "peak_over_raw": round(peak / raw_mb, 2),
            }
            print(kind, result["formats"][kind], file=sys.stderr)
    save("reading", result)


if __name__ == "__main__":
    main()
