"""Click probabilities side by side: `python benchmarks/ranker.py TASK [NAME ...]`, TASK beauty, ml-1m, ml-1m-time or
online-retail; NAME of rankers, all of them without one.

Each test case is what somebody did next, against one item drawn by popularity and one that the co-visit rule retrieves.
Every ranker is trained on the same cases (a draw of 16,000 of the newest events, fresh negatives for each of at most
6 epochs, so that a log takes minutes), stopped and calibrated on validation, and judged once on the same test cases:
AUC, logloss, ECE, for three seeds; then how each orders the first 200 that the rule retrieves, alone and as log-odds -
weight * log(rank by the rule) with the weight that is best on validation, and what ranking 200 candidates takes. Every
row goes to benchmarks/results/ranker-TASK.json when it is finished, and is not run again.
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
"""For all rankers alike; the rest is as it is by default."""
TEST_CASES = 20_000
RETRIEVED = 200
RERANKED = 500
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
    """Runs what is asked, seed by seed, and keeps every row as it is finished; what is there already is not run again
    where it was made with the same cases."""
    log, split = TASKS[task]()
    size = split.catalog.size
    data = RankerData.from_split(split, sampling=CandidateSamplingConfig(max_positives=POSITIVES))
    past = with_full_histories(log, split)
    retriever = CoVisit.fit(split.train, size, CoVisitConfig())
    asked = sample_examples(split.test, TEST_CASES, 0)
    draw = SampledExamples(asked, past, retriever, CandidateSamplingConfig(), exclude_seen=split.exclude_seen)
    cases = draw.draw(np.random.default_rng(9))
    chooses = SampledExamples(
        split.validation, data.item_histories, None, CandidateSamplingConfig(), exclude_seen=split.exclude_seen
    )
    lists = (Lists.of(split, chooses, retriever, data.item_histories), Lists.of(split, draw, retriever, past))
    fixed = {
        "task": TASKS[task].__doc__,
        "protocol": split.protocol,
        "data": split.fingerprint,
        "training cases": len(data.train),
        "test cases": len(cases),
        "cases": asdict(CandidateSamplingConfig(max_positives=POSITIVES)),
        "rule alone, ndcg@10 of its first 200": round(float(lists[1].rule().mean()), 5),
    }
    rows = earlier(RESULTS / f"ranker-{task}.json", fixed)
    for seed in SEEDS:
        for name in names:
            if str(seed) in rows.setdefault(name, {}):
                continue
            rows[name][str(seed)] = row(one(name, data, seed), cases, past, lists)
            means = {other: mean(list(found.values())) for other, found in rows.items() if found}
            print(name, seed, json.dumps(means[name]), flush=True)
            save(f"ranker-{task}", {"about": about(), **fixed, "mean over seeds": means, "rankers": rows})


def earlier(path: Path, fixed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of an earlier run on the same cases, by name and seed; none where the cases were others."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if any(kept.get(key) != value for key, value in json.loads(json.dumps(fixed)).items()):
        return {}
    found: dict[str, dict[str, Any]] = kept["rankers"]
    return found


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every figure, and over how many seeds."""
    figures = {key: round(float(np.mean([row["test"][key] for row in rows])), 5) for key in rows[0]["test"]}
    return {**figures, "seeds": len(rows)}


def one(name: str, data: RankerData, seed: int) -> FittedRanker:
    """One training, its epochs told."""

    def tell(epoch: int, loss: float, validation: float | None) -> None:
        print(f"{name} seed {seed} epoch {epoch}: loss {loss:.4f}, auc {validation}", file=sys.stderr, flush=True)

    return fit_ranker(name, data, SETTINGS, seed=seed, progress=tell)


