"""Random catalogs, filters, rules and histories, and a naive judge of what comes out: never trust the clever path.

A filter is made as a text and, beside it, as a plain Python test of one item's values, which knows nothing of masks.
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
Judge = Callable[[Row], bool]
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
    """As a filter writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _compares(name: str, sign: str, value: Any) -> Judge:
    """A missing value fails every test but !=."""
    return lambda row: sign == "!=" if row.get(name) is None else SIGNS[sign](row[name], value)


class Dice:
    """Draws parts of filters and rules."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, options: Any) -> Any:
        """One of them."""
        return options[int(self.rng.integers(len(options)))]

    def filter(self, depth: int = 3) -> tuple[str, Judge]:
        """(the text, the test of one item)."""
        kind = self.pick(["test", "and", "or", "not"]) if depth else "test"
        if kind == "test":
            return self._test()
        first, one = self.filter(depth - 1)
        if kind == "not":
            return f"not ({first})", lambda row: not one(row)
        second, two = self.filter(depth - 1)
        if kind == "and":
            return f"({first}) and ({second})", lambda row: one(row) and two(row)
        return f"({first}) or ({second})", lambda row: one(row) or two(row)

    def _test(self) -> tuple[str, Judge]:
        return self.pick([self._number, self._text, self._one_of, self._list, self._missing, self._flag, self._part])()

    def _number(self) -> tuple[str, Judge]:
        sign, value = self.pick(list(SIGNS)), float(self.rng.integers(0, 30))
        name = self.pick(["price", "价格"])
        if self.rng.random() < 0.3:
            low = value - 8
            return (
                f"{low:g} <= {name} < {value:g}",
                lambda row: row.get(name) is not None and low <= row[name] < value,
            )
        return f"{name} {sign} {value:g}", _compares(name, sign, value)

    def _text(self) -> tuple[str, Judge]:
        sign, value = self.pick(list(SIGNS)), self.pick([*CATEGORIES, "unknown"])
        return f"category {sign} {quoted(value)}", _compares("category", sign, value)

    def _one_of(self) -> tuple[str, Judge]:
        values = [self.pick([*CATEGORIES, "unknown"]) for _ in range(self.rng.integers(1, 4))]
        text = ", ".join(quoted(value) for value in values)
        if self.rng.random() < 0.5:
            return f"category not in [{text}]", lambda row: row.get("category") not in values
        return f"category in [{text}]", lambda row: row.get("category") in values

    def _list(self) -> tuple[str, Judge]:
        value = self.pick([*TAGS, "unknown"])
        return f"{quoted(value)} in tags", lambda row: value in (row.get("tags") or [])

    def _missing(self) -> tuple[str, Judge]:
        name = self.pick(["price", "category", "tags", "in_stock"])
        if self.rng.random() < 0.5:
            return f"{name} is missing", lambda row: row.get(name) is None
        return f"{name} is not missing", lambda row: row.get(name) is not None

    def _flag(self) -> tuple[str, Judge]:
        if self.rng.random() < 0.5:
            return "in_stock", lambda row: row.get("in_stock") == "true"
        return "in_stock != true", lambda row: row.get("in_stock") != "true"

    def _part(self) -> tuple[str, Judge]:
        part = self.pick(["TE", "茶", "e", "zz", ""])
        return (
            f"category contains {quoted(part)}",
            lambda row: row.get("category") is not None and part.lower() in row["category"].lower(),
        )


@dataclass(frozen=True)
class World:
    """A catalog and what is known of its items."""

    rows: list[Row]
    """By index; row PAD is empty."""
    facts: ItemData
    ladder: FallbackChain


def make_world(rng: np.random.Generator, items: int) -> World:
    """Items with prices, categories, tags, stock, each now and then missing; a log in which few are popular."""
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
        # The first item has all: a column of which nothing is known is none.
        rows.append({name: value for name, value in row.items() if number == 0 or rng.random() > 0.1})
    catalog = Catalog([f"item {i}" for i in range(items)])
    log = Sequences.from_lists([1 + rng.integers(0, 1 + items // 2, size=8) % items for _ in range(items // 2)])
    facts = ItemData.from_sequences(catalog, dict(zip(catalog.ids, rows[1:], strict=True)), log)
    return World(rows, facts, FallbackChain({"popularity": facts.counts_V}, catalog.size))


@dataclass(frozen=True)
class Placement:
    """Rules, and the naive tests of their filters."""

    config: RulesConfig
    passes: Judge
    boosted: Judge
    counted: tuple[Judge | None, ...]
    """One for each quota; None for one that counts a column's values."""


