"""Power cuts after every system call of event log, erasures, registry, artifact, checkpoint and first start.

python benchmarks/power_cut.py [--states 100000] [--workers 2]: records the work under strace, opens distinct states by
Segue's recovery code until their number is reached, and writes benchmarks/results/power-cut.json. Exit code 1 where a
promise is broken.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.power_cut_states import Found, Recording, explore_in_parts
from tests.support.power_cut_workloads import save_models

from machine import about, save

SHARES = {
    "events": 0.60,
    "erasures": 0.12,
    "restored-backup": 0.03,
    "backup": 0.02,
    "registry": 0.05,
    "artifact": 0.10,
    "checkpoint": 0.02,
    "first-start": 0.08,
}
"""Workload -> share of the states that is aimed at. The largest is the one with the most writes under way."""
STRIDES = 8
"""Rounds that together cut the power after each call; the next eight draw other states after the same calls."""


def main() -> None:
    """Open the states of every workload and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=100_000, help="distinct states to open")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--size", type=int, default=6, help="amount of recorded work")
    parser.add_argument("--draws", type=int, default=2, help="random states of each kind after a call, each round")
    options = parser.parse_args()
    logging.disable()  # a recovery states each part of a list that the power cut has taken
    began = time.perf_counter()
    result: dict[str, Any] = {"about": about(), "states": 0, "comparisons": 0, "lost": 0, "corrupt": 0, "workloads": {}}
    with tempfile.TemporaryDirectory(prefix="power-cut-") as folder:
        save_models(Path(folder) / "models")
        recording = Recording.make(Path(folder), list(SHARES), options.size)
        order = sorted(SHARES, key=lambda name: name == "events")  # the event log has states without end: it goes last
        for name in order:
            missing = options.states - result["states"]
            aim = missing if name == order[-1] else round(SHARES[name] * options.states)
            found, rounds, took_s = explored(recording, name, aim, options)
            row = {
                "calls": found.calls,
                "rounds": rounds,
                "states": len(found.digests),
                "comparisons": found.comparisons,
                "lost": found.lost,
                "corrupt": found.corrupt,
                "states_per_s": round(len(found.digests) / took_s),
                "faults": found.faults,
            }
            result["workloads"][name] = row
            for key in ("states", "comparisons", "lost", "corrupt"):
                result[key] += row[key]
            print(name, {key: value for key, value in row.items() if key != "faults"}, file=sys.stderr, flush=True)
            for fault in found.faults[:5]:
                print("  ", fault, file=sys.stderr, flush=True)
    result["took_s"] = round(time.perf_counter() - began, 1)
    save("power-cut", result)
    sys.exit(1 if result["lost"] or result["corrupt"] or result["states"] < options.states else 0)


def explored(recording: Recording, name: str, aim: int, options: argparse.Namespace) -> tuple[Found, int, float]:
    """Open states in rounds of other random choices, until the aim is reached or hardly any is new."""
    began, found, rounds, before = time.perf_counter(), Found(), 0, -1
    while len(found.digests) < aim:
        if rounds % STRIDES == 0:
            if len(found.digests) < 1.02 * before:
                break  # exhausted
            before = len(found.digests)
        stride = (rounds % STRIDES, STRIDES)
        found.add(
            explore_in_parts(recording, name, options.workers, stride, draws=options.draws, seed=rounds, known=found)
        )
        rounds += 1
    return found, rounds, time.perf_counter() - began


if __name__ == "__main__":
    main()
