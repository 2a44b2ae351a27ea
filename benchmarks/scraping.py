"""Copying of a model by its lists: `python benchmarks/scraping.py [MODEL ...]`, by default covisit, ease, gru4rec.

A scraper sends single-item histories, the popular items first, and receives k items without scores. Its surrogate sums
1 / rank over the copied lists of a history's five newest items, halved per step back, and falls back to popularity
among the copied lists. Agreement@10 is the mean overlap of its ten best items with the model's, for honest test
histories. The setting ``items_per_h_per_client`` bounds the items received per hour; ``hours_at_1000_items`` is the
time under a bound of 1,000. Data: MovieLens-100K. Writes benchmarks/results/scraping.json.
"""

import sys
from typing import Any

import numpy as np

from machine import DATA, about, save
from segue.data.readers.events import read_events
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.models.scorer import Scorer
from segue.models.top_k import top_k
from segue.workflows.fit_model import fit_model

SEEDS, REQUESTS, LENGTHS = (0, 1, 2), (10, 30, 100, 300, 1_000), (10, 50, 1_000)
BOUND = 1_000
"""Items per hour of the published bound."""
SETTINGS: dict[str, dict[str, Any]] = {"gru4rec": {"epochs": 4, "embedding_dim": 32}}


def copied_lists(scorer: Scorer, queries: list[list[int]], k: int) -> np.ndarray:
    """Return the lists that the scraper receives, int32 [N, k]."""
    parts = [Sequences.from_lists(queries[start : start + 256]) for start in range(0, len(queries), 256)]
    return np.concatenate([top_k(scorer.scores(part), k, exclude=part)[0] for part in parts])


def agreement(
    size: int, queries: list[list[int]], lists_NK: np.ndarray, histories: Sequences, best: np.ndarray
) -> float:
    """Return the mean overlap of the surrogate's ten best items with the model's."""
    gain_VV = np.zeros((size, size), dtype=np.float32)
    shares_K = (1.0 / np.arange(1, lists_NK.shape[1] + 1)).astype(np.float32)
    for query, items_K in zip(queries, lists_NK, strict=True):
        gain_VV[query[0], items_K] += shares_K
    gain_VV[:, 0] = 0
    popular_V = gain_VV.sum(axis=0)
    scores_BV = np.zeros((len(histories), size), dtype=np.float32)
    for b, history in enumerate(histories.to_lists()):
        for age, item in enumerate(history[::-1][:5]):
            scores_BV[b] += 0.5**age * gain_VV[item]
    scores_BV += 1e-6 * popular_V / max(1.0, float(popular_V.max()))
    own = top_k(scores_BV, 10, exclude=histories)[0]
    return float(np.mean([len(set(one) & set(other)) / 10 for one, other in zip(own.tolist(), best, strict=True)]))


def measure(model: str, seed: int) -> dict[str, Any]:
    """Return the agreement by list length and number of requests."""
    split = split_log(read_events(DATA / "ml-100k" / "ml-100k.inter"), "leave-last-out")
    scorer = fit_model(model, split, SETTINGS.get(model), seed=seed).scorer
    size, rng = split.catalog.size, np.random.default_rng((seed, 11))
    cases = split.test.take(rng.choice(len(split.test.targets), 400, replace=False))
    best = copied_lists(scorer, cases.histories.to_lists(), 10).tolist()
    order = top_k(scorer.scores(Sequences.from_lists([[]])), size - 1)[0][0]
    queries = [[int(item)] for item in order if item]
    out = {}
    for k in LENGTHS:
        lists_NK = copied_lists(scorer, queries[: max(REQUESTS)], min(k, size - 1))
        for number in REQUESTS:
            found = agreement(size, queries[:number], lists_NK[:number], cases.histories, best)
            out[f"k {k}, {number} requests"] = round(found, 3)
            print(model, seed, k, number, round(found, 3), file=sys.stderr)
    return out


def main(models: list[str]) -> None:
    """Measure models and save the result."""
    found = {model: {str(seed): measure(model, seed) for seed in SEEDS} for model in models}
    rows = []
    for model, runs in found.items():
        for k in LENGTHS:
            for number in REQUESTS:
                values = [run[f"k {k}, {number} requests"] for run in runs.values()]
                hours = round(number * k / BOUND, 2)
                row = {"model": model, "k": k, "requests": number, "hours_at_1000_items": hours}
                rows.append({**row, "agreement": round(float(np.mean(values)), 3), "by_seed": values})
    save("scraping", {"about": about(), "data": "ml-100k", "rows": rows})


if __name__ == "__main__":
    main(sys.argv[1:] or ["covisit", "ease", "gru4rec"])