def make_placement(dice: Dice, items: int) -> Placement:
    """Some of everything."""
    rng = dice.rng
    filter, passes = dice.filter() if rng.random() < 0.8 else ("", lambda row: True)
    boost, boosted = dice.filter(1)
    pinned = rng.permutation(items)[: rng.integers(0, 4)].tolist()
    places = (1 + rng.permutation(12))[: len(pinned)].tolist()
    quotas, counted = [], []
    for _ in range(rng.integers(0, 3)):
        if rng.random() < 0.5:
            column = dice.pick(["category", "tags"])
            quotas.append(Quota(column=column, at_most=int(rng.integers(1, 4))))
            counted.append(None)
        else:
            text, judge = dice.filter(1)
            least = int(rng.integers(0, 4))
            most = dice.pick([None, least + 1, least + 3])
            quotas.append(Quota(filter=text, at_least=least, at_most=most))
            counted.append(judge)
    config = RulesConfig(
        filter=filter,
        exclude=tuple(f"item {i}" for i in rng.integers(0, items, size=rng.integers(0, 4))),
        in_stock="in_stock" if rng.random() < 0.3 else None,
        exclude_seen=bool(rng.random() < 0.8),
        exclude_shown=bool(rng.random() < 0.5),
        pins=tuple(Pin(f"item {i}", int(place)) for i, place in zip(pinned, places, strict=True)),
        boosts=(Boost(boost, float(rng.choice([0.5, 3.0]))),),
        quotas=tuple(quotas),
        popularity_damping=float(rng.choice([0.0, 0.3])),
    )
    return Placement(config, passes, boosted, tuple(counted))


def ask(world: World, placement: Placement, dice: Dice) -> tuple[list[str], RankedList]:
    """One request's list; (what the naive judge finds wrong with it, the list)."""
    rng, size = dice.rng, len(world.rows)
    history, shown = (rng.integers(1, size, size=rng.integers(0, 6)) for _ in range(2))
    rules = Rules(placement.config, world.facts)
    allowed_V = rules.allowed_items(history, impressions=shown)
    candidates = rng.permutation(np.arange(1, size))[: rng.integers(0, size)]  # some of them forbidden
    ranked = RankedList.from_items(candidates, np.sort(rng.random(len(candidates)))[::-1], sources=("model",))
    method = dice.pick(["none", "epsilon", "thompson", "plackett-luce"])
    explorer = Explorer(ExploreConfig(method=method, first_position=int(rng.integers(1, 5))))
    weighed = rules.rescore(ranked, now_us=0) if method != "thompson" else ranked
    k = int(rng.integers(1, 13))
    found = rules.build_list(weighed, k, allowed_V, fallback=world.ladder, policy=explorer.policy(rng))
    wanted = [i for i in range(1, size) if _may(world, placement, i, set(history.tolist()), set(shown.tolist()))]
    return judge(world, placement, k, wanted, found), found


def _may(world: World, placement: Placement, item: int, seen: set[int], shown: set[int]) -> bool:
    """Whether an item may be shown, from the rules' words alone."""
    config, row = placement.config, world.rows[item]
    if f"item {item - 1}" in config.exclude or not placement.passes(row):
        return False
    if config.in_stock is not None and row.get("in_stock") != "true":
        return False
    return not (config.exclude_seen and item in seen) and not (config.exclude_shown and item in shown)


