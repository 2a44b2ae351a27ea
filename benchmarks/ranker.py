"""Click rankers: `python benchmarks/ranker.py TASK [NAME ...]`, TASK beauty, ml-1m, ml-1m-time or online-retail; NAME
of a ranker, by default all.

A test case is a next event against one item sampled by popularity and one that the co-visitation model retrieves.
Every ranker is trained on the same cases: a sample of 16,000 of the newest events, with new negatives in each of at
most 6 epochs, so that a log takes minutes. It is stopped and calibrated on validation, and evaluated once on the same
test cases, for three seeds: AUC, logloss, ECE. Then the order of the first 200 items of the co-visitation model is
evaluated, by log odds alone and by log odds - weight * log(rank by co-visitation) with the best weight on validation,
and the duration of ranking 200 candidates. Each finished row is written to benchmarks/results/ranker-TASK.json and is
not run again.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from machine import DATA, RESULTS, about, save
from segue.data.catalog import PAD
from segue.data.datasets.online_retail import load_online_retail
from segue.data.event_log import EventLog
from segue.data.impressions import ClickExamples
from segue.data.readers.events import read_events
from segue.data.splits.split import split_log
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.calibration_metrics import reliability
from segue.evaluation.metrics import ndcg
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.ranker import RANKERS, NeuralRanker, log_odds
from segue.models.scorer import Scorer
from segue.models.top_k import top_k
from segue.training.rankers.candidate_sampling import CandidateSamplingConfig, SampledExamples
from segue.workflows.fit_ranker import (
    FittedRanker,
    RankerData,
    evaluate_ranker,
    fit_ranker,
    sample_examples,
    with_full_histories,
)

SEEDS = (0, 1, 2)
POSITIVES = 16_000
SETTINGS = {"epochs": 6}
"""Settings of every ranker that differ from the defaults."""
TEST_CASES = 20_000
RETRIEVED = 200
NUM_LISTS = 500
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def beauty() -> tuple[EventLog, Any]:
    """Amazon Beauty with its days: leave-last-out, seen items excluded."""
    log = read_events(DATA / "beauty" / "events.csv.gz")
    return log, split_log(log, "leave-last-out")


def ml_1m() -> tuple[EventLog, Any]:
    """MovieLens-1M: leave-last-out, seen items excluded."""
    log = read_events(DATA / "ml-1m" / "ratings.csv.gz")
    return log, split_log(log, "leave-last-out")


def ml_1m_time() -> tuple[EventLog, Any]:
    """MovieLens-1M: time split, seen items excluded."""
    log = read_events(DATA / "ml-1m" / "ratings.csv.gz")
    return log, split_log(log, "time", exclude_seen=True)


def retail() -> tuple[EventLog, Any]:
    """The bundled gift shop: time split."""
    log = load_online_retail()[0]
    return log, split_log(log, "time")


TASKS = {"beauty": beauty, "ml-1m": ml_1m, "ml-1m-time": ml_1m_time, "online-retail": retail}


def main(task: str, names: list[str]) -> None:
    """Run rankers seed by seed; finished rows of the same cases in the result file are not run again.

    Args:
        task: key of TASKS.
        names: names of rankers.
    """
    log, split = TASKS[task]()
    size = split.catalog.size
    data = RankerData.from_split(split, sampling=CandidateSamplingConfig(max_positives=POSITIVES))
    item_histories = with_full_histories(log, split)
    retriever = CoVisit.fit(split.train, size, CoVisitConfig())
    test = sample_examples(split.test, TEST_CASES, 0)
    test_examples = SampledExamples(
        test, item_histories, retriever, CandidateSamplingConfig(), exclude_seen=split.exclude_seen
    )
    cases = test_examples.draw(np.random.default_rng(9))
    validation_examples = SampledExamples(
        split.validation, data.item_histories, None, CandidateSamplingConfig(), exclude_seen=split.exclude_seen
    )
    lists = (
        Lists.of(split, validation_examples, retriever, data.item_histories),
        Lists.of(split, test_examples, retriever, item_histories),
    )
    fixed = {
        "task": TASKS[task].__doc__,
        "protocol": split.protocol,
        "data": split.fingerprint,
        "training cases": len(data.train),
        "test cases": len(cases),
        "cases": asdict(CandidateSamplingConfig(max_positives=POSITIVES)),
        "co-visitation alone, ndcg@10 of its first 200": round(float(lists[1].retriever_gain().mean()), 5),
    }
    rows = earlier(RESULTS / f"ranker-{task}.json", fixed)
    for seed in SEEDS:
        for name in names:
            if str(seed) in rows.setdefault(name, {}):
                continue
            rows[name][str(seed)] = row(train(name, data, seed), cases, item_histories, lists)
            means = {other: mean(list(by_seed.values())) for other, by_seed in rows.items() if by_seed}
            print(name, seed, json.dumps(means[name]), flush=True)
            save(f"ranker-{task}", {"about": about(), **fixed, "mean over seeds": means, "rankers": rows})


def earlier(path: Path, fixed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of an earlier run on the same cases, by name and seed; empty for other cases.

    Args:
        path: result file.
        fixed: values that identify the cases.
    """
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if any(result.get(key) != value for key, value in json.loads(json.dumps(fixed)).items()):
        return {}
    rows: dict[str, dict[str, Any]] = result["rankers"]
    return rows


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of every metric, and the number of seeds."""
    metrics = {key: round(float(np.mean([row["test"][key] for row in rows])), 5) for key in rows[0]["test"]}
    return {**metrics, "seeds": len(rows)}


def train(name: str, data: RankerData, seed: int) -> FittedRanker:
    """Train a ranker and print its epochs."""

    def report(epoch: int, loss: float, validation: float | None) -> None:
        print(f"{name} seed {seed} epoch {epoch}: loss {loss:.4f}, auc {validation}", file=sys.stderr, flush=True)

    return fit_ranker(name, data, SETTINGS, seed=seed, progress=report)


def row(
    fitted: FittedRanker, cases: ClickExamples, item_histories: ItemHistories, lists: "tuple[Lists, Lists]"
) -> dict[str, Any]:
    """Return the metrics of one seed, its reliability curve, and NDCG of its lists, alone and with co-visitation.

    Args:
        fitted: the trained ranker.
        cases: test cases.
        item_histories: histories of the items.
        lists: lists of validation and test.
    """
    ranker = fitted.ranker
    validation_BC, test_BC = (part.log_odds(ranker) for part in lists)
    weight = max(WEIGHTS, key=lambda w: lists[0].gain(validation_BC, w).mean())
    gains = [lists[1].gain(test_BC, w) for w in (0.0, weight)]
    change = paired_difference(gains[1], lists[1].retriever_gain(), lists[1].cases.groups_B, np.random.default_rng(0))
    probabilities = ranker.calibration(log_odds(ranker.net, cases, item_histories))[cases.is_candidate]
    curve = reliability(probabilities, cases.labels_BC[cases.is_candidate], bins=10)
    return {
        "test": {key: round(value, 5) for key, value in evaluate_ranker(ranker, cases, item_histories).items()},
        "validation auc": [round(value, 5) for value in fitted.notes["validation_auc"]],
        "fit_s": round(fitted.fit_s),
        "reliability": [[round(x, 4) for x in pair] for pair in zip(curve.predicted_K, curve.observed_K, strict=True)],
        "ndcg@10 of the first 200 of co-visitation": {
            "ordered by the ranker alone": round(float(gains[0].mean()), 5),
            "by both": round(float(gains[1].mean()), 5),
            "weight of co-visitation, by validation": weight,
            "both - co-visitation, with 95 % interval": [round(x, 5) for x in change],
        },
        "ms for 200 candidates (median)": round(1000 * speed(ranker, cases), 3),
        "settings": fitted.settings,
        "training": fitted.notes["training"],
    }


@dataclass(frozen=True)
class Lists:
    """Cases with the first 200 items of the retriever as candidates; a case whose target is not among them has gain
    0."""

    cases: ClickExamples
    item_histories: ItemHistories

    @classmethod
    def of(cls, split: Any, examples: SampledExamples, retriever: Scorer, item_histories: ItemHistories) -> "Lists":
        """Return the lists of evenly spaced cases.

        Args:
            split: the split log.
            examples: examples whose cases are used.
            retriever: model of the candidates.
            item_histories: histories of the items.
        """
        cases = examples.cases.take(np.linspace(0, len(examples) - 1, min(NUM_LISTS, len(examples))).astype(int))
        seen = cases.histories if split.exclude_seen else None
        items = top_k(retriever.scores(cases.histories), RETRIEVED, exclude=seen)[0]
        labels = (items == cases.targets[:, None]) & (items != PAD)
        assert cases.times is not None
        return cls(ClickExamples(cases.histories, cases.times, items, labels, cases.groups), item_histories)

    def log_odds(self, ranker: NeuralRanker) -> np.ndarray:
        """Return the log odds of every candidate at the time of its case, [B, 200]."""
        parts = [self.cases.take(slice(start, start + 16)) for start in range(0, len(self.cases), 16)]
        return np.concatenate([log_odds(ranker.net, part, self.item_histories) for part in parts])

    def gain(self, log_odds_BC: np.ndarray, weight: float) -> np.ndarray:
        """Return NDCG@10 of each list in the order of log odds - weight * log(rank), ties half.

        Args:
            log_odds_BC: log odds of the candidates.
            weight: weight of the rank.
        """
        scores_BC = log_odds_BC - weight * np.log(np.arange(1, log_odds_BC.shape[1] + 1))
        return self._gain(np.where(self.cases.is_candidate, scores_BC, -np.inf))

    def retriever_gain(self) -> np.ndarray:
        """Return NDCG@10 of each list in the order of the retriever."""
        return self._gain(np.broadcast_to(-np.arange(self.cases.labels_BC.shape[1]), self.cases.labels_BC.shape))

    def _gain(self, scores_BC: np.ndarray) -> np.ndarray:
        target_B1 = np.where(self.cases.labels_BC, scores_BC, -np.inf).max(axis=1, keepdims=True)
        rank_B = 1 + (scores_BC > target_B1).sum(axis=1) + ((scores_BC == target_B1).sum(axis=1) - 1) / 2
        return np.where(self.cases.labels_BC.any(axis=1), ndcg(rank_B, 10), 0.0)


def speed(ranker: NeuralRanker, cases: ClickExamples) -> float:
    """Median seconds of a request with 200 candidates, most of them cases for before."""
    rng, times = np.random.default_rng(0), []
    now_us = int(cases.times_B.max()) + 1
    items = rng.permutation(np.arange(1, ranker.size))[:2000]
    for b in range(120):
        candidates = rng.choice(items, min(RETRIEVED, len(items)), replace=False)
        history = cases.histories.take(np.array([b % len(cases)]))
        started = time.perf_counter()
        ranker.probability(history, candidates, now_us)
        times.append(time.perf_counter() - started)
    return float(np.median(times[40:]))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TASKS:
        sys.exit(f"Name a task: {', '.join(TASKS)}.")
    main(sys.argv[1], sys.argv[2:] or list(RANKERS))
