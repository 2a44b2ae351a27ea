"""How good the pipeline is: `python benchmarks/pipeline_accuracy.py [PART ...]`, by default every part.

accuracy   the whole pipeline against every single model in it, under the time split, by cohort of person and of item;
           accuracy:LOG for one log alone, whose row is put beside those of earlier runs
new-items  items first seen after the cut: recall@50 after 0, 1, 3 and 10 events, against the sequence model alone
emerging   people who switch category: does the list follow after one event
latency    100,000 items, 500 candidates ranked, one core: milliseconds in process

Settings are chosen on validation; nothing here looks at a test figure to choose. Results go to
benchmarks/results/pipeline-PART.json.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from machine import DATA, RESULTS, about, save
from segue.data.catalog import PAD, Catalog
from segue.data.datasets import synthetic
from segue.data.datasets.online_retail import load_online_retail
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.event_log import EventLog
from segue.data.item_table import ItemTable
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.evaluate import Evaluation, evaluate
from segue.evaluation.metrics import BY_RANK
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.models.top_k import top_k
from segue.pipeline.config import PipelineConfig, decode_pipeline
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.pipeline import Pipeline
from segue.workflows.fit_model import fit_model
from segue.workflows.train_pipeline import fit_pipeline

DAY_US = 86_400_000_000
COUNTED = ["covisit", "markov", "item-knn", "session-knn", "vstan", "ease", "trend", "again"]
PEOPLE = ((0, 1), (1, 3), (3, 10), (10, 10**9))
"""Cohorts by events of the history: none, 1-2, 3-9, 10 and more."""
NEW: dict[str, Any] = {"epochs": 3}
"""The network where new items are asked for."""
TWICE = ("again", "session", "like the last")
"""Sources that are not judged alone: one knows few items, the others are parts of another one."""
CASES = 20_000
"""At most so many test cases are judged, drawn once."""


def sources(network: dict[str, Any] | None, column: str | None = None) -> PipelineConfig:
    """The counted sources, last week's popularity, the last session, a network, and items like those of the history and
    like the last one by a column of the items table."""
    rows: list[dict[str, Any]] = [{"model": name} for name in COUNTED]
    rows.append({"model": "popularity", "name": "week", "settings": {"window_days": 7.0}})
    rows.append({"model": "item-knn", "name": "session", "session_gap_s": 1800.0})
    if network is not None:
        rows.append({"model": "gru4rec", "settings": network})
    if column is not None:
        content = {"model": "content-knn", "settings": {"columns": [column], "decay": 0.6}}
        rows += [content, {**content, "newest": 1, "name": "like the last"}]
    return decode_pipeline({"source": rows})


def films() -> ItemTable:
    """MovieLens-1M's titles and genres."""
    lines = (DATA / "ml-1m" / "movies.dat").read_text(encoding="latin-1").splitlines()
    table = pl.DataFrame([lincolumn_typesit("::") for line in lines], schema=["item_id", "title", "genres"], orient="row")
    return read_items(table, kinds={"title": "text"})


LOGS: dict[str, tuple[Callable[[], EventLog], dict[str, Any], str]] = {
    "online-retail": (
        lambda: load_online_retail()[0].with_items(read_items(load_online_retail()[1])),
        {"epochs": 5},
        "title",
    ),
    "beauty": (
        lambda: read_events(DATA / "beauty" / "events.csv.gz").with_items(read_items(DATA / "beauty" / "items.csv")),
        {"embedding_dim": 128, "dropout_hidden": 0.3, "epochs": 8},
        "title",
    ),
    "ml-1m": (lambda: read_events(DATA / "ml-1m" / "ratings.csv.gz").with_items(films()), {"epochs": 5}, "genres"),
}
"""How a log is read, its network's settings, and the column by which items are alike."""