def judge(world: World, placement: Placement, k: int, wanted: list[int], found: RankedList) -> list[str]:
    """Everything that a list must not be."""
    items, wrong = found.items_C.tolist(), []
    if forbidden := set(items) - set(wanted):
        wrong.append(f"forbidden items {sorted(forbidden)}")
    if len(items) != min(k, len(wanted)):
        wrong.append(f"{len(items)} items where {min(k, len(wanted))} were due")
    if len(set(items)) != len(items) or PAD in items:
        wrong.append("an item twice, or PAD")
    for pin in placement.config.pins:
        item = int(pin.item.split()[1]) + 1
        if item in wanted and pin.position <= len(items) and items[pin.position - 1] != item:
            wrong.append(f"item {item} is not at its place {pin.position}")
        if item in wanted and len(items) < pin.position <= k and item not in items:
            wrong.append(f"the pinned item {item} is missing from a short list")
    if not ((found.propensity_C > 0) & (found.propensity_C <= 1)).all():
        wrong.append(f"probabilities {found.propensity_C.tolist()}")
    return wrong + _quotas(world, placement, wanted, found)


def _quotas(world: World, placement: Placement, wanted: list[int], found: RankedList) -> list[str]:
    """Quotas hold where no item is flagged as breaking one; and none is flagged while another would have kept them."""
    wrong = []
    pinned = {int(i) for i, how in zip(found.items_C, found.reasons_C, strict=True) if how == PlacementReason.PINNED}
    for place, how in enumerate(found.reasons_C.tolist()):
        if how == PlacementReason.RELAXED:
            before = [int(i) for i in found.items_C[:place]] + [i for i in pinned if i not in found.items_C[:place]]
            if any(_fits(world, placement, before, i, found) for i in wanted if i not in before):
                wrong.append(f"place {place + 1} breaks a quota without need")
    if PlacementReason.RELAXED in found.reasons_C or pinned:
        return wrong
    items = found.items_C.tolist()
    for quota, counts in zip(placement.config.quotas, placement.counted, strict=True):
        number = _counted(world, quota, counts, items)
        if quota.at_most is not None and number > quota.at_most:
            wrong.append(f"{number} of {quota}")
    least = [q.at_least or 0 for q in placement.config.quotas]
    if sum(least) <= len(items):
        for quota, counts in zip(placement.config.quotas, placement.counted, strict=True):
            if counts and _counted(world, quota, counts, items) < (quota.at_least or 0):
                wrong.append(f"too few of {quota}")
    return wrong


def _counted(world: World, quota: Quota, counts: Judge | None, items: list[int]) -> int:
    """How many of the items a quota counts: of the most frequent value, where it counts values."""
    if counts is not None:
        return sum(counts(world.rows[i]) for i in items)
    values: Counter[str] = Counter()
    for i in items:
        value = world.rows[i].get(str(quota.column))
        values.update([value] if isinstance(value, str) else value or [])
    return max(values.values(), default=0)


def _fits(world: World, placement: Placement, before: list[int], item: int, found: RankedList) -> bool:
    """Whether an item keeps every at-most, and serves an at-least where all places left are owed to them."""
    owed, serves = 0, False
    for quota, counts in zip(placement.config.quotas, placement.counted, strict=True):
        if quota.at_most is not None and not _keeps(world, quota, counts, before, item):
            return False
        if counts is not None and quota.at_least:
            missing = max(0, quota.at_least - _counted(world, quota, counts, before))
            owed += missing
            serves |= missing > 0 and counts(world.rows[item])
    return owed < len(found) - len(before) or serves


def _keeps(world: World, quota: Quota, counts: Judge | None, before: list[int], item: int) -> bool:
    if counts is not None:
        return not counts(world.rows[item]) or _counted(world, quota, counts, before) < (quota.at_most or 0)
    value = world.rows[item].get(str(quota.column))
    own = [value] if isinstance(value, str) else value or []
    holders = [[v] if isinstance(v, str) else v or [] for v in (world.rows[i].get(str(quota.column)) for i in before)]
    return all(sum(part in held for held in holders) < (quota.at_most or 0) for part in own)
