"""How good each model is on the published logs: `python benchmarks/accuracy.py [TASK[:ROW,...] ...]`.

Writes benchmarks/results/accuracy-TASK.json, a row for each model, setting and seed; a row that is asked for again is
replaced, the others stay. Settings were chosen on validation alone: results/search-TASK.json holds every try, and what
a row does not name is the model's default. docs/results/accuracy.md is made from the files by accuracy_page.py. A network
takes minutes, all rows together some hours on two cores; with a folder in the environment as KEEP, trainings are kept
there and go on, or need not be done again.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from machine import DATA, RESULTS, about, save
from segue.data.datasets.online_retail import load_online_retail
from segue.data.evaluation_cases import Split
from segue.data.item_table import ItemTable
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items
from segue.data.splits.split import split_log
from segue.models.recipes import RECIPES
from segue.models.zoo import ZOO, ClassicEntry, is_neural
from segue.pipeline.config import decode_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.workflows.compare_models import CompareOptions, fit_and_evaluate
from segue.workflows.fit_model import fit_model
from segue.workflows.fit_result import FitResult
from segue.workflows.job import TrainJob
from segue.workflows.train_pipeline import fit_pipeline

COUNTED = [name for name, entry in ZOO.items() if isinstance(entry, ClassicEntry)]


@dataclass(frozen=True)
class Row:
    """One model as it is judged."""

    model: str
    values: dict[str, Any] = field(default_factory=dict)
    """Its settings; of a pipeline the whole file."""
    seeds: int = 1

    @property
    def label(self) -> str:
        """The model, and what tells it from another row of the same one."""
        if self.model == Pipeline.name:
            return "pipeline of " + ", ".join(one.get("name", one["model"]) for one in self.values["source"])
        given = ", ".join(f"{key}={value}" for key, value in self.values.items())
        return f"{self.model} ({given})" if given else self.model


@dataclass(frozen=True)
class Task:
    """A log, how it is cut, and who is judged."""

    split: Any
    options: CompareOptions
    rows: dict[str, Row]
    """By a short name; counting models are added by their own."""

    def row(self, name: str) -> Row:
        """The row of that name."""
        return self.rows.get(name) or Row(name)

    def names(self) -> list[str]:
        """Everything that is judged."""
        return [*COUNTED, *self.rows]


def beauty() -> Split:
    """Amazon Beauty, the published leave-one-out: train only, seen items excluded."""
    log = read_events(DATA / "beauty" / "sequences.txt", format="sequences")
    return split_log(log.with_items(beauty_items()), "leave-last-out")


def beauty_items() -> ItemTable:
    """What rows with features read: each item's title and its brand and categories, by number."""
    attributes = json.loads((DATA / "beauty" / "item_attributes.json").read_text(encoding="utf-8"))
    told = {
        "item": [int(item) for item in attributes],
        "attributes": ["|".join(map(str, a)) for a in attributes.values()],
    }
    table = pl.read_csv(DATA / "beauty" / "items.csv").join(pl.DataFrame(told), on="item", how="left")
    return read_items(table, column_types={"attributes": "list", "title": "text", "keywords": "text"})


def ml_1m() -> Split:
    """MovieLens-1M, the published leave-one-out: train only, seen items excluded."""
    return split_log(read_events(DATA / "ml-1m" / "pairs.txt", format="pairs"), "leave-last-out")


def ml_1m_timed() -> Split:
    """MovieLens-1M with its times, leave-last-out, sorted stably by time: train only, seen items excluded. A
    time-aware model is told when the target happened, and no other row is."""
    columns = {"user_id": "user_id", "item_id": "movie_id", "timestamp": "timestamp"}
    return split_log(read_events(DATA / "ml-1m" / "ratings.csv.gz", columns=columns), "leave-last-out")


def ml_100k() -> Split:
    """MovieLens-100K, time split."""
    return split_log(read_events(DATA / "ml-100k" / "ml-100k.inter"), "time")


def rsc15() -> Split:
    """The RSC15 sample: every position, conservative ties, seen items stay."""
    log = read_events(DATA / "rsc15-sample" / "train_full.tsv")
    return split_log(log, "fixed", test=read_events(DATA / "rsc15-sample" / "test.tsv"))


