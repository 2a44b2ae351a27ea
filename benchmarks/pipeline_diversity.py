"""Diversity against accuracy: three diversification methods on lists of the co-visitation model, on Beauty and ML-1M.

Strengths are chosen on validation (the most diversity for at most 2 % of NDCG@10) and evaluated on the test. Items are
similar by their categories (genres) or their spectral embeddings. Diversity is measured by the same similarity.
"""

import csv
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from machine import DATA
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.readers.events import read_events
from segue.data.splits.split import split_log
from segue.evaluation.beyond_accuracy import distinct_share, gini, intra_list_diversity
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.metrics import coverage, novelty
from segue.models.factorization.spectral import spectral_embeddings
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.placements.diversification import DiversificationConfig, Diversifier
from segue.pipeline.placements.item_similarity import membership, values_of
from segue.pipeline.ranked_list import RankedList
from segue.workflows.fit_model import fit_model

K = 10
CASES = 6040
"""Number of cases: all users of ML-1M. With 2,000 the loss varied by a point between neighboring strengths."""
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.22, 0.24, 0.3, 0.4, 0.6, 0.9)
NUM_FIXED = (0, 4)
"""Numbers of best candidates that keep their positions."""
ALLOWED_LOSS = 0.02
METHODS = {
    "mmr": ("mmr", "categories"),
    "determinantal": ("determinantal", "categories"),
    "calibrated": ("calibrated", "categories"),
    "mmr by embeddings": ("mmr", None),
    "determinantal by embeddings": ("determinantal", None),
}


def beauty() -> tuple[Split, dict[str, dict[str, Any]]]:
    """Return the split of Amazon Beauty and the numbered categories of its items."""
    folder = DATA / "beauty"
    split = split_log(read_events(folder / "sequences.txt", format="sequences"), "leave-last-out")
    attributes = json.loads((folder / "item_attributes.json").read_text())
    return split, {item: {"categories": [str(value) for value in row]} for item, row in attributes.items()}


def ml_1m() -> tuple[Split, dict[str, dict[str, Any]]]:
    """Return the split of MovieLens-1M and the genres of its films."""
    folder = DATA / "ml-1m"
    split = split_log(read_events(folder / "pairs.txt", format="pairs"), "leave-last-out")
    with (folder / "movies.dat").open(encoding="latin-1") as file:
        genres = {
            row[0]: row[-1].split("|")
            for row in csv.reader((line.replace("::", "\t") for line in file), delimiter="\t")
        }
    names = (line.split() for line in (folder / "sas_to_original_items.txt").read_text().splitlines())
    return split, {item: {"categories": genres[original]} for item, original in names if original in genres}


def lists(
    scorer: Scorer, cases: EvaluationCases, *, exclude_seen: bool, num_candidates: int = 100
) -> Iterator[RankedList]:
    """Yield the candidates of each case.

    Args:
        scorer: the model.
        cases: the cases.
        exclude_seen: leave out items of the history.
        num_candidates: number of candidates per case.
    """
    for start in range(0, len(cases), 100):
        histories = cases.histories.take(slice(start, min(len(cases), start + 100)))
        for row, history in zip(scorer.scores(histories), histories, strict=True):
            allowed_V = np.ones(len(row), dtype=bool)
            allowed_V[history if exclude_seen else []] = False
            yield RankedList.top_k(row.astype(np.float64), num_candidates, source="covisit", allowed_V=allowed_V)


