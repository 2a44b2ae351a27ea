"""Memory and time of `segue train` on a log with robots of 25,000 events on as many items, beside 500 visitors.

    python benchmarks/robots.py [--events 25000] [--robots 1,10] [--models item-knn,covisit,...]

Writes benchmarks/results/robots.json. A model above 1 GB, or with one robot above 60 s, ends with exit code 1. EASE
inverts a matrix of all items: it is measured with 9,000 of them, and its time has no limit. About 15 minutes on an idle
core.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import about, save

MODELS = "item-knn,popularity,trend,markov,covisit,spectral,session-knn,user-knn,vsknn,vstan,ials,bpr,fpmc,ease"
MAX_MB, MAX_S = 1000, 60
EASE_EVENTS = 9000


def write_log(path: Path, events: int, robots: int, seed: int) -> None:
    """Write a log of robots and 500 visitors with six events each.

    Args:
        path: the CSV file.
        events: number of a robot's events, each on another item.
        robots: number of robots, each with an order of its own.
        seed: random seed.
    """
    draw = random.Random(seed)
    with path.open("w", encoding="ascii") as file:
        file.write("user,item,time\n")
        for robot in range(robots):
            for step, j in enumerate(draw.sample(range(events), events) if robot else range(events)):
                file.write(f"robot{robot},i{j},{1_600_000_000 + step * 30}\n")
        for user in range(500):
            first = draw.randrange(events - 100)
            for step in range(6):
                file.write(f"u{user},i{first + step},{1_600_000_000 + draw.randrange(events * 30)}\n")


def measure(log: Path, model: str, folder: Path) -> dict[str, Any]:
    """Train a model in a process of its own, and return its exit code, peak memory and time.

    Args:
        log: the log.
        model: name of the model.
        folder: folder for the model and the messages.
    """
    command = [sys.executable, "-m", "segue", "train", str(log), "--model", model, "--out", str(folder / model)]
    started_s = time.perf_counter()
    with (folder / f"{model}.txt").open("w+") as output:
        pid = os.posix_spawn(
            sys.executable,
            command,
            {**os.environ, "OMP_NUM_THREADS": "1"},
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), number) for number in (1, 2)],
        )
        _, status, usage = os.wait4(pid, 0)
        output.seek(0)
        warnings = [line.strip() for line in output if line.startswith(("WARNING", "segue:"))]
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "peak_mb": round(usage.ru_maxrss * 1024 / 1e6),
        "seconds": round(time.perf_counter() - started_s, 1),
        "messages": warnings,
    }


def main() -> int:
    """Measure the models, write the result and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=25_000)
    parser.add_argument("--robots", default="1,10", help="numbers of robots, one log each")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for robots in map(int, options.robots.split(",")):
            for model in options.models.split(","):
                events = min(options.events, EASE_EVENTS) if model == "ease" else options.events
                write_log(folder / "log.csv", events, robots, options.seed)
                row = {"robots": robots, "events": events, **measure(folder / "log.csv", model, folder)}
                rows[f"{model}, {robots}"] = row
                print(model, row, file=sys.stderr)
    save("robots", {"about": about(options.seed), "limits": {"peak_mb": MAX_MB, "seconds": MAX_S}, "models": rows})
    wrong = [
        name
        for name, row in rows.items()
        if row["exit"]
        or row["peak_mb"] > MAX_MB
        or (row["seconds"] > MAX_S and row["robots"] == 1 and not name.startswith("ease"))
    ]
    print(f"above the limits: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
