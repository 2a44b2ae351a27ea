"""Two checkouts' trainings of the same log, in turns: processor and wall seconds of the whole command.

    python benchmarks/training_pairs.py BEFORE_PYTHON AFTER_PYTHON

Each argument is the interpreter of an environment in which one checkout is installed. Both train on the bundled log
with the same settings and seed; the metrics of both must be equal. Result: benchmarks/results/training-pairs.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import RESULTS, ROOT, about

LOG = ROOT / "src" / "segue" / "data" / "online_retail" / "events.csv.gz"
MODELS = {"covisit": [], "gru4rec": ["--set", "epochs=2"], "sasrec": ["--set", "epochs=2"]}


def train(python: str, model: str, folder: Path) -> dict[str, Any]:
    """Train once.

    Args:
        python: interpreter of the checkout.
        model: name of the model.
        folder: parent of the saved model's folder.

    Returns:
        processor seconds, wall seconds, ndcg@10 on the test cases.
    """
    out = folder / f"run-{time.monotonic_ns()}"
    command = [python, "-m", "segue", "train", str(LOG), "--model", model, "--out", str(out), "--seed", "1", "--json"]
    started, before = time.perf_counter(), os.times()
    done = subprocess.run([*command, *MODELS[model]], check=True, capture_output=True, text=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    wall_s = time.perf_counter() - started
    result = json.loads(done.stdout)
    metrics = result.get("metrics") or result["result"]["metrics"]
    return {"cpu_s": round(cpu_s, 2), "wall_s": round(wall_s, 2), "ndcg@10": metrics["ndcg@10"]}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    result: dict[str, Any] = {"about": about(1)}
    with tempfile.TemporaryDirectory() as name:
        for model in options.models:
            pairs = []
            for _ in range(options.pairs):
                sides = (("before", options.before), ("after", options.after))
                pairs.append({side: train(python, model, Path(name)) for side, python in sides})
            ratios = [pair["after"]["cpu_s"] / pair["before"]["cpu_s"] for pair in pairs]
            same = len({run["ndcg@10"] for pair in pairs for run in pair.values()}) == 1
            row = {"pairs": pairs, "cpu_ratio_median": round(statistics.median(ratios), 3), "metrics_equal": same}
            result[model] = row
            print(model, json.dumps(row), file=sys.stderr, flush=True)
    (RESULTS / "training-pairs.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
