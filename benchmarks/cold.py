"""Items that training never saw: `python benchmarks/cold.py [beauty | ml-100k]`, by default both.

A twentieth of the items is hidden: their events are taken out of everything that trains or validates. Cold cases: every
event of a hidden item that has an earlier event of a known one, asked with those. Warm cases: each person's last event,
where its item is known, as in leave-last-out, ranked among all items, and among the known ones alone, which shows what
training with features does to them before new items compete. Each network is trained with features and without, on the
same rows, for three seeds that also draw other items to hide. Writes benchmarks/results/cold-TASK.json.
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
from segue.evaluation.metrics import ndcg
from segue.models.scorer import Scorer
from segue.workflows.fit_model import fit_model

HIDDEN = 0.05
K = 50
SEEDS = (0, 1, 2)


def beauty() -> tuple[EventLog, ItemTable, tuple[str, ...], dict[str, Any]]:
    """Amazon Beauty; the titles of its items."""
    log = read_events(DATA / "beauty" / "sequences.txt", format="sequences")
    return log, read_items(DATA / "beauty" / "items.csv"), ("title",), {"epochs": 6}


def ml_100k() -> tuple[EventLog, ItemTable, tuple[str, ...], dict[str, Any]]:
    """MovieLens-100K; genres, year and title of its films."""
    log = read_events(DATA / "ml-100k" / "ml-100k.inter")
    table = read_items(DATA / "ml-100k" / "ml-100k.item", format="recbole", column_types={"class": "text"})
    return log, table, ("class", "release_year", "movie_title"), {"epochs": 10}


TASKS = {"beauty": beauty, "ml-100k": ml_100k}


def hide(
    log: EventLog, table: ItemTable, *, seed: int, judged_last: bool
) -> tuple[Split, EvaluationCases, EvaluationCases, np.ndarray]:
    """(a split that never saw the hidden items, cold cases, warm cases, which items are hidden).

    ``judged_last`` False leaves each person's last event out altogether: for choosing settings, with other items hidden
    than those that judge.
    """
    log = log.with_items(table)
    catalog = log.catalog()
    rows = log.sequences(catalog)[0]
    if not judged_last:
        rows = rows.prefixes(rows.lengths - (rows.lengths >= 3))
    taken = np.unique(rows.items[rows.positions()[1]])
    rng = np.random.default_rng((seed, 20))
    hidden_V = np.zeros(catalog.size, dtype=bool)
    hidden_V[rng.choice(taken[taken != PAD], round(HIDDEN * len(taken)), replace=False)] = True
    known = Sequences(
        np.where(hidden_V[rows.items], PAD, rows.items).astype(np.int32), rows.times, rows.starts, rows.stops
    )
    row_N, where_N = rows.positions()
    cold_N = hidden_V[rows.items[where_N]]
    histories = Sequences(known.items, rows.times, rows.starts[row_N[cold_N]], where_N[cold_N]).drop_unknown()
    filled = histories.lengths > 0
    cold = EvaluationCases(histories, rows.items[where_N[cold_N]], row_N[cold_N], None, {}).take(filled)
    long = rows.lengths >= 3
    validation, warm = (_known(known, long, place) for place in (2, 1))
    train = known.prefixes(known.lengths - 2 * long).drop_unknown()
    split = Split("cold", catalog, train, validation, train, warm, True, "", "", log.items.item_features(catalog))  # type: ignore[union-attr]
    return split, cold, warm, hidden_V


def _known(rows: Sequences, long: np.ndarray, place: int) -> EvaluationCases:
    """The event ``place`` from each long row's end, where its item and one before it are known."""
    chosen = rows.take(long)
    targets = chosen.items[chosen.stops - place]
    histories = chosen.prefixes(np.full(len(chosen), -place)).drop_unknown()
    return EvaluationCases(histories, targets, np.flatnonzero(long), None, {}).take(
        (targets != PAD) & (histories.lengths > 0)
    )


def run(task: str, model: str, seed: int, *, judged_last: bool = True, **values: Any) -> list[dict[str, Any]]:
    """One network on one set of hidden items, without features and with them, for placing alone and learned."""
    log, table, features, usual = TASKS[task]()
    split, cold, warm, hidden_V = hide(log, table, seed=seed, judged_last=judged_last)
    out, before = [], None
    for chosen, use in (((), "learned"), (features, "placing"), (features, "learned")):
        fitted = fit_model(model, split, {**usual, **values, "features": chosen, "feature_use": use}, seed=seed)
        on_cold, beside = (evaluate(fitted.scorer, c, exclude_seen=True, ks=(10, K)) for c in (cold, warm))
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
            "warm_ndcg@10_among_all": beside.metrics["ndcg@10"],
            "validation_ndcg@10": max(fitted.notes["validation_ndcg@10"]),
            "prior_weight": fitted.notes["prior_weight"],
            "fit_s": round(fitted.fit_s, 1),
            "settings": {**usual, **values},
        }
        if before is not None:
            row["warm_lead"] = lead(on_warm, before[0])
            row["warm_lead_among_all"] = lead(beside, before[1])
        else:
            before = (on_warm, beside)
        out.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return out


class Without:
    """A scorer that puts some items behind all others."""

    def __init__(self, scorer: Scorer, last_V: np.ndarray) -> None:
        self.scorer = scorer
        self.last_V = last_V
        self.name, self.size = scorer.name, scorer.size

    def arrays(self) -> dict[str, np.ndarray]:
        """The scorer's own."""
        return self.scorer.arrays()

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        scores_BV = self.scorer.scores(histories)
        scores_BV[:, self.last_V] = scores_BV.min(axis=1, keepdims=True) - 1
        return scores_BV


def lead(with_features: Evaluation, without: Evaluation) -> tuple[float, float, float]:
    """(difference of the warm cases' ndcg@10, 95 % interval), paired case by case, people resampled."""
    values = [ndcg(judged.ranks, 10) for judged in (with_features, without)]
    return paired_difference(values[0], values[1], without.groups, np.random.default_rng(0))


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Each network's means over its seeds by how it uses features: what the cold gain, and what the warm lose."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        out.setdefault(row["model"], {}).setdefault(row["feature_use"], {})
    for model, uses in out.items():
        for use in uses:
            mine = [row for row in rows if (row["model"], row["feature_use"]) == (model, use)]
            for name in ("times_chance", "warm_ndcg@10", "warm_ndcg@10_among_all"):
                uses[use][name] = float(np.mean([row[name] for row in mine]))
    return out


def main(asked: list[str]) -> None:
    """One file for each task; each finished network is kept at once, and what is in the file is not run again."""
    for task in asked or TASKS:
        path = RESULTS / f"cold-{task}.json"
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
        there = {(row["model"], row["seed"]) for row in rows}
        for number in SEEDS:
            for network in ("sasrec", "gru4rec"):
                if (network, number) not in there:
                    rows += run(task, network, number)
                    said = {"about": about(), "task": TASKS[task].__doc__, "means": summary(rows), "results": rows}
                    save(f"cold-{task}", said)


if __name__ == "__main__":
    main(sys.argv[1:])
