"""Servers of two checkouts under the same load, in turns.

    python benchmarks/serving_pairs.py BEFORE_PYTHON AFTER_PYTHON

Each argument is the interpreter of an environment in which one checkout is installed. Each trains its own artifact
from one log (formats may differ), then both are served and loaded in turns, so that a machine that changes its speed
changes it for both. The result, benchmarks/results/serving-pairs.json, has the processor time of a response, p50 and
p99 of each turn, and the ratio of each pair.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, about
from serving_world import Server, free_port, load

ITEMS = 5000
MODELS = {"popularity": [], "gru4rec": ["--set", "epochs=1"]}


def write_log(path: Path, seed: int, *, users: int = 2000, length: int = 20) -> None:
    """Write a synthetic log: Zipf-distributed items, ``length`` events per user."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        for user in range(users):
            for event, item in enumerate(rng.zipf(1.3, length) % ITEMS):
                writer.writerow([f"u{user}", f"item-{item}", 1_700_000_000 + user * length + event])


def train(python: str, model: str, log: Path, out: Path) -> None:
    """Train a model with one checkout."""
    command = [python, "-m", "segue", "train", str(log), "--model", model, "--out", str(out), *MODELS[model]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def turn(python: str, run: Path, data: Path, kind: str, rate: float, seconds: float) -> dict[str, float]:
    """Serve an artifact with one checkout and load it once."""
    port = free_port()
    server = Server([python, "-m", "segue", "serve", str(run), "--data", str(data), "--port", str(port)], port)
    try:
        result = load(server, kind, rate, seconds, items=ITEMS)
    finally:
        server.end()
    return {name: result[name] for name in ("server_cpu_ms_per_response", "p50_ms", "p99_ms", "answered_per_s")}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rates", type=float, nargs="+", default=[250, 1000])
    parser.add_argument("--kinds", nargs="+", default=["history", "event fsync"])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    result: dict[str, Any] = {"about": about(options.seed), "seconds": options.seconds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_log(folder / "log.csv", options.seed)
        for model in MODELS:
            for side, python in (("before", options.before), ("after", options.after)):
                train(python, model, folder / "log.csv", folder / f"{side}-{model}")
            for kind in options.kinds:
                for rate in options.rates:
                    pairs = [
                        {
                            side: turn(
                                python,
                                folder / f"{side}-{model}",
                                folder / f"data-{side}-{number}",
                                kind,
                                rate,
                                options.seconds,
                            )
                            for side, python in (("before", options.before), ("after", options.after))
                        }
                        for number in range(options.pairs)
                    ]
                    ratios = [
                        pair["after"]["server_cpu_ms_per_response"] / pair["before"]["server_cpu_ms_per_response"]
                        for pair in pairs
                    ]
                    row = {"pairs": pairs, "cpu_ratio_median": round(statistics.median(ratios), 3)}
                    result[f"{model}, {kind}, {rate:g}/s"] = row
                    print(model, kind, rate, json.dumps(row), file=sys.stderr, flush=True)
    (RESULTS / "serving-pairs.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
