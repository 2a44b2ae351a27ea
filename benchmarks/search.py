"""Choice of settings on validation alone: `python benchmarks/search.py TASK [--seeds N] [--set NAME=VALUE ...]`.

Trains one model with the given settings on the training part of a published split, and evaluates it on every
validation case; no test case is scored. Each run is added to benchmarks/results/search-TASK.json, the record of all
tried settings.
"""

import argparse
import json
import sys
import time
from typing import Any

import torch

from accuracy import TASKS
from machine import RESULTS, about, save
from segue.config.decode import parse_assignments
from segue.evaluation.evaluate import evaluate
from segue.workflows.fit_model import fit_model
from segue.workflows.training_run import TrainingRun


def main() -> None:
    """Run the given settings for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--model", default="sasrec")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args()
    values = parse_assignments(options.sets)
    split = TASKS[options.task].split()
    for seed in range(options.seeds):
        row = run(split, options.model, values, seed)
        keep(options.task, row)
        print(json.dumps(row), flush=True)


def run(split: Any, model: str, values: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train a model and evaluate it on validation.

    Args:
        split: the split log.
        model: name of the model.
        values: settings.
        seed: random seed.
    """
    started = time.perf_counter()
    epoch = [0]

    def report(p: Any) -> None:
        if p.epoch != epoch[0]:
            epoch[0] = p.epoch
            line = f"{p.epoch} epochs, loss {p.loss:.3f}, validation {p.validation}, {p.events_per_s:.0f} events/s"
            print(line, file=sys.stderr, flush=True)

    fitted = fit_model(model, split, values, seed=seed, run=TrainingRun(progress=report))
    seconds = time.perf_counter() - started
    cases = fitted.with_target_times(split.validation)
    metrics = evaluate(fitted.scorer, cases, exclude_seen=split.exclude_seen, ks=(10, 20)).metrics
    rounded = {name: round(metrics[name], 5) for name in ("ndcg@10", "recall@10", "mrr@20", "recall@20")}
    notes = {n: fitted.notes.get(n) for n in ("best_epoch", "epochs", "validation_ndcg@10", "prior_weight")}
    return {
        "model": model,
        "settings": values,
        "seed": seed,
        "validation": rounded,
        "fit_s": round(seconds, 1),
        "threads": torch.get_num_threads(),
        **notes,
    }


def keep(task: str, row: dict[str, Any]) -> None:
    """Add a run to the task's file."""
    path = RESULTS / f"search-{task}.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    save(f"search-{task}", {"about": about(), "evaluated_on": "validation only", "runs": [*runs, row]})


if __name__ == "__main__":
    main()
