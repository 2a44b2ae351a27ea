"""Random catalogs, filters, rules and histories, and a naive checker of the lists.

A filter is made as a text and as a plain Python test of one item's values, without masks.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.placements.exploration import ExploreConfig, Explorer
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.quotas import Quota
from segue.pipeline.placements.rules import Boost, Pin, Rules, RulesConfig
from segue.pipeline.ranked_list import PlacementReason, RankedList

Row = dict[str, Any]
ItemTest = Callable[[Row], bool]
CATEGORIES = ["tea", "Tea", "coffee", "茶", 'a "quoted" one', "back\\slash"]
TAGS = ["gift", "new", "礼物", "x y"]
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def quoted(text: str) -> str:
    """Return a text as a filter spells it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _compares(name: str, sign: str, value: Any) -> ItemTest:
    """Return the test of a comparison; a missing value passes != only."""
    return lambda row: sign == "!=" if row.get(name) is None else SIGNS[sign](row[name], value)


class Dice:
    """Generator of random filters and rules."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, options: Any) -> Any:
        """Return one of the options."""
        return options[int(self.rng.integers(len(options)))]

    def filter(self, depth: int = 3) -> tuple[str, ItemTest]:
        """Return a filter as a text and as a test of one item."""
        operator = self.pick(["test", "and", "or", "not"]) if depth else "test"
        if operator == "test":
            return self._test()
        first, passes_first = self.filter(depth - 1)
        if operator == "not":
            return f"not ({first})", lambda row: not passes_first(row)
        second, passes_second = self.filter(depth - 1)
        if operator == "and":
            return f"({first}) and ({second})", lambda row: passes_first(row) and passes_second(row)
        return f"({first}) or ({second})", lambda row: passes_first(row) or passes_second(row)

    def _test(self) -> tuple[str, ItemTest]:
        return self.pick(
            [self._number, self._text, self._membership, self._list, self._missing, self._flag, self._part]
        )()

    def _number(self) -> tuple[str, ItemTest]:
        sign, value = self.pick(list(SIGNS)), float(self.rng.integers(0, 30))
        name = self.pick(["price", "价格"])
        if self.rng.random() < 0.3:
            low = value - 8
            return (
                f"{low:g} <= {name} < {value:g}",
                lambda row: row.get(name) is not None and low <= row[name] < value,
            )
        return f"{name} {sign} {value:g}", _compares(name, sign, value)

    def _text(self) -> tuple[str, ItemTest]:
        sign, value = self.pick(list(SIGNS)), self.pick([*CATEGORIES, "unknown"])
        return f"category {sign} {quoted(value)}", _compares("category", sign, value)

    def _membership(self) -> tuple[str, ItemTest]:
        values = [self.pick([*CATEGORIES, "unknown"]) for _ in range(self.rng.integers(1, 4))]
        text = ", ".join(quoted(value) for value in values)
        if self.rng.random() < 0.5:
            return f"category not in [{text}]", lambda row: row.get("category") not in values
        return f"category in [{text}]", lambda row: row.get("category") in values

    def _list(self) -> tuple[str, ItemTest]:
        value = self.pick([*TAGS, "unknown"])
        return f"{quoted(value)} in tags", lambda row: value in (row.get("tags") or [])

    def _missing(self) -> tuple[str, ItemTest]:
        name = self.pick(["price", "category", "tags", "in_stock"])
        if self.rng.random() < 0.5:
            return f"{name} is missing", lambda row: row.get(name) is None
        return f"{name} is not missing", lambda row: row.get(name) is not None

    def _flag(self) -> tuple[str, ItemTest]:
        if self.rng.random() < 0.5:
            return "in_stock", lambda row: row.get("in_stock") == "true"
        return "in_stock != true", lambda row: row.get("in_stock") != "true"

    def _part(self) -> tuple[str, ItemTest]:
        part = self.pick(["TE", "茶", "e", "zz", ""])
        return (
            f"category contains {quoted(part)}",
            lambda row: row.get("category") is not None and part.lower() in row["category"].lower(),
        )


@dataclass(frozen=True)
class World:
    """Catalog with the columns and counts of its items."""

    rows: list[Row]
    """Columns of each item by index; row PAD is empty."""
    item_data: ItemData
    fallback: FallbackChain


def make_world(rng: np.random.Generator, items: int) -> World:
    """Return items with prices, categories, tags and stock, sometimes missing, and a log with few popular items.

    Args:
        rng: generator.
        items: number of items.
    """
    dice = Dice(rng)
    rows: list[Row] = [{}]
    for number in range(items):
        row = {
            "price": float(rng.integers(0, 30)),
            "价格": float(rng.integers(0, 30)),
            "category": dice.pick(CATEGORIES),
            "tags": [tag for tag in TAGS if rng.random() < 0.3],
            "in_stock": "true" if rng.random() < 0.8 else "false",
        }
        # The first item has every value, because a column without values would not exist.
        rows.append({name: value for name, value in row.items() if number == 0 or rng.random() > 0.1})
    catalog = Catalog([f"item {i}" for i in range(items)])
    log = Sequences.from_lists([1 + rng.integers(0, 1 + items // 2, size=8) % items for _ in range(items // 2)])
    item_data = ItemData.from_sequences(catalog, dict(zip(catalog.ids, rows[1:], strict=True)), log)
    return World(rows, item_data, FallbackChain({"popularity": item_data.counts_V}, catalog.size))


@dataclass(frozen=True)
class Placement:
    """Rules with naive tests of their filters."""

    config: RulesConfig
    passes: ItemTest
    boosted: ItemTest
    counted: tuple[ItemTest | None, ...]
    """Test of each quota; None for a quota on the values of a column."""


def make_placement(dice: Dice, items: int) -> Placement:
    """Return random rules.

    Args:
        dice: generator.
        items: number of items.
    """
    rng = dice.rng
    filter, passes = dice.filter() if rng.random() < 0.8 else ("", lambda row: True)
    boost, boosted = dice.filter(1)
    pinned = rng.permutation(items)[: rng.integers(0, 4)].tolist()
    positions = (1 + rng.permutation(12))[: len(pinned)].tolist()
    quotas: list[Quota] = []
    counted: list[ItemTest | None] = []
    for _ in range(rng.integers(0, 3)):
        if rng.random() < 0.5:
            column = dice.pick(["category", "tags"])
            quotas.append(Quota(column=column, at_most=int(rng.integers(1, 4))))
            counted.append(None)
        else:
            text, passes_quota = dice.filter(1)
            at_least = int(rng.integers(0, 4))
            at_most = dice.pick([None, at_least + 1, at_least + 3])
            quotas.append(Quota(filter=text, at_least=at_least, at_most=at_most))
            counted.append(passes_quota)
    config = RulesConfig(
        filter=filter,
        exclude=tuple(f"item {i}" for i in rng.integers(0, items, size=rng.integers(0, 4))),
        in_stock="in_stock" if rng.random() < 0.3 else None,
        exclude_seen=bool(rng.random() < 0.8),
        exclude_shown=bool(rng.random() < 0.5),
        pins=tuple(Pin(f"item {i}", int(position)) for i, position in zip(pinned, positions, strict=True)),
        boosts=(Boost(boost, float(rng.choice([0.5, 3.0]))),),
        quotas=tuple(quotas),
        popularity_damping=float(rng.choice([0.0, 0.3])),
    )
    return Placement(config, passes, boosted, tuple(counted))


def check_request(world: World, placement: Placement, dice: Dice) -> tuple[list[str], RankedList]:
    """Build the list of a random request, and return its errors and the list.

    Args:
        world: catalog and items.
        placement: rules.
        dice: generator.
    """
    rng, size = dice.rng, len(world.rows)
    history, impressions = (rng.integers(1, size, size=rng.integers(0, 6)) for _ in range(2))
    rules = Rules(placement.config, world.item_data)
    allowed_V = rules.allowed_items(history, impressions=impressions)
    candidates = rng.permutation(np.arange(1, size))[: rng.integers(0, size)]  # some are forbidden
    ranked = RankedList.from_items(candidates, np.sort(rng.random(len(candidates)))[::-1], sources=("model",))
    method = dice.pick(["none", "epsilon", "thompson", "plackett-luce"])
    explorer = Explorer(ExploreConfig(method=method, first_position=int(rng.integers(1, 5))))
    rescored = rules.rescore(ranked, now_us=0) if method != "thompson" else ranked
    k = int(rng.integers(1, 13))
    ranked = rules.build_list(rescored, k, allowed_V, fallback=world.fallback, policy=explorer.policy(rng))
    seen, recent = set(history.tolist()), set(impressions.tolist())
    allowed = [i for i in range(1, size) if _is_allowed(world, placement, i, seen, recent)]
    return list_errors(world, placement, k, allowed, ranked), ranked


def _is_allowed(world: World, placement: Placement, item: int, seen: set[int], recent: set[int]) -> bool:
    """Return True if the rules allow an item."""
    config, row = placement.config, world.rows[item]
    if f"item {item - 1}" in config.exclude or not placement.passes(row):
        return False
    if config.in_stock is not None and row.get("in_stock") != "true":
        return False
    return not (config.exclude_seen and item in seen) and not (config.exclude_shown and item in recent)


def list_errors(world: World, placement: Placement, k: int, allowed: list[int], ranked: RankedList) -> list[str]:
    """Return the errors of a list.

    Args:
        world: catalog and items.
        placement: rules.
        k: requested length.
        allowed: items that the rules allow.
        ranked: the list.
    """
    items, errors = ranked.items_C.tolist(), []
    if forbidden := set(items) - set(allowed):
        errors.append(f"forbidden items {sorted(forbidden)}")
    if len(items) != min(k, len(allowed)):
        errors.append(f"{len(items)} items where {min(k, len(allowed))} were expected")
    if len(set(items)) != len(items) or PAD in items:
        errors.append("a repeated item, or PAD")
    for pin in placement.config.pins:
        item = int(pin.item.split()[1]) + 1
        if item in allowed and pin.position <= len(items) and items[pin.position - 1] != item:
            errors.append(f"item {item} is not at its position {pin.position}")
        if item in allowed and len(items) < pin.position <= k and item not in items:
            errors.append(f"the pinned item {item} is missing from a short list")
    if not ((ranked.propensity_C > 0) & (ranked.propensity_C <= 1)).all():
        errors.append(f"probabilities {ranked.propensity_C.tolist()}")
    return errors + _quota_errors(world, placement, allowed, ranked)


def _quota_errors(world: World, placement: Placement, allowed: list[int], ranked: RankedList) -> list[str]:
    """Return errors of quotas: a broken one without a relaxed item, or a relaxed item while another one would fit."""
    errors = []
    reasons = ranked.reasons_C
    pinned = {int(i) for i, reason in zip(ranked.items_C, reasons, strict=True) if reason == PlacementReason.PINNED}
    for position, reason in enumerate(ranked.reasons_C.tolist()):
        if reason == PlacementReason.RELAXED:
            above = ranked.items_C[:position]
            before = [int(i) for i in above] + [i for i in pinned if i not in above]
            if any(_fits(world, placement, before, i, ranked) for i in allowed if i not in before):
                errors.append(f"position {position + 1} breaks a quota without need")
    if PlacementReason.RELAXED in ranked.reasons_C or pinned:
        return errors
    items = ranked.items_C.tolist()
    for quota, counts in zip(placement.config.quotas, placement.counted, strict=True):
        number = _counted(world, quota, counts, items)
        if quota.at_most is not None and number > quota.at_most:
            errors.append(f"{number} of {quota}")
    minimums = [q.at_least or 0 for q in placement.config.quotas]
    if sum(minimums) <= len(items):
        for quota, counts in zip(placement.config.quotas, placement.counted, strict=True):
            if counts and _counted(world, quota, counts, items) < (quota.at_least or 0):
                errors.append(f"too few of {quota}")
    return errors


def _counted(world: World, quota: Quota, counts: ItemTest | None, items: list[int]) -> int:
    """Return the number of items that a quota counts; of the most frequent value for a column."""
    if counts is not None:
        return sum(counts(world.rows[i]) for i in items)
    values: Counter[str] = Counter()
    for i in items:
        value = world.rows[i].get(str(quota.column))
        values.update([value] if isinstance(value, str) else value or [])
    return max(values.values(), default=0)


def _fits(world: World, placement: Placement, before: list[int], item: int, ranked: RankedList) -> bool:
    """Return True if an item keeps every at_most, and serves an at_least where all open positions are needed for
    them."""
    needed, serves = 0, False
    for quota, counts in zip(placement.config.quotas, placement.counted, strict=True):
        if quota.at_most is not None and not _keeps_at_most(world, quota, counts, before, item):
            return False
        if counts is not None and quota.at_least:
            missing = max(0, quota.at_least - _counted(world, quota, counts, before))
            needed += missing
            serves |= missing > 0 and counts(world.rows[item])
    return needed < len(ranked) - len(before) or serves


def _keeps_at_most(world: World, quota: Quota, counts: ItemTest | None, before: list[int], item: int) -> bool:
    if counts is not None:
        return not counts(world.rows[item]) or _counted(world, quota, counts, before) < (quota.at_most or 0)
    value = world.rows[item].get(str(quota.column))
    values = [value] if isinstance(value, str) else value or []
    others = [[v] if isinstance(v, str) else v or [] for v in (world.rows[i].get(str(quota.column)) for i in before)]
    return all(sum(part in other for other in others) < (quota.at_most or 0) for part in values)
