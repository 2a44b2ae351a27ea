"""Rules under 10,000 random filters, placements and histories, judged by a naive judge; and what rules cost."""

import time
from collections import Counter
from typing import Any

import numpy as np

from rule_worlds import Dice, ask, make_placement, make_world
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
    """Mistakes by kind (there must be none), and milliseconds."""
    return {"property": check(seed), "cost": cost(seed)}


def check(seed: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """A fresh catalog every ten rounds; each round a filter, a placement, a history and a list."""
    mistakes: Counter[str] = Counter()
    how: Counter[str] = Counter()
    filters = lists = 0
    for number in range(rounds):
        dice = Dice(np.random.default_rng((seed, number)))
        if number % 10 == 0:
            items = int(dice.rng.integers(2, 60))
            world = make_world(dice.rng, items)
        placement = make_placement(dice, items)
        mask_V = compile_mask(placement.config.filter, world.facts.columns)
        filters += 1
        if mask_V.tolist() != [False] + [bool(placement.passes(row)) for row in world.rows[1:]]:
            mistakes[f"the filter {placement.config.filter}"] += 1
        wrong, found = ask(world, placement, dice)
        lists += 1
        mistakes.update(wrong)
        how.update(PlacementReason(value).name.lower() for value in found.reasons_C.tolist())
    return {"filters": filters, "lists": lists, "mistakes": dict(mistakes), "items by how they came": dict(how)}


def shop(seed: int) -> tuple[ItemData, FallbackChain]:
    """A catalog of ITEMS with prices, brands, categories and tags; a twentieth of the values is missing."""
    rng = np.random.default_rng(seed)
    catalog = Catalog(f"i{n}" for n in range(ITEMS))
    price, brand, category = rng.gamma(2.0, 15.0, ITEMS), rng.integers(0, 500, ITEMS), rng.integers(0, 40, ITEMS)
    tags, there = rng.integers(0, 30, (ITEMS, 2)), rng.random(ITEMS) > 0.05
    rows = {
        item: {"price": float(price[n]), "brand": f"b{brand[n]}", "category": f"c{category[n]}"}
        | ({"tags": [f"t{t}" for t in tags[n]]} if there[n] else {})
        for n, item in enumerate(catalog.ids)
    }
    popular = np.minimum(rng.zipf(1.3, size=(ITEMS, 10)), ITEMS).astype(np.int32)
    facts = ItemData.from_sequences(catalog, rows, Sequences.from_lists(popular))
    return facts, FallbackChain({"popularity": facts.counts_V}, catalog.size)


def cost(seed: int, repeats: int = 300) -> dict[str, Any]:
    """Milliseconds, median and 99th percentile, of each stage of one request."""
    rng = np.random.default_rng(seed)
    facts, ladder = shop(seed)
    config = RulesConfig(
        filter=FILTER,
        pins=(Pin("i77", 3),),
        boosts=(Boost("price < 10", 1.5),),
        quotas=(Quota(column="brand", at_most=2), Quota(filter='"t3" in tags', at_least=2)),
        popularity_damping=0.2,
    )
    rules = Rules(config, facts)
    vectors_VD = rng.normal(size=(ITEMS + 1, 64)).astype(np.float32)
    explorer = Explorer(ExploreConfig("plackett-luce"))
    history = rng.integers(1, ITEMS, 50)
    allowed_V = rules.allowed_items(history)
    ranked = RankedList.top_k(rng.random(ITEMS + 1), CANDIDATES, source="model", allowed_V=allowed_V)
    none = RankedList.from_items([], [], sources=("model",))
    stages = {
        "compile a new filter": lambda: compile_mask(FILTER, facts.columns),
        "what may be shown": lambda: rules.allowed_items(history),
        "boosts and damping": lambda: rules.rescore(ranked, now_us=0),
        "arrange with pins, quotas, draws": lambda: rules.build_list(
            ranked, 10, allowed_V, fallback=ladder, policy=explorer.policy(rng)
        ),
        "arrange from the ladder alone": lambda: rules.build_list(none, 10, allowed_V, fallback=ladder),
    }
    for method in ("mmr", "determinantal", "calibrated"):
        column = "category" if method == "calibrated" else None
        stage = Diversifier(DiversificationConfig(method, column=column), facts.columns, vectors_VD)  # type: ignore[arg-type]
        stages[method] = lambda stage=stage: stage.apply(ranked, 10, history)
    measured = {}
    for name, work in stages.items():
        took_ms = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            took_ms.append((time.perf_counter() - start) * 1e3)
        measured[name] = {
            "p50_ms": round(float(np.median(took_ms)), 3),
            "p99_ms": round(float(np.quantile(took_ms, 0.99)), 3),
        }
    return {"items": ITEMS, "candidates": CANDIDATES, "k": 10, "stages": measured}
