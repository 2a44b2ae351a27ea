"""Rules under 10,000 random filters, placements and histories, checked by a naive checker; and the cost of rules."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rule_worlds import Dice, check_request, make_placement, make_world
from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.pipeline.filters.compiler import compile_mask
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.placements.diversification import DiversificationConfig, Diversifier
from segue.pipeline.placements.exploration import ExploreConfig, Explorer
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.quotas import Quota
from segue.pipeline.placements.rules import Boost, Pin, Rules, RulesConfig
from segue.pipeline.ranked_list import PlacementReason, RankedList

ROUNDS = 10_000
ITEMS = 100_000
CANDIDATES = 500
FILTER = 'category == "c3" and price < 20 and not (brand in ["b1", "b2"])'


def run(seed: int = 0) -> dict[str, Any]:
    """Return the errors (there must be none) and the durations."""
    return {"property": check(seed), "cost": cost(seed)}


def check(seed: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Check random filters, placements, histories and lists, with a new catalog every ten rounds.

    Args:
        seed: random seed.
        rounds: number of lists.
    """
    mistakes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    filters = lists = 0
    for number in range(rounds):
        dice = Dice(np.random.default_rng((seed, number)))
        if number % 10 == 0:
            items = int(dice.rng.integers(2, 60))
            world = make_world(dice.rng, items)
        placement = make_placement(dice, items)
        mask_V = compile_mask(placement.config.filter, world.item_data.columns)
        filters += 1
        if mask_V.tolist() != [False] + [bool(placement.passes(row)) for row in world.rows[1:]]:
            mistakes[f"the filter {placement.config.filter}"] += 1
        errors, ranked = check_request(world, placement, dice)
        lists += 1
        mistakes.update(errors)
        reasons.update(PlacementReason(value).name.lower() for value in ranked.reasons_C.tolist())
    return {"filters": filters, "lists": lists, "mistakes": dict(mistakes), "items by reason": dict(reasons)}


def make_catalog(seed: int) -> tuple[ItemData, FallbackChain]:
    """Return a catalog of ITEMS with prices, brands, categories and tags, and its fallback; a twentieth of tags is
    missing."""
    rng = np.random.default_rng(seed)
    catalog = Catalog(f"i{n}" for n in range(ITEMS))
    price, brand, category = rng.gamma(2.0, 15.0, ITEMS), rng.integers(0, 500, ITEMS), rng.integers(0, 40, ITEMS)
    tags, has_tags = rng.integers(0, 30, (ITEMS, 2)), rng.random(ITEMS) > 0.05
    rows = {
        item: {"price": float(price[n]), "brand": f"b{brand[n]}", "category": f"c{category[n]}"}
        | ({"tags": [f"t{t}" for t in tags[n]]} if has_tags[n] else {})
        for n, item in enumerate(catalog.ids)
    }
    popular = np.minimum(rng.zipf(1.3, size=(ITEMS, 10)), ITEMS).astype(np.int32)
    item_data = ItemData.from_sequences(catalog, rows, Sequences.from_lists(popular))
    return item_data, FallbackChain({"popularity": item_data.counts_V}, catalog.size)


def cost(seed: int, repeats: int = 300) -> dict[str, Any]:
    """Measure each stage of one request: median and 99th percentile in milliseconds.

    Args:
        seed: random seed.
        repeats: number of runs of each stage.
    """
    rng = np.random.default_rng(seed)
    item_data, fallback = make_catalog(seed)
    config = RulesConfig(
        filter=FILTER,
        pins=(Pin("i77", 3),),
        boosts=(Boost("price < 10", 1.5),),
        quotas=(Quota(column="brand", at_most=2), Quota(filter='"t3" in tags', at_least=2)),
        popularity_damping=0.2,
    )
    rules = Rules(config, item_data)
    vectors_VD = rng.normal(size=(ITEMS + 1, 64)).astype(np.float32)
    explorer = Explorer(ExploreConfig("plackett-luce"))
    history = rng.integers(1, ITEMS, 50)
    allowed_V = rules.allowed_items(history)
    ranked = RankedList.top_k(rng.random(ITEMS + 1), CANDIDATES, source="model", allowed_V=allowed_V)
    none = RankedList.from_items([], [], sources=("model",))
    stages: dict[str, Callable[[], object]] = {
        "compile a new filter": lambda: compile_mask(FILTER, item_data.columns),
        "allowed items": lambda: rules.allowed_items(history),
        "boosts and damping": lambda: rules.rescore(ranked, now_us=0),
        "build list with pins, quotas, exploration": lambda: rules.build_list(
            ranked, 10, allowed_V, fallback=fallback, policy=explorer.policy(rng)
        ),
        "build list from the fallback alone": lambda: rules.build_list(none, 10, allowed_V, fallback=fallback),
    }
    for method in ("mmr", "determinantal", "calibrated"):
        column = "category" if method == "calibrated" else None
        config_of_method = DiversificationConfig(method, column=column)
        diversifier = Diversifier(config_of_method, item_data.columns, vectors_VD)
        stages[method] = partial(diversifier.apply, ranked, 10, history)
    measured = {}
    for name, stage in stages.items():
        took_ms = []
        for _ in range(repeats):
            start = time.perf_counter()
            stage()
            took_ms.append((time.perf_counter() - start) * 1e3)
        measured[name] = {
            "p50_ms": round(float(np.median(took_ms)), 3),
            "p99_ms": round(float(np.quantile(took_ms, 0.99)), 3),
        }
    return {"items": ITEMS, "candidates": CANDIDATES, "k": 10, "stages": measured}