def gains(lists_NK: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """Return NDCG@K of each list."""
    return ((lists_NK == targets_N[:, None]) / np.log2(np.arange(2, lists_NK.shape[1] + 2))).sum(axis=1)


class ListEvaluator:
    """Cases with their candidates, and metrics of lists."""

    def __init__(self, split: Split, items: dict[str, dict[str, Any]], *, test: bool, seed: int) -> None:
        cases = split.test if test else split.validation
        every = max(1, len(cases) // CASES)
        self.cases = cases.take(np.arange(0, len(cases), every)[:CASES])
        known = split.refit if test else split.train
        scorer = fit_model("covisit", split, {}, seed=seed, refit=test).scorer
        self.columns = ItemColumns.from_items(items, split.catalog)
        self.vectors_VD = spectral_embeddings(known, split.catalog.size, 64, np.random.default_rng(seed))
        self.categories_VG, _ = membership(values_of(self.columns, "categories"), np.arange(split.catalog.size))
        self.counts_V = item_counts(known, split.catalog.size)
        self.size = split.catalog.size
        self.ranked = list(lists(scorer, self.cases, exclude_seen=split.exclude_seen))

    def lists(self, config: DiversificationConfig) -> np.ndarray:
        """Return the lists [N, K] of a setting."""
        stage = Diversifier(config, self.columns, self.vectors_VD)
        out = np.zeros((len(self.cases), K), dtype=np.int32)
        for n, (ranked, history) in enumerate(zip(self.ranked, self.cases.histories, strict=True)):
            items = stage.apply(ranked, K, history).items_C[:K]
            out[n, : len(items)] = items
        return out

    def metrics(self, lists_NK: np.ndarray) -> dict[str, float]:
        """Return accuracy and diversity of lists [N, K]."""
        main_V = np.where(self.categories_VG.sum(axis=1) > 0, self.categories_VG.argmax(axis=1), -1)
        return {
            f"ndcg@{K}": float(gains(lists_NK, self.cases.targets).mean()),
            "diversity by categories": float(intra_list_diversity(lists_NK, self.categories_VG).mean()),
            "diversity by embeddings": float(intra_list_diversity(lists_NK, self.vectors_VD).mean()),
            "distinct first categories": float(distinct_share(lists_NK, main_V).mean()),
            "coverage": coverage(lists_NK, self.size),
            "novelty": novelty(lists_NK, self.counts_V),
            "gini": gini(lists_NK, self.size),
        }


def measure(split: Split, items: dict[str, dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return curves on validation, and the chosen strengths on the test, of one log.

    Args:
        split: the split log.
        items: columns of each item.
        seed: seed of the models.
    """
    chosen: dict[str, DiversificationConfig] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    validation = ListEvaluator(split, items, test=False, seed=seed)
    plain = validation.metrics(validation.lists(DiversificationConfig()))
    for name, (method, column) in METHODS.items():
        metric = "diversity by categories" if column else "diversity by embeddings"
        best = plain[metric]
        for num_fixed in NUM_FIXED:
            curve = curves[f"{name}, {num_fixed} fixed" if num_fixed else name] = []
            for strength in STRENGTHS:
                config = DiversificationConfig(method, strength=strength, column=column, num_fixed=num_fixed)  # type: ignore[arg-type]
                metrics = validation.metrics(validation.lists(config))
                curve.append({"strength": strength, "num_fixed": num_fixed} | metrics)
                if metrics[f"ndcg@{K}"] >= (1 - ALLOWED_LOSS) * plain[f"ndcg@{K}"] and metrics[metric] > best:
                    chosen[name], best = config, metrics[metric]
    test = ListEvaluator(split, items, test=True, seed=seed)
    before_NK = test.lists(DiversificationConfig())
    result: dict[str, Any] = {
        "validation": {"plain": plain, "curves": curves},
        "test": {"plain": test.metrics(before_NK)},
    }
    for name, config in chosen.items():
        after_NK = test.lists(config)
        after_N, before_N = (gains(lists_NK, test.cases.targets) for lists_NK in (after_NK, before_NK))
        difference, low, high = paired_difference(after_N, before_N, test.cases.groups, np.random.default_rng(seed))
        metric = "diversity by categories" if config.column else "diversity by embeddings"
        metrics, base = test.metrics(after_NK), result["test"]["plain"]
        result["test"][name] = metrics | {
            "strength": config.strength,
            "num_fixed": config.num_fixed,
            "diversity gained": metrics[metric] / base[metric] - 1,
            "ndcg lost": 1 - metrics[f"ndcg@{K}"] / base[f"ndcg@{K}"],
            "ndcg difference": [difference, low, high],
        }
    return result | {"protocol": split.protocol, "cases": len(test.cases)}


def run(seed: int = 0) -> dict[str, Any]:
    """Measure every log, each in a process of its own."""
    with ProcessPoolExecutor(max_workers=len(LOGS)) as pool:
        futures = {name: pool.submit(_one, name, seed) for name in LOGS}
        return {name: future.result() for name, future in futures.items()}


def _one(name: str, seed: int) -> dict[str, Any]:
    return measure(*LOGS[name](), seed)


LOGS = {"beauty": beauty, "ml-1m": ml_1m}
