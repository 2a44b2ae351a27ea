"""Order sensitivity: `python benchmarks/order.py [MODEL[:name=value,...] ...]`, by default all models of the zoo.

Each model is trained on MovieLens-1M (leave-last-out, seen items excluded) and evaluated on the histories as they are,
and on several shuffles of each. The loss is the paired difference with its interval. A model that ignores order must
lose exactly 0. Both evaluations use the newest 200 events, so that a model that truncates histories receives the same
events in both.

Writes benchmarks/results/order.json, one row per model; a row is replaced when its model is run again. Classic models
take seconds to minutes. Neural models are trained for few epochs, which is enough for the comparison.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from machine import DATA, RESULTS, about, save
from segue.config.decode import parse_assignments
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.readers.events import read_events
from segue.data.splits.split import split_log
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.evaluate import evaluate
from segue.evaluation.order_sensitivity import shuffle_histories
from segue.models.scorer import Scorer
from segue.models.zoo import ZOO, NeuralEntry
from segue.workflows.fit_model import fit_model

SHUFFLES = 5
LENGTH = 200
K = 10
QUICK = {"epochs": 3}
"""Settings of neural models: few epochs suffice for the comparison."""


def order_loss(
    scorer: Scorer, cases: EvaluationCases, *, exclude_seen: bool, seed: int = 0, shuffles: int = SHUFFLES
) -> dict[str, Any]:
    """Return NDCG@K in order and shuffled, and the paired difference with its interval.

    Args:
        scorer: the model.
        cases: histories and targets.
        exclude_seen: do not rank items of the history.
        seed: seed of the shuffles.
        shuffles: number of shuffles of each history.
    """
    recent = replace(cases, histories=cases.histories.tail(LENGTH))
    plain = evaluate(scorer, recent, exclude_seen=exclude_seen, ks=(K,))
    gain_N = plain.values("ndcg", K)
    shuffled_SN = []
    for turn in range(shuffles):
        histories = shuffle_histories(recent.histories, np.random.default_rng((seed, turn)))
        shuffled = evaluate(scorer, replace(recent, histories=histories), exclude_seen=exclude_seen, ks=(K,))
        shuffled_SN.append(shuffled.values("ndcg", K))
    change_SN = gain_N - np.asarray(shuffled_SN)
    shuffled_N = gain_N - change_SN.mean(axis=0)  # exact for equal numbers: the mean of zeros is 0
    difference, low, high = paired_difference(gain_N, shuffled_N, plain.groups, np.random.default_rng(seed))
    in_order = float(gain_N.mean())
    return {
        f"ndcg@{K}": in_order,
        "shuffled": float(shuffled_N.mean()),
        "each_shuffle": [float(row.mean()) for row in shuffled_SN],
        "difference": difference,
        "interval": [low, high],
        "share_lost": difference / in_order if in_order else 0.0,
        "largest_change_of_a_case": float(np.abs(change_SN).max()),
        "cases": len(gain_N),
    }


def verdict(row: dict[str, Any]) -> str:
    """Return in words whether order is used, by the interval of the difference."""
    if row["largest_change_of_a_case"] == 0:
        return "order is not used: no case changed"
    low, high = row["interval"]
    if low > 0:
        return "order is used"
    return "shuffling helps" if high < 0 else "some cases change, the mean not beyond chance"


def measure(argument: str, split: Split, seed: int = 0) -> dict[str, Any]:
    """Train and evaluate one model.

    Args:
        argument: ``NAME`` or ``NAME:setting=value,setting=value``.
        split: the split log.
        seed: seed of the training and of the shuffles.
    """
    name, _, assignments = argument.partition(":")
    values = dict(QUICK) if isinstance(ZOO.get(name), NeuralEntry) else {}
    values |= parse_assignments(part for part in assignments.split(",") if part)
    fitted = fit_model(name, split, values, seed=seed)
    loss = order_loss(fitted.scorer, split.test, exclude_seen=split.exclude_seen, seed=seed)
    settings = {"given": values, "settings": fitted.settings, "notes": fitted.notes, "fit_s": round(fitted.fit_s, 1)}
    return {"model": f"{name} ({assignments})" if assignments else name, **loss, "verdict": verdict(loss), **settings}


def main(arguments: list[str]) -> None:
    """Run models; the rows of other models stay in the file."""
    split = split_log(read_events(DATA / "ml-1m" / "pairs.txt", format="pairs"), "leave-last-out")
    path = RESULTS / "order.json"
    rows = {row["model"]: row for row in json.loads(path.read_text())["results"]} if path.exists() else {}
    for argument in arguments or ZOO:
        row = measure(argument, split) | {"measured": about()}
        rows[row["model"]] = row
        numbers = {key: round(row[key], 4) for key in (f"ndcg@{K}", "shuffled", "share_lost")}
        print(
            argument, numbers, [round(end, 4) for end in row["interval"]], row["verdict"], file=sys.stderr, flush=True
        )
        result = {
            "about": about(),
            "task": f"MovieLens-1M, histories in order against {SHUFFLES} shuffles of their newest {LENGTH} events",
            "protocol": split.protocol,
            "data": split.fingerprint,
            "results": list(rows.values()),
        }
        save("order", result)


if __name__ == "__main__":
    main(sys.argv[1:])
