"""Accuracy on cold items: `python benchmarks/cold.py [beauty | ml-100k]`, by default both.

A twentieth of the items is hidden: their events are removed from training and validation. A cold case is an event of
a hidden item, with the earlier events of known items as history. A warm case is a user's last event on a known item,
as in leave-last-out. It is ranked among all items and among the known ones, which shows the effect of features on
warm items alone. Each network is trained with features and without, on the same rows, for three seeds, which also
sample other hidden items. Writes benchmarks/results/cold-TASK.json.
"""

import json
import sys
from typing import Any

import numpy as np

from machine import DATA, RESULTS, about, save
from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.event_log import EventLog
from segue.data.item_table import ItemTable
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.evaluate import Evaluation, evaluate
from segue.models.scorer import Scorer
from segue.workflows.fit_model import fit_model

HIDDEN = 0.05
K = 50
SEEDS = (0, 1, 2)


def beauty() -> tuple[EventLog, ItemTable, tuple[str, ...], dict[str, Any]]:
    """Amazon Beauty with the titles of its items."""
    log = read_events(DATA / "beauty" / "sequences.txt", format="sequences")
    return log, read_items(DATA / "beauty" / "items.csv"), ("title",), {"epochs": 6}


def ml_100k() -> tuple[EventLog, ItemTable, tuple[str, ...], dict[str, Any]]:
    """MovieLens-100K with genres, year and title of its films."""
    log = read_events(DATA / "ml-100k" / "ml-100k.inter")
    table = read_items(DATA / "ml-100k" / "ml-100k.item", format="recbole", column_types={"class": "text"})
    return log, table, ("class", "release_year", "movie_title"), {"epochs": 10}


TASKS = {"beauty": beauty, "ml-100k": ml_100k}


def hide(
    log: EventLog, table: ItemTable, *, seed: int, hold_out_last: bool
) -> tuple[Split, EvaluationCases, EvaluationCases, np.ndarray]:
    """Return a split without events of hidden items, cold cases, warm cases, and the mask of hidden items.

    Args:
        log: the log.
        table: item table with the features.
        seed: seed of the hidden items.
        hold_out_last: False drops each user's last event, to choose settings on other cases than those of the test.
    """
    log = log.with_items(table)
    catalog = log.catalog()
    rows = log.sequences(catalog)[0]
    if not hold_out_last:
        rows = rows.prefixes(rows.lengths - (rows.lengths >= 3))
    with_events = np.unique(rows.items[rows.positions()[1]])
    rng = np.random.default_rng((seed, 20))
    hidden_V = np.zeros(catalog.size, dtype=bool)
    hidden_V[rng.choice(with_events[with_events != PAD], round(HIDDEN * len(with_events)), replace=False)] = True
    known = Sequences(
        np.where(hidden_V[rows.items], PAD, rows.items).astype(np.int32), rows.times, rows.starts, rows.stops
    )
    row_N, position_N = rows.positions()
    cold_N = hidden_V[rows.items[position_N]]
    histories = Sequences(known.items, rows.times, rows.starts[row_N[cold_N]], position_N[cold_N]).drop_unknown()
    is_case_N = histories.lengths > 0
    cold = EvaluationCases(histories, rows.items[position_N[cold_N]], row_N[cold_N], None, {}).take(is_case_N)
    is_long_N = rows.lengths >= 3
    validation, warm = (_known_targets(known, is_long_N, from_end) for from_end in (2, 1))
    train = known.prefixes(known.lengths - 2 * is_long_N).drop_unknown()
    split = Split("cold", catalog, train, validation, train, warm, True, "", "", log.items.item_features(catalog))  # type: ignore[union-attr]
    return split, cold, warm, hidden_V


def _known_targets(rows: Sequences, is_long_N: np.ndarray, from_end: int) -> EvaluationCases:
    """Return the event ``from_end`` before each long row's end as a case, if its item and one before it are known."""
    chosen = rows.take(is_long_N)
    targets = chosen.items[chosen.stops - from_end]
    histories = chosen.prefixes(np.full(len(chosen), -from_end)).drop_unknown()
    return EvaluationCases(histories, targets, np.flatnonzero(is_long_N), None, {}).take(
        (targets != PAD) & (histories.lengths > 0)
    )