def accuracy(seed: int, names: Iterable[str] = ()) -> dict[str, Any]:
    """Every log that is asked for, with all sources judged on the same cases as the whole; kept as each is done."""
    path = RESULTS / "pipeline-accuracy.json"
    rows: dict[str, Any] = {}
    if path.exists():
        rows = {row["log"]: row for row in json.loads(path.read_text(encoding="utf-8"))["results"]}
    for name in names or LOGS:
        rows[name] = {**one_log(name, seed), "about": about(seed)}
        print_err(f"{name}: {rows[name]['ahead']}")
        save("pipeline-accuracy", {"about": about(seed), "results": list(rows.values())})
    return {"results": list(rows.values())}


def one_log(name: str, seed: int) -> dict[str, Any]:
    """The pipeline, its sources, and how far it is ahead of the best of them, over all and by cohort."""
    open_log, values, column = LOGS[name]
    split = split_log(open_log(), "time")
    test = drawn(split.test, CASES, seed)
    fitted = fit_pipeline(split, sources(values, column), refit=True, seed=seed, report=print_err)
    pipeline = fitted.scorer
    assert isinstance(pipeline, Pipeline)
    judged = {"pipeline": judge(pipeline, test, split)}
    for source in pipeline.sources:
        if source.name not in TWICE:
            judged[source.name] = judge(source.scorer, test, split)
    best = max((row for row in judged if row != "pipeline"), key=lambda row: judged[row].metrics["ndcg@10"])
    return {
        "log": name,
        "protocol": split.protocol,
        "cases": len(test),
        "fit_s": round(fitted.fit_s, 1),
        "notes": {key: value for key, value in fitted.notes.items() if key != "models"},
        "metrics": {row: {m: e.metrics[m] for m in ("ndcg@10", "recall@10", "mrr@10")} for row, e in judged.items()},
        "best_single": best,
        "ahead": ahead(judged["pipeline"], judged[best]),
        "by_person": by_cohort(judged, best, test.histories.drop_unknown().lengths, PEOPLE),
        "by_item": by_cohort(
            judged, best, item_counts(split.refit, split.catalog.size)[test.targets], item_edges(split)
        ),
    }


def judge(scorer: Scorer, cases: EvaluationCases, split: Split) -> Evaluation:
    """On the whole catalog."""
    return evaluate(scorer, cases, exclude_seen=split.exclude_seen, ks=(10,))


def drawn(cases: EvaluationCases, most: int, seed: int) -> EvaluationCases:
    """At most so many cases."""
    if len(cases) <= most:
        return cases
    return cases.take(np.sort(np.random.default_rng((seed, 11)).choice(len(cases), most, replace=False)))


def ahead(first: Evaluation, second: Evaluation, rows_N: np.ndarray | None = None) -> dict[str, Any]:
    """NDCG@10 of two on the same cases, their difference with its 95 % interval, and what share of the second it is."""
    rows_N = np.ones(len(first.ranks), dtype=bool) if rows_N is None else rows_N
    one_N, two_N = (BY_RANK["ndcg"](e.ranks[rows_N], 10) for e in (first, second))
    if not len(one_N):
        return {"max_cases": 0}
    difference, low, high = paired_difference(one_N, two_N, first.groups[rows_N], np.random.default_rng(0))
    mean = float(two_N.mean())
    return {
        "cases": len(one_N),
        "pipeline": float(one_N.mean()),
        "single": mean,
        "difference": difference,
        "interval": [low, high],
        "relative": difference / mean if mean else None,
    }


def item_edges(split: Split) -> tuple[tuple[int, int], ...]:
    """Cohorts by an item's events: new (at most 3), then three parts with a third of the events each."""
    counts = np.sort(item_counts(split.refit, split.catalog.size))
    mass = np.cumsum(counts) / counts.sum()
    low, high = (max(4, int(counts[np.searchsorted(mass, share)])) for share in (1 / 3, 2 / 3))
    return ((0, 4), (4, low), (low, max(low + 1, high)), (max(low + 1, high), 10**9))


def by_cohort(
    judged: dict[str, Evaluation], best: str, size_N: np.ndarray, edges: Iterable[tuple[int, int]]
) -> list[dict[str, Any]]:
    """The lead within each cohort."""
    return [
        {"from": low, "below": high, **ahead(judged["pipeline"], judged[best], (size_N >= low) & (size_N < high))}
        for low, high in edges
    ]


