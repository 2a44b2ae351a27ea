"""Poisoning of a training log: `python benchmarks/poisoning.py [MODEL ...]`, by default popularity, covisit, gru4rec.

An attacker adds fake users, or floods from one account, so that a rarely chosen item enters many lists. A fake user
alternates between a popular item and the target, 20 events. Exposure is the share of honest test histories whose ten
best items hold the target. Measured without a limit, and with at most one event per user and item in training. Each
model is fitted for three seeds, which choose other targets. Data: MovieLens-100K, leave-last-out, where honest users
have one event per item, so that the limit removes nothing of theirs. Writes benchmarks/results/poisoning.json.
"""

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from machine import DATA, about, save
from segue.data.evaluation_cases import Split
from segue.data.readers.events import read_events
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.evaluation.evaluate import evaluate
from segue.models.scorer import Scorer
from segue.models.top_k import top_k
from segue.workflows.fit_model import fit_model

K, EVENTS, SEEDS = 10, 20, (0, 1, 2)
SHARES = (0.001, 0.01, 0.05)
"""Fake users per honest user."""
FLOODS = (1_000, 10_000)
"""Events of one account."""
SETTINGS: dict[str, dict[str, Any]] = {"gru4rec": {"epochs": 4, "embedding_dim": 32}}


def with_fakes(rows: Sequences, target: int, popular: np.ndarray, users: int, events: int, limited: bool) -> Sequences:
    """Return a training log with fake users.

    Args:
        rows: histories of the honest users.
        target: item to promote.
        popular: popular items.
        users: number of fake users.
        events: events of each.
        limited: keep one event per fake user and item.
    """
    lists = rows.to_lists()
    for fake in range(users):
        others = np.roll(popular, fake)[np.arange(events // 2) % len(popular)]
        row = np.column_stack([others, np.full(len(others), target)]).ravel().tolist()
        lists.append(list(dict.fromkeys(row)) if limited else row)
    return Sequences.from_lists(lists)


def exposure(scorer: Scorer, histories: Sequences, target: int) -> float:
    """Return the share of histories whose list holds the target."""
    items_BK = top_k(scorer.scores(histories), K, exclude=histories)[0]
    return float((items_BK == target).any(axis=1).mean())


def fit(model: str, split: Split, train: Sequences, seed: int) -> Scorer:
    """Return the model fitted on a training log."""
    return fit_model(model, replace(split, train=train, refit=train), SETTINGS.get(model), seed=seed).scorer


def measure(model: str, split: Split, seed: int) -> dict[str, Any]:
    """Return exposure and NDCG@10 of a model for each attack and limit."""
    rng = np.random.default_rng((seed, 7))
    rows = Sequences.from_lists(split.refit.to_lists())
    counts_V = np.bincount(rows.items, minlength=split.catalog.size)
    counts_V[0] = 0
    target = int(rng.choice(np.flatnonzero((counts_V >= 5) & (counts_V <= 20))))
    popular = np.argsort(-counts_V)[:50]
    attacks = {"none": (0, 0)}
    attacks |= {f"{share:.1%} fake users": (max(1, round(share * len(rows))), EVENTS) for share in SHARES}
    attacks |= {f"one account, {flood} events": (1, flood) for flood in FLOODS}
    out: dict[str, Any] = {"target_events": int(counts_V[target])}
    for name, (users, events) in attacks.items():
        for limited in (False, True) if users else (False,):
            scorer = fit(model, split, with_fakes(rows, target, popular, users, events, limited), seed)
            found = exposure(scorer, split.test.histories, target)
            ndcg = evaluate(scorer, split.test, exclude_seen=True, ks=(K,)).metrics[f"ndcg@{K}"]
            out[f"{name}{', limited' if limited else ''}"] = {"exposure": round(found, 4), "ndcg": round(ndcg, 4)}
            print(model, seed, name, "limited" if limited else "", round(found, 4), round(ndcg, 4), file=sys.stderr)
    return out


def main(models: list[str]) -> None:
    """Measure models and save the result."""
    split = split_log(read_events(DATA / "ml-100k" / "ml-100k.inter"), "leave-last-out")
    found = {model: {str(seed): measure(model, split, seed) for seed in SEEDS} for model in models}
    result: dict[str, Any] = {"about": about(), "data": "ml-100k", "users": len(split.refit), "k": K, "models": found}
    result["mean_exposure"] = {
        model: {
            attack: round(float(np.mean([run[attack]["exposure"] for run in runs.values()])), 4)
            for attack in runs[str(SEEDS[0])]
            if attack != "target_events"
        }
        for model, runs in found.items()
    }
    save("poisoning", result)


if __name__ == "__main__":
    main(sys.argv[1:] or ["popularity", "covisit", "gru4rec"])