def yoochoose() -> Split:
    """Yoochoose 1/64, the fixed split of the SR-GNN line: items unknown to training count as misses."""
    return _fixed("yoochoose-1-64")


def diginetica() -> Split:
    """Diginetica, the fixed split of the SR-GNN line: items unknown to training count as misses."""
    return _fixed("diginetica")


def _fixed(name: str) -> Split:
    log = read_events(DATA / name / "train_sessions.txt", format="sessions")
    return split_log(log, "fixed", test=read_events(DATA / name / "test.txt", format="prefixes"), unknown="miss")


def retail() -> Split:
    """The bundled gift shop, time split."""
    return split_log(load_online_retail()[0], "time")


SMALL = {"embedding_dim": 64, "dropout": 0.2, "epochs": 8, "loss": "full"}
LARGE = {"embedding_dim": 128, "dropout": 0.4, "epochs": 8, "loss": "full"}
GRU = {"embedding_dim": 128, "dropout_hidden": 0.3, "epochs": 8}
MOVIES = {"embedding_dim": 64, "max_length": 200, "dropout": 0.1, "epochs": 12, "loss": "full"}
PLAIN = {"weighting": "none", "spread": None, "before_weight": 1.0, "idf": False}
"""Session-kNN without any of its decays, as the session papers compare it."""
SESSIONS = {"embedding_dim": 128, "dropout_hidden": 0.3, "batch_tokens": 2048, "epochs": 8, "loss": "sampled"}
BESIDE = {f"gru4rec.{name}": value for name, value in SESSIONS.items()} | {"sasrec.epochs": 8, "sasrec.loss": "sampled"}
TIMED = {**MOVIES, "target_time": True}
TITLES = {"columns": ["title"], "decay": 0.6}
TREES = {
    "method": "auto",
    "max_trees": 300,
    "depth": 4,
    "learning_rate": 0.05,
    "min_leaf_size": 100,
    "max_cases": 20_000,
}
BEST_OF_BEAUTY = {
    "source": [
        {"model": "sasrec", "settings": LARGE},
        {"model": "gru4rec", "settings": GRU},
        *[{"model": name} for name in ("covisit", "session-knn", "ease", "item-knn")],
        {"model": "content-knn", "settings": TITLES},
        {"model": "content-knn", "settings": TITLES, "newest": 1, "name": "like the last"},
    ],
    "rank": TREES,
}
"""Sources and titles chosen, and the trees' settings set, on validation cases of some of these models."""
BEST_OF_SESSIONS = {
    "source": [
        {"model": "gru4rec", "settings": SESSIONS},
        {"model": "sasrec", "settings": {"epochs": 8, "loss": "sampled"}},
        *[{"model": name} for name in ("markov", "covisit", "session-knn", "vstan", "again")],
    ],
    "rank": TREES,
}
TASKS: dict[str, Task] = {
    "beauty": Task(
        beauty,
        CompareOptions(ks=(5, 10)),
        {
            "sasrec": Row("sasrec", LARGE, seeds=3),
            "sasrec-d64": Row("sasrec", SMALL, seeds=3),
            "gru4rec": Row("gru4rec", GRU, seeds=3),
            "bert4rec": Row("bert4rec", {"epochs": 40}),
            "caser": Row("caser", {"epochs": 8}),
            "nextitnet": Row("nextitnet", {"epochs": 8}),
            "lrurec": Row("lrurec", SMALL),
            "seq2seq": Row("seq2seq", {"epochs": 8}),
            "together": Row(
                "sasrec+sasrec+sasrec+gru4rec+gru4rec+session-knn+ease",
                {f"sasrec.{k}": v for k, v in LARGE.items()} | {f"gru4rec.{k}": v for k, v in GRU.items()},
            ),
            "best": Row("pipeline", BEST_OF_BEAUTY),
            "content-knn": Row(
                "pipeline", {"source": [{"model": "content-knn", "settings": TITLES}], "rank": {"method": "none"}}
            ),
        },
    ),
    "ml-1m": Task(
        ml_1m,
        CompareOptions(ks=(5, 10)),
        {
            "sasrec": Row("sasrec", MOVIES),
            "gru4rec": Row("gru4rec", {"embedding_dim": 128, "max_length": 200, "epochs": 12, "loss": "full"}),
            "bert4rec": Row("bert4rec", {"max_length": 200, "epochs": 40, "loss": "full"}),
            "caser": Row("caser", {"epochs": 8, "loss": "full"}),
            "nextitnet": Row("nextitnet", {"max_length": 100, "epochs": 8, "loss": "full"}),
            "lrurec": Row("lrurec", MOVIES),
            "seq2seq": Row("seq2seq", {"epochs": 8}),
        },
    ),
    "ml-1m-timed": Task(
        ml_1m_timed,
        CompareOptions(ks=(5, 10)),
        {
            "hstu": Row("hstu", TIMED),
            "hstu-untold": Row("hstu", {**TIMED, "target_time": False}),
            "sasrec": Row("sasrec", MOVIES),
        },
    ),
    "rsc15": Task(
        rsc15,
        CompareOptions(ks=(5, 10, 20), ties="conservative"),
        {"gru4rec": Row("gru4rec", seeds=3), "sasrec": Row("sasrec"), "best": Row("gru4rec+sasrec+vstan")}
        | {"plain-knn": Row("session-knn", PLAIN)}
        | {"gru4rec-recipe": Row("gru4rec", dict(RECIPES["gru4rec-rsc15"].settings))},
    ),
    "yoochoose": Task(
        yoochoose,
        CompareOptions(ks=(5, 10, 20)),
        {
            "gru4rec": Row("gru4rec", SESSIONS),
            "sasrec": Row("sasrec", {"epochs": 6}),
            "together": Row("gru4rec+gru4rec+sasrec+markov+session-knn", BESIDE),
            "best": Row("pipeline", BEST_OF_SESSIONS),
            "plain-knn": Row("session-knn", PLAIN),
        },
    ),
    "diginetica": Task(
        diginetica,
        CompareOptions(ks=(5, 10, 20)),
        {
            "gru4rec": Row("gru4rec", SESSIONS),
            "sasrec": Row("sasrec", {"epochs": 6}),
            "together": Row("gru4rec+gru4rec+sasrec+markov+session-knn", BESIDE),
            "best": Row("pipeline", BEST_OF_SESSIONS),
            "plain-knn": Row("session-knn", PLAIN),
        },
    ),
    "online-retail": Task(retail, CompareOptions(refit=False), {"gru4rec": Row("gru4rec")}),
    "ml-100k": Task(ml_100k, CompareOptions(refit=False), {"gru4rec": Row("gru4rec")}),
}