def new_items(seed: int) -> dict[str, Any]:
    """Items whose first event lies after the cut, each asked when it has so many events. The pipeline is fitted up to
    that moment, its network with the items' titles, by which an item without events has a place. The network
    alone is shown as it was trained before the cut, where the items are unknown to it, and as it is in the pipeline."""
    log = LOGS["online-retail"][0]()
    catalog = log.catalog()
    everything, _ = log.sequences(catalog)
    assert everything.times is not None
    cut = int(np.quantile(everything.times, 0.9))
    first_V = ItemStatistics.fit(everything, catalog).first_us_V
    new_V = (first_V >= cut) & (np.arange(catalog.size) != PAD)
    split = split_log(log, "time")
    before = fit_model("gru4rec", split, NEW, seed=seed).scorer
    known_V = split.catalog.to_indices(catalog.ids)
    results = []
    for events in (0, 1, 3, 10):
        cases, seen = asked_after(everything, new_V, events, cut)
        pipeline = up_to(seen, log, catalog, seed)
        network = next(source.scorer for source in pipeline.sources if source.name == "gru4rec")
        row = {
            "events": events,
            "cases": len(cases),
            "pipeline": recall_50(pipeline, cases),
            "network_alone": recall_50(Widened(before, known_V), cases),
            "network_with_features_alone": recall_50(network, cases),
            "chance": 50 / (catalog.size - 1),
        }
        results.append(row)
        print_err(f"new items: {row}")
    return {"log": "online-retail", "items": int(new_V.sum()), "results": results}


def asked_after(rows: Sequences, new_V: np.ndarray, events: int, cut: int) -> tuple[EvaluationCases, Sequences]:
    """(each new item's event number ``events`` + 1, asked with the person's history before it; what had happened
    by then: everything before the cut, and of the time after it each new item's first ``events`` events)."""
    assert rows.times is not None
    row_N, where_N = rows.positions()
    times_N, items_N = rows.times[where_N], rows.items[where_N]
    order = np.lexsort((where_N, times_N))
    number_N = np.zeros(len(order), dtype=np.int64)
    of: dict[int, int] = {}
    for n in order.tolist():
        item = int(items_N[n])
        if new_V[item]:
            number_N[n] = of.get(item, 0)
            of[item] = number_N[n] + 1
    hit_N = new_V[items_N] & (number_N == events) & (where_N > rows.starts[row_N])
    histories = Sequences(rows.items, rows.times, rows.starts[row_N[hit_N]], where_N[hit_N])
    cases = EvaluationCases(histories, items_N[hit_N], row_N[hit_N], times_N[hit_N], {})
    kept_N = (times_N < cut) | (new_V[items_N] & (number_N < events))
    hidden = Sequences(np.where(kept_N, items_N, PAD).astype(np.int32), times_N, *_offsets(rows))
    return cases, hidden.drop_unknown()


def _offsets(rows: Sequences) -> tuple[np.ndarray, np.ndarray]:
    stops = np.cumsum(rows.lengths)
    return stops - rows.lengths, stops


def up_to(seen: Sequences, log: EventLog, catalog: Catalog, seed: int) -> Pipeline:
    """The pipeline on what had happened: weighed on everybody's last event, then fitted with it."""
    assert log.items is not None
    network = {**NEW, "features": ["title"], "feature_use": "placing"}
    extra = decode_pipeline(
        {"source": [{"model": "new", "num_candidates": 300, "settings": {"max_age_days": 20.0}}]}
    ).source
    config = sources(network, "title")
    config = replace(config, source=(*config.source, *extra), rank=replace(config.rank, method="none"))
    enough = seen.lengths > 1
    train = seen.prefixes(np.where(enough, seen.lengths - 1, seen.lengths))
    asked = train.take(enough)
    targets = seen.items[asked.stops]
    cases = EvaluationCases(asked, targets, np.flatnonzero(enough), None, {})
    facts = log.items.item_features(catalog)
    split = Split("new items", catalog, train, cases, seen, cases, False, "", "", facts)
    pipeline = fit_pipeline(split, config, refit=True, seed=seed, report=print_err).scorer
    assert isinstance(pipeline, Pipeline)
    return pipeline


