"""Variety against accuracy, as curves: three re-rankers over the co-visit rule's lists, on Beauty and ML-1M.

Strengths are chosen on the validation cases (the most variety that costs at most 2 % of NDCG@10) and judged on the test
cases. Items are alike by their categories (genres); variety is measured by these and, for the choice by vectors, by
the spectral vectors it chose by.
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
"""All people of ML-1M: with 2,000 the loss that decides moved by a point from one strength to the next."""
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.22, 0.24, 0.3, 0.4, 0.6, 0.9)
KEPT = (0, 4)
"""So many of the best keep their places: clicks are lost there, variety is won behind them."""
ALLOWED_LOSS = 0.02
METHODS = {
    "mmr": ("mmr", "kinds"),
    "determinantal": ("determinantal", "kinds"),
    "calibrated": ("calibrated", "kinds"),
    "mmr by vectors": ("mmr", None),
    "determinantal by vectors": ("determinantal", None),
}


def beauty() -> tuple[Split, dict[str, dict[str, Any]]]:
    """Categories as the file of attributes numbers them."""
    folder = DATA / "beauty"
    split = split_log(read_events(folder / "sequences.txt", format="sequences"), "leave-last-out")
    kinds = json.loads((folder / "item_attributes.json").read_text())
    return split, {item: {"kinds": [str(kind) for kind in row]} for item, row in kinds.items()}


def ml_1m() -> tuple[Split, dict[str, dict[str, Any]]]:
    """Genres."""
    folder = DATA / "ml-1m"
    split = split_log(read_events(folder / "pairs.txt", format="pairs"), "leave-last-out")
    with (folder / "movies.dat").open(encoding="latin-1") as file:
        genres = {
            row[0]: row[-1].split("|")
            for row in csv.reader((line.replace("::", "\t") for line in file), delimiter="\t")
        }
    names = (line.split() for line in (folder / "sas_to_original_items.txt").read_text().splitlines())
    return split, {item: {"kinds": genres[original]} for item, original in names if original in genres}


def lists(scorer: Scorer, cases: EvaluationCases, *, exclude_seen: bool, depth: int = 100) -> Iterator[RankedList]:
    """The candidates of each case."""
    for start in range(0, len(cases), 100):
        histories = cases.histories.take(slice(start, min(len(cases), start + 100)))
        for row, history in zip(scorer.scores(histories), histories, strict=True):
            allowed_V = np.ones(len(row), dtype=bool)
            allowed_V[history if exclude_seen else []] = False
            yield RankedList.top_k(row.astype(np.float64), depth, source="covisit", allowed_V=allowed_V)


def gains(lists_NK: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """NDCG@K of each list."""
    return ((lists_NK == targets_N[:, None]) / np.log2(np.arange(2, lists_NK.shape[1] + 2))).sum(axis=1)


class Bench:
    """One set of cases, with everything to judge lists by."""

    def __init__(self, split: Split, items: dict[str, dict[str, Any]], *, test: bool, seed: int) -> None:
        cases = split.test if test else split.validation
        every = max(1, len(cases) // CASES)
        self.cases = cases.take(np.arange(0, len(cases), every)[:CASES])
        known = split.refit if test else split.train
        scorer = fit_model("covisit", split, {}, seed=seed, refit=test).scorer
        self.columns = ItemColumns.from_items(items, split.catalog)
        self.vectors_VD = spectral_embeddings(known, split.catalog.size, 64, np.random.default_rng(seed))
        self.kinds_VG, _ = membership(values_of(self.columns, "kinds"), np.arange(split.catalog.size))
        self.counts_V = item_counts(known, split.catalog.size)
        self.size = split.catalog.size
        self.ranked = list(lists(scorer, self.cases, exclude_seen=split.exclude_seen))

    def shown(self, config: DiversificationConfig) -> np.ndarray:
        """The lists [N, K] under a setting."""
        stage = Diversifier(config, self.columns, self.vectors_VD)
        out = np.zeros((len(self.cases), K), dtype=np.int32)
        for n, (ranked, history) in enumerate(zip(self.ranked, self.cases.histories, strict=True)):
            found = stage.apply(ranked, K, history).items_C[:K]
            out[n, : len(found)] = found
        return out

    def judged(self, lists_NK: np.ndarray) -> dict[str, float]:
        """Accuracy and variety."""
        main_V = np.where(self.kinds_VG.sum(axis=1) > 0, self.kinds_VG.argmax(axis=1), -1)
        return {
            f"ndcg@{K}": float(gains(lists_NK, self.cases.targets).mean()),
            "diversity by kinds": float(intra_list_diversity(lists_NK, self.kinds_VG).mean()),
            "diversity by vectors": float(intra_list_diversity(lists_NK, self.vectors_VD).mean()),
            "distinct first kinds": float(distinct_share(lists_NK, main_V).mean()),
            "coverage": coverage(lists_NK, self.size),
            "novelty": novelty(lists_NK, self.counts_V),
            "gini": gini(lists_NK, self.size),
        }


def measure(split: Split, items: dict[str, dict[str, Any]], seed: int) -> dict[str, Any]:
    """One log: curves on validation, the chosen strengths on test."""
    chosen: dict[str, DiversificationConfig] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    choosing = Bench(split, items, test=False, seed=seed)
    plain = choosing.judged(choosing.shown(DiversificationConfig()))
    for name, (method, column) in METHODS.items():
        told = "diversity by kinds" if column else "diversity by vectors"
        best = plain[told]
        for kept in KEPT:
            curve = curves[f"{name}, {kept} kept" if kept else name] = []
            for strength in STRENGTHS:
                config = DiversificationConfig(method, strength=strength, column=column, num_fixed=kept)  # type: ignore[arg-type]
                found = choosing.judged(choosing.shown(config))
                curve.append({"strength": strength, "num_fixed": kept} | found)
                if found[f"ndcg@{K}"] >= (1 - ALLOWED_LOSS) * plain[f"ndcg@{K}"] and found[told] > best:
                    chosen[name], best = config, found[told]
    judging = Bench(split, items, test=True, seed=seed)
    before_NK = judging.shown(DiversificationConfig())
    result = {"validation": {"plain": plain, "curves": curves}, "test": {"plain": judging.judged(before_NK)}}
    for name, config in chosen.items():
        after_NK = judging.shown(config)
        pair = [gains(lists_NK, judging.cases.targets) for lists_NK in (after_NK, before_NK)]
        difference, low, high = paired_difference(*pair, judging.cases.groups, np.random.default_rng(seed))
        told = "diversity by kinds" if config.column else "diversity by vectors"
        found, base = judging.judged(after_NK), result["test"]["plain"]
        result["test"][name] = found | {
            "strength": config.strength,
            "kept": config.num_fixed,
            "diversity gained": found[told] / base[told] - 1,
            "ndcg lost": 1 - found[f"ndcg@{K}"] / base[f"ndcg@{K}"],
            "ndcg difference": [difference, low, high],
        }
    return result | {"protocol": split.protocol, "cases": len(judging.cases)}


def run(seed: int = 0) -> dict[str, Any]:
    """Every log that is there, each in a process of its own."""
    with ProcessPoolExecutor(max_workers=len(LOGS)) as pool:
        found = {name: pool.submit(_one, name, seed) for name in LOGS}
        return {name: one.result() for name, one in found.items()}


def _one(name: str, seed: int) -> dict[str, Any]:
    return measure(*LOGS[name](), seed)


LOGS = {"beauty": beauty, "ml-1m": ml_1m}
