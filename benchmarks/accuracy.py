"""Accuracy of each model on the published logs: `python benchmarks/accuracy.py [TASK[:ROW,...] ...]`.

Writes benchmarks/results/accuracy-TASK.json, one row per model, settings and seed; a row that is run again is replaced,
the others stay. Settings were chosen on validation alone: results/search-TASK.json holds every try, and a setting that
a row does not name has the model's default. accuracy_page.py makes docs/results/accuracy.md from the files. A network
takes minutes, all rows some hours on two cores. With a folder in the environment variable KEEP, trainings are resumed
from there.
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
from segue.workflows.comparison.model_result import CompareOptions, fit_and_evaluate
from segue.workflows.fit_model import fit_model
from segue.workflows.fit_result import FitResult
from segue.workflows.job import TrainJob
from segue.workflows.train_pipeline import fit_pipeline

CLASSIC = [name for name, entry in ZOO.items() if isinstance(entry, ClassicEntry)]


@dataclass(frozen=True)
class Row:
    """One evaluated model."""

    model: str
    values: dict[str, Any] = field(default_factory=dict)
    """Settings of the model, or of the pipeline."""
    seeds: int = 1

    @property
    def label(self) -> str:
        """Model with its settings."""
        if self.model == Pipeline.name:
            return "pipeline of " + ", ".join(source.get("name", source["model"]) for source in self.values["source"])
        given = ", ".join(f"{key}={value}" for key, value in self.values.items())
        return f"{self.model} ({given})" if given else self.model


@dataclass(frozen=True)
class Task:
    """A split log and the models that are evaluated on it."""

    split: Any
    options: CompareOptions
    rows: dict[str, Row]
    """Row of each short name; classic models have their own names."""

    def row(self, name: str) -> Row:
        """Return the row of a name."""
        return self.rows.get(name) or Row(name)

    def names(self) -> list[str]:
        """Return the names of all rows."""
        return [*CLASSIC, *self.rows]


def beauty() -> Split:
    """Amazon Beauty, the published leave-one-out: train only, seen items excluded."""
    log = read_events(DATA / "beauty" / "sequences.txt", format="sequences")
    return split_log(log.with_items(beauty_items()), "leave-last-out")


def beauty_items() -> ItemTable:
    """Return the items of Amazon Beauty with title, and brand and categories by number."""
    attributes = json.loads((DATA / "beauty" / "item_attributes.json").read_text(encoding="utf-8"))
    columns = {
        "item": [int(item) for item in attributes],
        "attributes": ["|".join(map(str, a)) for a in attributes.values()],
    }
    table = pl.read_csv(DATA / "beauty" / "items.csv").join(pl.DataFrame(columns), on="item", how="left")
    return read_items(table, column_types={"attributes": "list", "title": "text", "keywords": "text"})


def ml_1m() -> Split:
    """MovieLens-1M, the published leave-one-out: train only, seen items excluded."""
    return split_log(read_events(DATA / "ml-1m" / "pairs.txt", format="pairs"), "leave-last-out")


def ml_1m_timed() -> Split:
    """MovieLens-1M with its times, leave-last-out: train only, seen items excluded; time-aware models.

    Events are sorted stably by time. Only a time-aware model receives the time of the target.
    """
    columns = {"user_id": "user_id", "item_id": "movie_id", "timestamp": "timestamp"}
    return split_log(read_events(DATA / "ml-1m" / "ratings.csv.gz", columns=columns), "leave-last-out")


def ml_100k() -> Split:
    """MovieLens-100K, time split."""
    return split_log(read_events(DATA / "ml-100k" / "ml-100k.inter"), "time")


def rsc15() -> Split:
    """The RSC15 sample: every position, conservative ties, seen items ranked."""
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
"""Session-kNN without decays, as the session papers compare it."""
SESSIONS = {"embedding_dim": 128, "dropout_hidden": 0.3, "batch_tokens": 2048, "epochs": 8, "loss": "sampled"}
ENSEMBLE = {f"gru4rec.{name}": value for name, value in SESSIONS.items()} | {
    "sasrec.epochs": 8,
    "sasrec.loss": "sampled",
}
TIMED = {**MOVIES, "target_time": True}
TITLES = {"columns": ["title"], "decay": 0.6}
TREES = {
    "method": "auto",
    "max_trees": 300,
    "max_depth": 4,
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
        {"model": "content-knn", "settings": TITLES, "max_history": 1, "name": "like the last"},
    ],
    "rank": TREES,
}
"""Sources, titles and settings of the trees, chosen on validation cases."""
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
            "hstu-without-target-time": Row("hstu", {**TIMED, "target_time": False}),
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
            "together": Row("gru4rec+gru4rec+sasrec+markov+session-knn", ENSEMBLE),
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
            "together": Row("gru4rec+gru4rec+sasrec+markov+session-knn", ENSEMBLE),
            "best": Row("pipeline", BEST_OF_SESSIONS),
            "plain-knn": Row("session-knn", PLAIN),
        },
    ),
    "online-retail": Task(retail, CompareOptions(refit=False), {"gru4rec": Row("gru4rec")}),
    "ml-100k": Task(ml_100k, CompareOptions(refit=False), {"gru4rec": Row("gru4rec")}),
}


def run(task: str, names: list[str]) -> None:
    """Run rows of a task; each finished model is written to the result file.

    Args:
        task: key of TASKS.
        names: names of rows.
    """
    definition = TASKS[task]
    split = definition.split()
    for name in names:
        row = definition.row(name)
        for seed in range(row.seeds if row.model == Pipeline.name or is_neural(row.model) else 1):
            root = os.environ.get("KEEP")
            folder = Path(root) / task / name / str(seed) if root else None
            job, fitter = TrainJob(seed=seed, folder=folder), fit_model  # type: Any, Any
            if row.model == Pipeline.name:
                job, fitter = TrainJob(seed=seed), fit_split_pipeline
            fitted, _ = fit_and_evaluate(split, row.model, row.values, job, definition.options, None, fitter)
            result = {**fitted.to_dict(), "row": name, "label": row.label, "given": row.values, "about": about(seed)}
            keep(task, result)
            names_of_metrics = ("recall", "ndcg", "mrr")
            metrics = {k: round(v, 4) for k, v in fitted.metrics.items() if k.split("@")[0] in names_of_metrics}
            print(task, row.label, seed, metrics, f"{fitted.fit_s:.0f} s", file=sys.stderr, flush=True)


def fit_split_pipeline(name: str, split: Split, settings: Any, *, refit: bool, seed: int, run: Any) -> FitResult:
    """Fit a pipeline, with the parameters of ``fit_model``; its trainings cannot be resumed."""
    return fit_pipeline(split, decode_pipeline(settings), refit=refit, seed=seed)


def keep(task: str, result: dict[str, Any]) -> None:
    """Write a row to the task's file, in place of the same row of an earlier run.

    Args:
        task: key of TASKS.
        result: the row.
    """
    path = Path(RESULTS) / f"accuracy-{task}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
    others = [old for old in known if (old.get("row", old["model"]), old["seed"]) != (result["row"], result["seed"])]
    save(
        f"accuracy-{task}",
        {"about": about(), "task": TASKS[task].split.__doc__.split("\n")[0], "results": [*others, result]},
    )


if __name__ == "__main__":
    for argument in sys.argv[1:] or TASKS:
        task, _, names = argument.partition(":")
        run(task, names.split(",") if names else TASKS[task].names())