class Widened:
    """A network in a larger catalog: what it does not know comes last."""

    name = "gru4rec"

    def __init__(self, scorer: Scorer, known_V: np.ndarray) -> None:
        self.scorer = scorer
        self.index_V = np.concatenate([[PAD], known_V]).astype(np.int32)

    @property
    def size(self) -> int:
        return len(self.index_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        flat = histories.to_contiguous()
        own = replace(flat, items=self.index_V[flat.items])
        known_BV = self.scorer.scores(own)
        known_BV[:, PAD] = known_BV.min(axis=1) - 1.0
        return np.ascontiguousarray(known_BV[:, self.index_V])

    def arrays(self) -> dict[str, np.ndarray]:
        """The network's."""
        return self.scorer.arrays()


def recall_50(scorer: Scorer, cases: EvaluationCases) -> float:
    """The share of targets among the first 50; ties count half, so that one score for all is no gift."""
    return evaluate(scorer, cases, exclude_seen=False, ks=(50,)).metrics["recall@50"]


def emerging(seed: int) -> dict[str, Any]:
    """Synthetic people who switch category: the share of the first ten from the new one after one event there."""
    rng = np.random.default_rng(seed)
    options = {"categories": 20, "items_per_category": 30, "switch": 0.08}
    log = synthetic.to_event_log(synthetic.switching_sequences(rng, users=3000, length=30, **options))
    split = split_log(log, "leave-last-out")
    fitted = fit_pipeline(split, sources(None), refit=True, seed=seed, report=print_err)
    pipeline = fitted.scorer
    assert isinstance(pipeline, Pipeline)
    category_V = np.array([-1, *[(int(item) - 1) // 30 for item in split.catalog.ids]])
    rows = []
    for _ in range(500):
        old, new = rng.choice(20, 2, replace=False).tolist()
        rows.append([*(old * 30 + rng.integers(0, 30, 15) + 1).tolist(), int(new * 30 + rng.integers(30) + 1)])
    histories = Sequences.from_lists(split.catalog.to_indices(str(i) for i in row) for row in rows)
    wanted_B = category_V[[row[-1] for row in histories.to_lists()]]
    answers = {"pipeline": pipeline, **{s.name: s.scorer for s in pipeline.sources if s.name not in ("again",)}}
    shares = {name: follows(scorer, histories, category_V, wanted_B) for name, scorer in answers.items()}
    return {"synthetic": shares, "real": shifted(seed)}


def follows(scorer: Scorer, histories: Sequences, category_V: np.ndarray, wanted_B: np.ndarray) -> dict[str, float]:
    """How often the first item, and what share of the first ten, is of the new category."""
    items_BK = top_k(scorer.scores(histories), 10, exclude=histories)[0]
    hit_BK = category_V[items_BK] == wanted_B[:, None]
    return {"first": float(hit_BK[:, 0].mean()), "of_ten": float(hit_BK.mean())}


def shifted(seed: int) -> dict[str, Any]:
    """Real cases whose target's first genre is none of the person's last ten items' (ML-1M, time split)."""
    split = split_log(LOGS["ml-1m"][0](), "time")
    genre_V = genres(split.catalog)
    fitted = fit_pipeline(split, sources(*LOGS["ml-1m"][1:]), refit=True, seed=seed, report=print_err)
    pipeline = fitted.scorer
    assert isinstance(pipeline, Pipeline)
    last_BT = genre_V[split.test.histories.padded(10)]
    new_B = (last_BT != genre_V[split.test.targets][:, None]).all(axis=1)
    cases = drawn(split.test.take(new_B & (split.test.histories.lengths >= 10)), CASES, seed)
    judged = {"pipeline": judge(pipeline, cases, split)}
    for source in pipeline.sources:
        if source.name not in TWICE:
            judged[source.name] = judge(source.scorer, cases, split)
    best = max((row for row in judged if row != "pipeline"), key=lambda row: judged[row].metrics["ndcg@10"])
    return {
        "cases": len(cases),
        "metrics": {row: {m: e.metrics[m] for m in ("ndcg@10", "recall@10")} for row, e in judged.items()},
        "best_single": best,
        "ahead": ahead(judged["pipeline"], judged[best]),
    }


def genres(catalog: Catalog) -> np.ndarray:
    """int64 [V]: the first genre of each film, 0 where it is not known."""
    lines = (DATA / "ml-1m" / "movies.dat").read_text(encoding="latin-1").splitlines()
    first = {row[0]: row[2].split("|")[0] for row in (line.split("::") for line in lines)}
    numbers = {genre: n for n, genre in enumerate(sorted(set(first.values())), start=1)}
    return np.array([0, *[numbers.get(first.get(item, ""), 0) for item in catalog.ids]])


ROUNDS = 10
"""Of 150 requests each: on a shared machine some rounds meet a busy neighbor."""


def latency(seed: int) -> dict[str, Any]:
    """One request after the other, in this process, one thread: a network of 100,000 items, co-visit, item-kNN and
    popularity, each asked for so many that 500 different candidates go through blend and trees."""
    rng = np.random.default_rng(seed)
    size, people = 100_000, 40_000
    shares = 1.0 / np.arange(1, size + 1) ** 0.8
    near = rng.choice(size, people, p=shares / shares.sum())
    items = [((n + rng.integers(0, 200, 12)) % size + 1).tolist() for n in near.tolist()]
    times = [(rng.integers(0, 10**9) + np.arange(12) * 60).tolist() for _ in items]
    rows = Sequences.from_lists(items, ([t * 1_000_000 for t in row] for row in times))
    asked = rows.prefixes(np.full(people, 11))
    cases = EvaluationCases(asked, rows.items[rows.stops - 1], np.arange(people), None, {}).take(slice(0, 3000))
    catalog = Catalog(str(i) for i in range(1, size + 1))
    split = Split("synthetic", catalog, asked, cases, rows, cases, False, "", "")
    network = {"embedding_dim": 64, "epochs": 1, "covisitation_weight": 0.0}
    listed = [
        {"model": "gru4rec", "settings": network, "num_candidates": 350},
        {"model": "covisit", "num_candidates": 350},
        {"model": "item-knn", "num_candidates": 350},
        {"model": "popularity", "num_candidates": 150},
    ]
    fitted = fit_pipeline(split, decode_pipeline({"source": listed, "rank": {"method": "trees"}}), seed=seed)
    pipeline = fitted.scorer
    assert isinstance(pipeline, Pipeline)
    took, counts = [], []
    with threadpool_limits(1):
        for b in range(100 + ROUNDS * 150):
            history = asked.take(slice(b, b + 1)).to_contiguous()
            started = time.perf_counter()
            ranked = pipeline.recommend(history, 10)[0]
            took.append((time.perf_counter() - started) * 1e3)
            counts.append(len(ranked))
    rounds = np.array(took[100:]).reshape(ROUNDS, -1)
    p50, p95 = np.percentile(rounds, [50, 95]).tolist()
    trees = pipeline.scoring.trees
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "p50_ms_of_each_round": [round(x, 2) for x in np.median(rounds, axis=1).tolist()],
        "candidates": float(np.mean(counts)),
        "trees": 0 if trees is None else len(trees),
    }


def print_err(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "accuracy": accuracy,
    "new-items": new_items,
    "emerging": emerging,
    "latency": latency,
}

if __name__ == "__main__":
    for asked in sys.argv[1:] or PARTS:
        part, _, log = asked.partition(":")
        if log:
            accuracy(0, [log])
            continue
        if part not in PARTS:
            raise ValueError(f"There is no part '{part}'; the parts are {', '.join(PARTS)}.")
        save(f"pipeline-{part}", {"about": about(0), "task": PARTS[part].__doc__, **PARTS[part](0)})