def row(
    fitted: FittedRanker, cases: ClickExamples, past: ItemHistories, lists: "tuple[Lists, Lists]"
) -> dict[str, Any]:
    """One seed's figures, its reliability curve, and how it orders lists, alone and with the rule."""
    ranker = fitted.ranker
    chooses, judges = (part.log_odds(ranker) for part in lists)
    weight = max(WEIGHTS, key=lambda w: lists[0].gain(chooses, w).mean())
    gains = [lists[1].gain(judges, w) for w in (0.0, weight)]
    against = paired_difference(gains[1], lists[1].rule(), lists[1].cases.groups_B, np.random.default_rng(0))
    told = ranker.calibration(log_odds(ranker.net, cases, past))[cases.is_candidate]
    curve = reliability(told, cases.labels_BC[cases.is_candidate], bins=10)
    return {
        "test": {key: round(value, 5) for key, value in evaluate_ranker(ranker, cases, past).items()},
        "validation auc": [round(value, 5) for value in fitted.notes["validation_auc"]],
        "fit_s": round(fitted.fit_s),
        "reliability": [[round(x, 4) for x in pair] for pair in zip(curve.predicted_K, curve.observed_K, strict=True)],
        "ndcg@10 of the rule's first 200": {
            "ordered by the ranker alone": round(float(gains[0].mean()), 5),
            "by both": round(float(gains[1].mean()), 5),
            "weight of the rule, by validation": weight,
            "both - rule, with 95 % interval": [round(x, 5) for x in against],
        },
        "ms for 200 candidates (median)": round(1000 * speed(ranker, cases), 3),
        "settings": fitted.settings,
        "training": fitted.notes["training"],
    }


@dataclass(frozen=True)
class Lists:
    """Some cases with the rule's first 200 as candidates, best first; a target outside them is a case nobody wins."""

    cases: ClickExamples
    past: ItemHistories

    @classmethod
    def of(cls, split: Any, draw: SampledExamples, retriever: Scorer, past: ItemHistories) -> "Lists":
        """Evenly spaced ones of those that may be asked."""
        asked = draw.cases.take(np.linspace(0, len(draw) - 1, min(RERANKED, len(draw))).astype(int))
        seen = asked.histories if split.exclude_seen else None
        items = top_k(retriever.scores(asked.histories), RETRIEVED, exclude=seen)[0]
        labels = (items == asked.targets[:, None]) & (items != PAD)
        assert asked.times is not None
        return cls(ClickExamples(asked.histories, asked.times, items, labels, asked.groups), past)

    def log_odds(self, ranker: NeuralRanker) -> np.ndarray:
        """Of every candidate at its moment, [B, 200]."""
        parts = [self.cases.take(slice(start, start + 16)) for start in range(0, len(self.cases), 16)]
        return np.concatenate([log_odds(ranker.net, part, self.past) for part in parts])

    def gain(self, log_odds_BC: np.ndarray, weight: float) -> np.ndarray:
        """NDCG@10 of each list in the order of log-odds - weight * log(rank); of equal ones half above the target."""
        said = log_odds_BC - weight * np.log(np.arange(1, log_odds_BC.shape[1] + 1))
        return self._gain(np.where(self.cases.is_candidate, said, -np.inf))

    def rule(self) -> np.ndarray:
        """NDCG@10 of the rule's own order."""
        return self._gain(np.broadcast_to(-np.arange(self.cases.labels_BC.shape[1]), self.cases.labels_BC.shape))

    def _gain(self, said: np.ndarray) -> np.ndarray:
        target = np.where(self.cases.labels_BC, said, -np.inf).max(axis=1, keepdims=True)
        rank = 1 + (said > target).sum(axis=1) + ((said == target).sum(axis=1) - 1) / 2
        return np.where(self.cases.labels_BC.any(axis=1), ndcg(rank, 10), 0.0)


def speed(ranker: NeuralRanker, cases: ClickExamples) -> float:
    """Median seconds of a request with 200 candidates, most of them asked for before."""
    rng, times = np.random.default_rng(0), []
    now = int(cases.times_B.max()) + 1
    favorites = rng.permutation(np.arange(1, ranker.size))[:2000]
    for b in range(120):
        candidates = rng.choice(favorites, min(RETRIEVED, len(favorites)), replace=False)
        history = cases.histories.take([b % len(cases)])
        started = time.perf_counter()
        ranker.probability(history, candidates, now)
        times.append(time.perf_counter() - started)
    return float(np.median(times[40:]))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TASKS:
        sys.exit(f"Which task? One of {', '.join(TASKS)}.")
    main(sys.argv[1], sys.argv[2:] or list(RANKERS))