def run(task: str, names: list[str]) -> None:
    """Some rows of a task into its result file; each finished model is kept at once."""
    what = TASKS[task]
    split = what.split()
    for name in names:
        row = what.row(name)
        for seed in range(row.seeds if row.model == Pipeline.name or is_neural(row.model) else 1):
            kept = os.environ.get("KEEP")
            folder = Path(kept) / task / name / str(seed) if kept else None
            job, fitter = TrainJob(seed=seed, folder=folder), fit_model
            if row.model == Pipeline.name:
                job, fitter = TrainJob(seed=seed), piped
            found, _ = fit_and_evaluate(split, row.model, row.values, job, what.options, None, fitter)
            result = {**found.to_dict(), "row": name, "label": row.label, "asked": row.values, "about": about(seed)}
            keep(task, result)
            shown = {k: round(v, 4) for k, v in found.metrics.items() if k.split("@")[0] in ("recall", "ndcg", "mrr")}
            print(task, row.label, seed, shown, f"{found.fit_s:.0f} s", file=sys.stderr, flush=True)


def piped(name: str, split: Split, values: Any, *, refit: bool, seed: int, work: Any) -> FitResult:
    """As ``fit``, for a pipeline; its trainings are not kept."""
    return fit_pipeline(split, decode_pipeline(values), refit=refit, seed=seed)


def keep(task: str, result: dict[str, Any]) -> None:
    """Puts a row into the task's file, in the place of the same row of an earlier run."""
    path = Path(RESULTS) / f"accuracy-{task}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
    same = [old for old in known if (old.get("row", old["model"]), old["seed"]) != (result["row"], result["seed"])]
    save(f"accuracy-{task}", {"about": about(), "task": TASKS[task].split.__doc__, "results": [*same, result]})


if __name__ == "__main__":
    for asked in sys.argv[1:] or TASKS:
        task, _, names = asked.partition(":")
        run(task, names.split(",") if names else TASKS[task].names())
