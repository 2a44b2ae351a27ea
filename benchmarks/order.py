"""Is the order of events used? `python benchmarks/order.py [MODEL[:name=value,...] ...]`, by default the whole zoo.

Each model is trained on MovieLens-1M (leave-last-out, seen items excluded) and asked for the last event twice: after
each history as it is, and after the same history in random order, several times over. What it loses is the paired
difference with its interval. A model that ignores order must lose exactly nothing. Both kinds of question see the
newest 200 events, so that a model which itself cuts its history is shown the same events either way.

Writes benchmarks/results/order.json, one row a model; a row is replaced when its model is asked for again. Counting
models take seconds to minutes; networks are trained for few epochs, which is enough to tell.
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
from segue.evaluation.metrics import ndcg
from segue.evaluation.order_sensitivity import shuffle_histories
from segue.models.scorer import Scorer
from segue.models.zoo import ZOO, NeuralEntry
from segue.workflows.fit_model import fit_model

SHUFFLES = 5
LENGTH = 200
K = 10
QUICK = {"epochs": 3}
"""Networks need not be good to show whether they read order."""


def lost(
    scorer: Scorer, cases: EvaluationCases, *, exclude_seen: bool, seed: int = 0, shuffles: int = SHUFFLES
) -> dict[str, Any]:
    """NDCG@K in order, its mean over the shuffles, each shuffle's own, and the paired difference with its interval."""
    recent = replace(cases, histories=cases.histories.tail(LENGTH))
    plain = evaluate(scorer, recent, exclude_seen=exclude_seen, ks=(K,))
    gain_N = ndcg(plain.ranks, K)
    mixed_SN = []
    for turn in range(shuffles):
        histories = shuffle_histories(recent.histories, np.random.default_rng((seed, turn)))
        asked = evaluate(scorer, replace(recent, histories=histories), exclude_seen=exclude_seen, ks=(K,))
        mixed_SN.append(ndcg(asked.ranks, K))
    change_SN = gain_N - np.asarray(mixed_SN)
    left_N = gain_N - change_SN.mean(axis=0)  # the mean of equal numbers need not be equal to them, that of zeros is
    difference, low, high = paired_difference(gain_N, left_N, plain.groups, np.random.default_rng(seed))
    in_order = float(gain_N.mean())
    return {
        f"ndcg@{K}": in_order,
        "shuffled": float(left_N.mean()),
        "each_shuffle": [float(row.mean()) for row in mixed_SN],
        "difference": difference,
        "interval": [low, high],
        "share_lost": difference / in_order if in_order else 0.0,
        "largest_change_of_a_case": float(np.abs(change_SN).max()),
        "cases": len(gain_N),
    }


def verdict(row: dict[str, Any]) -> str:
    """In words: whether order is used, and whether that is beyond chance."""
    if row["largest_change_of_a_case"] == 0:
        return "order is not used: no case changed"
    low, high = row["interval"]
    if low > 0:
        return "order is used"
    return "shuffling helps" if high < 0 else "some cases change, the mean not beyond chance"


def measure(asked: str, split: Split, seed: int = 0) -> dict[str, Any]:
    """One model, trained and asked: ``NAME`` or ``NAME:setting=value,setting=value``."""
    name, _, assignments = asked.partition(":")
    values = dict(QUICK) if isinstance(ZOO.get(name), NeuralEntry) else {}
    values |= parse_assignments(part for part in assignments.split(",") if part)
    fitted = fit_model(name, split, values, seed=seed)
    found = lost(fitted.scorer, split.test, exclude_seen=split.exclude_seen, seed=seed)
    settings = {"asked": values, "settings": fitted.settings, "notes": fitted.notes, "fit_s": round(fitted.fit_s, 1)}
    return {"model": f"{name} ({assignments})" if assignments else name, **found, "verdict": verdict(found), **settings}


def main(asked: list[str]) -> None:
    """Every model asked for; what is already in the file of others stays."""
    split = split_log(read_events(DATA / "ml-1m" / "pairs.txt", format="pairs"), "leave-last-out")
    path = RESULTS / "order.json"
    rows = {row["model"]: row for row in json.loads(path.read_text())["results"]} if path.exists() else {}
    for one in asked or ZOO:
        row = measure(one, split) | {"measured": about()}
        rows[row["model"]] = row
        shown = {key: round(row[key], 4) for key in (f"ndcg@{K}", "shuffled", "share_lost")}
        print(one, shown, [round(end, 4) for end in row["interval"]], row["verdict"], file=sys.stderr, flush=True)
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