def run(task: str, model: str, seed: int, *, hold_out_last: bool = True, **values: Any) -> list[dict[str, Any]]:
    """Train and evaluate one network on one set of hidden items, without features, with "placing" and with "learned".

    Args:
        task: key of TASKS.
        model: name of the network.
        seed: seed of the training and of the hidden items.
        hold_out_last: see ``hide``.
        values: settings that differ from the task's.
    """
    log, table, features, defaults = TASKS[task]()
    split, cold, warm, hidden_V = hide(log, table, seed=seed, hold_out_last=hold_out_last)
    out, without_features = [], None
    for chosen, use in (((), "learned"), (features, "placing"), (features, "learned")):
        fitted = fit_model(model, split, {**defaults, **values, "features": chosen, "feature_use": use}, seed=seed)
        on_cold, among_all = (evaluate(fitted.scorer, c, exclude_seen=True, ks=(10, K)) for c in (cold, warm))
        on_warm = evaluate(Without(fitted.scorer, hidden_V), warm, exclude_seen=True, ks=(10, K))
        seen = np.mean([len(np.unique(row)) for row in cold.histories])
        chance = K / (len(split.catalog) - seen)
        row: dict[str, Any] = {
            "task": task,
            "model": model,
            "seed": seed,
            "features": list(chosen),
            "feature_use": use if chosen else "none",
            "hidden_items": int(hidden_V.sum()),
            "cold_cases": on_cold.cases,
            f"cold_recall@{K}": on_cold.metrics[f"recall@{K}"],
            f"cold_recall@{K}_interval": on_cold.intervals[f"recall@{K}"],
            "cold_ndcg@10": on_cold.metrics["ndcg@10"],
            f"chance_recall@{K}": chance,
            "times_chance": on_cold.metrics[f"recall@{K}"] / chance,
            "warm_cases": on_warm.cases,
            "warm_ndcg@10": on_warm.metrics["ndcg@10"],
            "warm_recall@10": on_warm.metrics["recall@10"],
            "warm_ndcg@10_among_all": among_all.metrics["ndcg@10"],
            "validation_ndcg@10": max(fitted.notes["validation_ndcg@10"]),
            "prior_weight": fitted.notes["prior_weight"],
            "fit_s": round(fitted.fit_s, 1),
            "settings": {**defaults, **values},
        }
        if without_features is not None:
            row["warm_lead"] = difference(on_warm, without_features[0])
            row["warm_lead_among_all"] = difference(among_all, without_features[1])
        else:
            without_features = (on_warm, among_all)
        out.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return out


class Without:
    """Scorer that ranks some items below all others."""

    def __init__(self, scorer: Scorer, last_V: np.ndarray) -> None:
        self.scorer = scorer
        self.last_V = last_V
        self.name, self.size = scorer.name, scorer.size

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the wrapped scorer."""
        return self.scorer.arrays()

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]."""
        scores_BV = self.scorer.scores(histories)
        scores_BV[:, self.last_V] = scores_BV.min(axis=1, keepdims=True) - 1
        return scores_BV


def difference(with_features: Evaluation, without: Evaluation) -> tuple[float, float, float]:
    """Return the paired difference of ndcg@10 and its 95 % interval over users.

    Args:
        with_features: evaluation of the network with features.
        without: evaluation of the network without.
    """
    values = [evaluation.values("ndcg", 10) for evaluation in (with_features, without)]
    return paired_difference(values[0], values[1], without.groups, np.random.default_rng(0))


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the means over seeds of each network and use of features."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        out.setdefault(row["model"], {}).setdefault(row["feature_use"], {})
    for model, uses in out.items():
        for use in uses:
            matches = [row for row in rows if (row["model"], row["feature_use"]) == (model, use)]
            for name in ("times_chance", "warm_ndcg@10", "warm_ndcg@10_among_all"):
                uses[use][name] = float(np.mean([row[name] for row in matches]))
    return out


def main(tasks: list[str]) -> None:
    """Run tasks; each finished network is written to the task's file, and networks of the file are not run again."""
    for task in tasks or TASKS:
        path = RESULTS / f"cold-{task}.json"
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
        finished = {(row["model"], row["seed"]) for row in rows}
        for number in SEEDS:
            for network in ("sasrec", "gru4rec"):
                if (network, number) not in finished:
                    rows += run(task, network, number)
                    result = {"about": about(), "task": TASKS[task].__doc__, "means": summary(rows), "results": rows}
                    save(f"cold-{task}", result)


if __name__ == "__main__":
    main(sys.argv[1:])
