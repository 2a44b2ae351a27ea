"""A small shop with prices, brands and stock, pipelines with every kind of rule, and the rules once more by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.pipeline.config import decode_pipeline
from segue.serving.schemas.requests import RecommendRequest
from segue.workflows.train_pipeline import fit_pipeline

IDS = [f"i{number}" for number in range(40)]
PRICES = {item: float(number * 7 % 20) for number, item in enumerate(IDS)}
BRANDS = {item: "abcd"[number % 4] for number, item in enumerate(IDS)}
IN_STOCK = {item: number % 5 > 0 for number, item in enumerate(IDS)}
HIDDEN = ("i1", "i2", "i21")
PLACEMENTS: list[dict[str, Any]] = [
    {"name": "default", "rules": {"exclude": list(HIDDEN), "exclude_seen": True}},
    {"name": "cheap", "rules": {"filter": "price < 5", "exclude_seen": False}},
    {"name": "stocked", "rules": {"in_stock": "stock", "exclude_seen": True}},
    {
        "name": "mixed",
        "rules": {
            "pins": [{"item": "i39", "position": 1}, {"item": "i0", "position": 3}, {"item": "i1", "position": 90}],
            "quotas": [{"column": "brand", "at_most": 3}, {"filter": 'brand == "d"', "at_least": 2}],
            "boosts": [{"filter": "price > 10", "factor": 50.0}],
            "freshness": {"weight": 2.0},
            "popularity_damping": 0.5,
            "exclude_seen": False,
        },
        "rerank": {"method": "mmr", "column": "brand", "strength": 0.4},
        "explore": {"method": "thompson", "first_position": 1},
    },
    {
        "name": "drawn",
        "rules": {"exclude_shown": True},
        "rerank": {"method": "calibrated", "column": "brand", "strength": 0.5},
        "explore": {"method": "plackett-luce", "first_position": 2},
    },
]
"""Placements that hide, filter, pin, limit, boost, diversify and explore."""
SOURCES: list[dict[str, Any]] = [{"model": "markov"}, {"model": "covisit", "max_history": 3}, {"model": "popularity"}]
PIPELINES: dict[str, dict[str, Any]] = {
    "ranks": {
        "source": SOURCES,
        "blend": {"method": "reciprocal-rank", "num_candidates": 6},
        "rank": {"method": "none"},
    },
    "weights": {
        "source": [*SOURCES[:2], {"model": "again", "num_candidates": 2}, {"model": "content-knn", "max_events": 2}],
        "blend": {"method": "weighted", "num_candidates": 4},
        "rank": {"method": "none"},
    },
    "trees": {
        "source": [*SOURCES, {"model": "trend", "min_events": 1}],
        "blend": {"num_candidates": 9},
        "rank": {"method": "trees", "max_trees": 3, "min_leaf_size": 5},
    },
}
"""Pipelines whose blend keeps fewer candidates than a list may have items."""


def save_pipeline(name: str, folder: Path, placements: Sequence[dict[str, Any]] = PLACEMENTS) -> Path:
    """Fit a pipeline on random walks of the shop's users, and save it. The last two items have no events."""
    rng = np.random.default_rng(5)
    rows = [((start + np.arange(7) * (1 + start % 3)) % 38 + 1).tolist() for start in rng.integers(0, 38, 120)]
    log = Sequences.from_lists(rows, [[(row * 9 + step) * 1_000_000 for step in range(7)] for row in range(120)])
    cases = EvaluationCases(log.prefixes([6] * 120), log.items[log.stops - 1], np.arange(120), None, {})
    catalog = Catalog(IDS)
    features = {
        item: {"title": f"Thing {item}", "price": PRICES[item], "brand": BRANDS[item], "stock": IN_STOCK[item]}
        for item in IDS
    }
    types = {"title": "text", "price": "number", "brand": "category", "stock": "category"}
    rows_of_items = ItemFeatures([{}, *features.values()], types)
    split = Split("none", catalog, log, cases, log, cases, True, "", "", rows_of_items)
    fitted = fit_pipeline(split, decode_pipeline({**PIPELINES[name], "placement": list(placements)}))
    about = {"exclude_seen": True}
    saved = artifact.Artifact("pipeline", fitted.settings, catalog, fitted.scorer.arrays(), features, about)
    artifact.save(saved, folder)
    return folder


FILTERS = {
    "": lambda item: True,
    "price < 5": lambda item: PRICES[item] < 5,
    'brand in ("a", "b") and price >= 3': lambda item: BRANDS[item] in "ab" and PRICES[item] >= 3,
    "price > 12": lambda item: PRICES[item] > 12,
    "price > 1000": lambda item: False,
    "not stock": lambda item: not IN_STOCK[item],
}
"""Filters, and the same in Python."""


def is_allowed(request: RecommendRequest, item: str, history: Sequence[str]) -> bool:
    """Return whether a request and its placement allow an item.

    Args:
        request: the request.
        item: the item.
        history: items of the user.
    """
    placement = next(one for one in PLACEMENTS if one["name"] == (request.placement or "default"))
    rules = placement["rules"]
    exclude_seen = rules.get("exclude_seen", True) if request.exclude_seen is None else request.exclude_seen
    return (
        FILTERS[request.filter](item)
        and FILTERS[rules.get("filter", "")](item)
        and item not in rules.get("exclude", ())
        and item not in request.exclude
        and (request.allow is None or item in request.allow)
        and ("in_stock" not in rules or IN_STOCK[item])
        and not (exclude_seen and item in history)
    )
