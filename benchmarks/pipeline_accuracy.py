"""Accuracy of the pipeline: `python benchmarks/pipeline_accuracy.py [PART ...]`, by default every part.

accuracy   the pipeline against every single model in it, under the time split, by cohort of users and of items;
           accuracy:LOG for one log, whose row is added to those of earlier runs
new-items  items new after the cutoff: recall@50 after 0, 1, 3 and 10 events, against the sequence model alone
emerging   users who switch category: share of the new category in the list after one event
latency    100,000 items, 500 candidates ranked, one core: milliseconds in process

Settings are chosen on validation, never by test metrics. Results are written to
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
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.models.top_k import top_k
from segue.pipeline.config import PipelineConfig, decode_pipeline
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.pipeline import Pipeline
from segue.workflows.fit_model import fit_model
from segue.workflows.train_pipeline import fit_pipeline

DAY_US = 86_400_000_000
CLASSIC = ["covisit", "markov", "item-knn", "session-knn", "vstan", "ease", "trend", "again"]
USER_COHORTS = ((0, 1), (1, 3), (3, 10), (10, 10**9))
"""Cohorts of users by events of the history: 0, 1 to 2, 3 to 9, 10 and more."""
NEW_ITEMS_NETWORK: dict[str, Any] = {"epochs": 3}
"""Settings of the network for new items."""
NOT_ALONE = ("again", "session", "like the last")
"""Sources that are not evaluated alone: one scores few items, the others are parts of another one."""
CASES = 20_000
"""Maximum number of evaluated test cases, sampled once."""


def sources(network: dict[str, Any] | None, column: str | None = None) -> PipelineConfig:
    """Return a pipeline of classic models, popularity of a week, items of the last session, a network, and similar
    items.

    Args:
        network: settings of the network; None: no network.
        column: column of the item table by which items are similar; None: no such source.
    """
    rows: list[dict[str, Any]] = [{"model": name} for name in CLASSIC]
    rows.append({"model": "popularity", "name": "week", "settings": {"window_days": 7.0}})
    rows.append({"model": "item-knn", "name": "session", "session_gap_s": 1800.0})
    if network is not None:
        rows.append({"model": "gru4rec", "settings": network})
    if column is not None:
        content = {"model": "content-knn", "settings": {"columns": [column], "decay": 0.6}}
        rows += [content, {**content, "max_history": 1, "name": "like the last"}]
    return decode_pipeline({"source": rows})


def films() -> ItemTable:
    """Return the titles and genres of MovieLens-1M."""
    lines = (DATA / "ml-1m" / "movies.dat").read_text(encoding="latin-1").splitlines()
    table = pl.DataFrame([line.split("::") for line in lines], schema=["item_id", "title", "genres"], orient="row")
    return read_items(table, column_types={"title": "text"})


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
"""Log -> its reader, the settings of its network, and the column by which items are similar."""


def accuracy(seed: int, names: Iterable[str] = ()) -> dict[str, Any]:
    """Evaluate the pipeline and its sources on the same cases of each log, and save each log's row.

    Args:
        seed: seed of the trainings.
        names: logs; empty: all.
    """
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
    """Return the metrics of pipeline and sources, and the difference to the best source, over all cases and by
    cohort."""
    open_log, values, column = LOGS[name]
    split = split_log(open_log(), "time")
    test = sample_cases(split.test, CASES, seed)
    fitted = fit_pipeline(split, sources(values, column), refit=True, seed=seed, report=print_err)
    pipeline = fitted.scorer
    assert isinstance(pipeline, Pipeline)
    evaluations = {"pipeline": evaluate_all(pipeline, test, split)}
    for source in pipeline.sources:
        if source.name not in NOT_ALONE:
            evaluations[source.name] = evaluate_all(source.scorer, test, split)
    best = max((row for row in evaluations if row != "pipeline"), key=lambda row: evaluations[row].metrics["ndcg@10"])
    return {
        "log": name,
        "protocol": split.protocol,
        "cases": len(test),
        "fit_s": round(fitted.fit_s, 1),
        "notes": {key: value for key, value in fitted.notes.items() if key != "models"},
        "metrics": {
            row: {m: e.metrics[m] for m in ("ndcg@10", "recall@10", "mrr@10")} for row, e in evaluations.items()
        },
        "best_single": best,
        "ahead": difference(evaluations["pipeline"], evaluations[best]),
        "by_user": by_cohort(evaluations, best, test.histories.drop_unknown().lengths, USER_COHORTS),
        "by_item": by_cohort(
            evaluations, best, item_counts(split.refit, split.catalog.size)[test.targets], item_edges(split)
        ),
    }


def evaluate_all(scorer: Scorer, cases: EvaluationCases, split: Split) -> Evaluation:
    """Evaluate a scorer on the whole catalog."""
    return evaluate(scorer, cases, exclude_seen=split.exclude_seen, ks=(10,))


def sample_cases(cases: EvaluationCases, max_cases: int, seed: int) -> EvaluationCases:
    """Sample at most ``max_cases`` cases."""
    if len(cases) <= max_cases:
        return cases
    return cases.take(np.sort(np.random.default_rng((seed, 11)).choice(len(cases), max_cases, replace=False)))


def difference(first: Evaluation, second: Evaluation, rows_N: np.ndarray | None = None) -> dict[str, Any]:
    """Return NDCG@10 of two evaluations of the same cases, and their difference with its 95 % interval.

    Args:
        first: evaluation of the pipeline.
        second: evaluation of a single model.
        rows_N: mask of the cases; None: all.
    """
    rows_N = np.ones(len(first.ranks), dtype=bool) if rows_N is None else rows_N
    first_N, second_N = (e.values("ndcg", 10)[rows_N] for e in (first, second))
    if not len(first_N):
        return {"cases": 0}
    change, low, high = paired_difference(first_N, second_N, first.groups[rows_N], np.random.default_rng(0))
    mean = float(second_N.mean())
    return {
        "cases": len(first_N),
        "pipeline": float(first_N.mean()),
        "single": mean,
        "difference": change,
        "interval": [low, high],
        "relative": change / mean if mean else None,
    }


def item_edges(split: Split) -> tuple[tuple[int, int], ...]:
    """Return cohorts of items by events: at most 3, then three parts with a third of the events each."""
    counts = np.sort(item_counts(split.refit, split.catalog.size))
    mass = np.cumsum(counts) / counts.sum()
    low, high = (max(4, int(counts[np.searchsorted(mass, share)])) for share in (1 / 3, 2 / 3))
    return ((0, 4), (4, low), (low, max(low + 1, high)), (max(low + 1, high), 10**9))


def by_cohort(
    evaluations: dict[str, Evaluation], best: str, size_N: np.ndarray, edges: Iterable[tuple[int, int]]
) -> list[dict[str, Any]]:
    """Return the difference to the best single model within each cohort.

    Args:
        evaluations: evaluation of the pipeline and of each source.
        best: name of the best source.
        size_N: size of each case, by which cohorts are formed.
        edges: (low, below) of each cohort.
    """
    return [
        {
            "from": low,
            "below": high,
            **difference(evaluations["pipeline"], evaluations[best], (size_N >= low) & (size_N < high)),
        }
        for low, high in edges
    ]


def new_items(seed: int) -> dict[str, Any]:
    """Evaluate items whose first event lies after the cutoff, after 0, 1, 3 and 10 events.

    The pipeline is fitted on the events before that time, its network with item titles as features. The network alone
    is evaluated as trained before the cutoff, where the items are unknown to it, and as in the pipeline.
    """
    log = LOGS["online-retail"][0]()
    catalog = log.catalog()
    all_rows, _ = log.sequences(catalog)
    assert all_rows.times is not None
    cutoff_us = int(np.quantile(all_rows.times, 0.9))
    first_V = ItemStatistics.fit(all_rows, catalog).first_us_V
    new_V = (first_V >= cutoff_us) & (np.arange(catalog.size) != PAD)
    split = split_log(log, "time")
    before = fit_model("gru4rec", split, NEW_ITEMS_NETWORK, seed=seed).scorer
    known_V = split.catalog.to_indices(catalog.ids)
    results = []
    for events in (0, 1, 3, 10):
        cases, earlier = cases_after(all_rows, new_V, events, cutoff_us)
        pipeline = fit_until(earlier, log, catalog, seed)
        network = next(source.scorer for source in pipeline.sources if source.name == "gru4rec")
        row = {
            "events": events,
            "cases": len(cases),
            "pipeline": recall_50(pipeline, cases),
            "network_alone": recall_50(ExpandedNetwork(before, known_V), cases),
            "network_with_features_alone": recall_50(network, cases),
            "chance": 50 / (catalog.size - 1),
        }
        results.append(row)
        print_err(f"new items: {row}")
    return {"log": "online-retail", "items": int(new_V.sum()), "results": results}


def cases_after(rows: Sequences, new_V: np.ndarray, events: int, cutoff_us: int) -> tuple[EvaluationCases, Sequences]:
    """Return cases of each new item's event number ``events`` + 1, and the events that are known by then.

    These are the events before the cutoff, and the first ``events`` events of each new item after it.

    Args:
        rows: all events by user.
        new_V: mask of the new items.
        events: number of earlier events of the item.
        cutoff_us: cutoff time.
    """
    assert rows.times is not None
    row_N, position_N = rows.positions()
    times_N, items_N = rows.times[position_N], rows.items[position_N]
    order = np.lexsort((position_N, times_N))
    number_N = np.zeros(len(order), dtype=np.int64)
    count_of: dict[int, int] = {}
    for n in order.tolist():
        item = int(items_N[n])
        if new_V[item]:
            number_N[n] = count_of.get(item, 0)
            count_of[item] = number_N[n] + 1
    is_case_N = new_V[items_N] & (number_N == events) & (position_N > rows.starts[row_N])
    histories = Sequences(rows.items, rows.times, rows.starts[row_N[is_case_N]], position_N[is_case_N])
    cases = EvaluationCases(histories, items_N[is_case_N], row_N[is_case_N], times_N[is_case_N], {})
    kept_N = (times_N < cutoff_us) | (new_V[items_N] & (number_N < events))
    hidden = Sequences(np.where(kept_N, items_N, PAD).astype(np.int32), times_N, *_offsets(rows))
    return cases, hidden.drop_unknown()


def _offsets(rows: Sequences) -> tuple[np.ndarray, np.ndarray]:
    stops = np.cumsum(rows.lengths)
    return stops - rows.lengths, stops


def fit_until(rows: Sequences, log: EventLog, catalog: Catalog, seed: int) -> Pipeline:
    """Fit the pipeline on earlier events: the blend on each user's last event, then all sources with it.

    Args:
        rows: earlier events by user.
        log: the log with its item table.
        catalog: its catalog.
        seed: seed of the trainings.
    """
    assert log.items is not None
    network = {**NEW_ITEMS_NETWORK, "features": ["title"], "feature_use": "placing"}
    extra = decode_pipeline(
        {"source": [{"model": "new", "num_candidates": 300, "settings": {"max_age_days": 20.0}}]}
    ).source
    config = sources(network, "title")
    config = replace(config, source=(*config.source, *extra), rank=replace(config.rank, method="none"))
    has_case = rows.lengths > 1
    train = rows.prefixes(np.where(has_case, rows.lengths - 1, rows.lengths))
    histories = train.take(has_case)
    targets = rows.items[histories.stops]
    cases = EvaluationCases(histories, targets, np.flatnonzero(has_case), None, {})
    item_features = log.items.item_features(catalog)
    split = Split("new items", catalog, train, cases, rows, cases, False, "", "", item_features)
    pipeline = fit_pipeline(split, config, refit=True, seed=seed, report=print_err).scorer
    assert isinstance(pipeline, Pipeline)
    return pipeline


class ExpandedNetwork:
    """Network in a larger catalog that ranks unknown items last."""

    name = "gru4rec"

    def __init__(self, scorer: Scorer, known_V: np.ndarray) -> None:
        self.scorer = scorer
        self.index_V = np.concatenate([[PAD], known_V]).astype(np.int32)

    @property
    def size(self) -> int:
        return len(self.index_V)

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]."""
        flat = histories.to_contiguous()
        translated = replace(flat, items=self.index_V[flat.items])
        known_BV = self.scorer.scores(translated)
        known_BV[:, PAD] = known_BV.min(axis=1) - 1.0
        return np.ascontiguousarray(known_BV[:, self.index_V])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the network."""
        return self.scorer.arrays()


def recall_50(scorer: Scorer, cases: EvaluationCases) -> float:
    """Return recall@50, ties half: one score for all items has the recall of a random order."""
    return evaluate(scorer, cases, exclude_seen=False, ks=(50,)).metrics["recall@50"]


def emerging(seed: int) -> dict[str, Any]:
    """Evaluate synthetic users who switch category: the share of the new one in the first ten after one event in it."""
    rng = np.random.default_rng(seed)
    sequences = synthetic.switching_sequences(
        rng, users=3000, length=30, categories=20, items_per_category=30, switch=0.08
    )
    log = synthetic.to_event_log(sequences)
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
    new_category_B = category_V[[row[-1] for row in histories.to_lists()]]
    scorers = {"pipeline": pipeline, **{s.name: s.scorer for s in pipeline.sources if s.name not in ("again",)}}
    shares = {name: category_shares(scorer, histories, category_V, new_category_B) for name, scorer in scorers.items()}
    return {"synthetic": shares, "real": new_genre_cases(seed)}


def category_shares(
    scorer: Scorer, histories: Sequences, category_V: np.ndarray, new_category_B: np.ndarray
) -> dict[str, float]:
    """Return the share of lists whose first item is of the new category, and its share of the first ten.

    Args:
        scorer: the model.
        histories: B histories.
        category_V: category of each item.
        new_category_B: category of each history's last event.
    """
    items_BK = top_k(scorer.scores(histories), 10, exclude=histories)[0]
    is_new_BK = category_V[items_BK] == new_category_B[:, None]
    return {"first": float(is_new_BK[:, 0].mean()), "of_ten": float(is_new_BK.mean())}


def new_genre_cases(seed: int) -> dict[str, Any]:
    """Evaluate cases whose target's first genre is not among the user's last ten events (ML-1M, time split)."""
    split = split_log(LOGS["ml-1m"][0](), "time")
    genre_V = genres(split.catalog)
    fitted = fit_pipeline(split, sources(*LOGS["ml-1m"][1:]), refit=True, seed=seed, report=print_err)
    pipeline = fitted.scorer
    assert isinstance(pipeline, Pipeline)
    last_BT = genre_V[split.test.histories.padded(10)]
    is_new_B = (last_BT != genre_V[split.test.targets][:, None]).all(axis=1)
    cases = sample_cases(split.test.take(is_new_B & (split.test.histories.lengths >= 10)), CASES, seed)
    evaluations = {"pipeline": evaluate_all(pipeline, cases, split)}
    for source in pipeline.sources:
        if source.name not in NOT_ALONE:
            evaluations[source.name] = evaluate_all(source.scorer, cases, split)
    best = max((row for row in evaluations if row != "pipeline"), key=lambda row: evaluations[row].metrics["ndcg@10"])
    return {
        "cases": len(cases),
        "metrics": {row: {m: e.metrics[m] for m in ("ndcg@10", "recall@10")} for row, e in evaluations.items()},
        "best_single": best,
        "ahead": difference(evaluations["pipeline"], evaluations[best]),
    }


def genres(catalog: Catalog) -> np.ndarray:
    """Return the first genre of each film, int64 [V]; 0: unknown."""
    lines = (DATA / "ml-1m" / "movies.dat").read_text(encoding="latin-1").splitlines()
    first = {row[0]: row[2].split("|")[0] for row in (line.split("::") for line in lines)}
    numbers = {genre: n for n, genre in enumerate(sorted(set(first.values())), start=1)}
    return np.array([0, *[numbers.get(first.get(item, ""), 0) for item in catalog.ids]])


ROUNDS = 10
"""Rounds of 150 requests: on a shared machine some rounds are disturbed."""


def latency(seed: int) -> dict[str, Any]:
    """Measure sequential requests in this process with one thread: a network of 100,000 items, co-visitation, item-kNN
    and popularity, with about 500 different candidates through blend and trees."""
    rng = np.random.default_rng(seed)
    size, users = 100_000, 40_000
    shares = 1.0 / np.arange(1, size + 1) ** 0.8
    centers = rng.choice(size, users, p=shares / shares.sum())
    items = [((n + rng.integers(0, 200, 12)) % size + 1).tolist() for n in centers.tolist()]
    times = [(rng.integers(0, 10**9) + np.arange(12) * 60).tolist() for _ in items]
    rows = Sequences.from_lists(items, ([t * 1_000_000 for t in row] for row in times))
    histories = rows.prefixes(np.full(users, 11))
    cases = EvaluationCases(histories, rows.items[rows.stops - 1], np.arange(users), None, {}).take(slice(0, 3000))
    catalog = Catalog(str(i) for i in range(1, size + 1))
    split = Split("synthetic", catalog, histories, cases, rows, cases, False, "", "")
    network = {"embedding_dim": 64, "epochs": 1, "covisitation_weight": 0.0}
    sources_of_pipeline = [
        {"model": "gru4rec", "settings": network, "num_candidates": 350},
        {"model": "covisit", "num_candidates": 350},
        {"model": "item-knn", "num_candidates": 350},
        {"model": "popularity", "num_candidates": 150},
    ]
    fitted = fit_pipeline(
        split, decode_pipeline({"source": sources_of_pipeline, "rank": {"method": "trees"}}), seed=seed
    )
    pipeline = fitted.scorer
    assert isinstance(pipeline, Pipeline)
    took_ms, counts = [], []
    with threadpool_limits(1):
        for b in range(100 + ROUNDS * 150):
            history = histories.take(slice(b, b + 1)).to_contiguous()
            started = time.perf_counter()
            ranked = pipeline.recommend(history, 10)[0]
            took_ms.append((time.perf_counter() - started) * 1e3)
            counts.append(len(ranked))
    rounds = np.array(took_ms[100:]).reshape(ROUNDS, -1)
    p50, p95 = np.percentile(rounds, [50, 95]).tolist()
    trees = pipeline.scoring.trees
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "p50_ms_of_each_round": [round(x, 2) for x in np.median(rounds, axis=1).tolist()],
        "candidates": float(np.mean(counts)),
        "trees": 0 if trees is None else len(trees),
    }


def print_err(message: object) -> None:
    """Print progress to standard error."""
    print(message, file=sys.stderr, flush=True)


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "accuracy": accuracy,
    "new-items": new_items,
    "emerging": emerging,
    "latency": latency,
}

if __name__ == "__main__":
    for argument in sys.argv[1:] or PARTS:
        part, _, log = argument.partition(":")
        if log:
            accuracy(0, [log])
            continue
        if part not in PARTS:
            raise ValueError(f"There is no part '{part}'; the parts are {', '.join(PARTS)}.")
        save(
            f"pipeline-{part}",
            {"about": about(0), "task": (PARTS[part].__doc__ or "").split("\n")[0], **PARTS[part](0)},
        )
