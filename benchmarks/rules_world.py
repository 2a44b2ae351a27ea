"""A random shop for the rules on every path: catalog, users with typed events, placements, saved models, and a naive
checker of lists that knows nothing of masks.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rule_worlds import Dice, ItemTest, Placement, World, make_placement, make_world
from segue.config.purchase_events import PURCHASE_EVENTS, is_event_of
from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.counting.markov import Markov, MarkovConfig
from segue.pipeline.config import decode_pipeline
from segue.workflows.train_pipeline import fit_pipeline

EVENT_TYPES = ["view", "view", "view", "cart", "purchase", "购买", "Order_Paid", "退款"]
START_S = 1_700_000_000
PLACEMENT_NAMES = ("default", "home", "basket", "mail", "首页")
UNKNOWN = "an item that no catalog holds"
History = list[tuple[str, str | None]]
"""Item id and event type of each event, oldest first; None: an event without a type."""


@dataclass(frozen=True)
class Rule:
    """One placement: its settings and naive tests. A single model has only ``exclude_seen``."""

    placement: Placement | None
    exclude_seen: bool | str | tuple[str, ...]
    exclude_shown: bool = False

    def settings(self, *, with_shown: bool) -> dict[str, Any]:
        """Return the rules as plain values of a pipeline's settings.

        Args:
            with_shown: keep ``exclude_shown``, which only a server of one process accepts.
        """
        assert self.placement is not None
        values = asdict(self.placement.config)
        shown = self.exclude_shown and with_shown
        return {**values, "exclude_seen": self.exclude_seen, "exclude_shown": shown}


@dataclass(frozen=True)
class Shop:
    """Random shop."""

    world: World
    ids: list[str]
    histories: dict[str, History]
    rules: dict[str, Rule]
    """Rules by placement; without "default" the default placement has no rules but that for seen items."""
    excluded_in_evaluation: bool

    def rule_of(self, placement: str | None) -> Rule:
        """Return the rules of a request's placement."""
        plain = Rule(None, True if self.excluded_in_evaluation else "last")
        return self.rules.get(placement or "default", plain)

    def write_log(self, path: Path) -> None:
        """Write the events as CSV, one second apart."""
        lines = ["user_id,item_id,timestamp,event"]
        for user, events in self.histories.items():
            lines += [f"{user},{item},{START_S + 60 * step},{kind}" for step, (item, kind) in enumerate(events)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_shop(seed: int, number: int) -> Shop:
    """Return a random shop.

    Args:
        seed: random seed.
        number: number of the shop.
    """
    dice = Dice(np.random.default_rng((seed, 11, number)))
    rng = dice.rng
    items = int(rng.integers(12, 50))
    world = make_world(rng, items)
    ids = list(world.item_data.catalog.ids)
    histories: dict[str, History] = {}
    for user in range(40):
        length = int(rng.integers(1, 14)) if user else 3 * items
        histories[f"u{user}"] = [(dice.pick(ids), dice.pick(EVENT_TYPES)) for _ in range(length)]
    rules = {name: _make_rule(dice, items) for name in PLACEMENT_NAMES if name != "default" or rng.random() < 0.5}
    return Shop(world, ids, histories, rules, bool(rng.random() < 0.5))


def _make_rule(dice: Dice, items: int) -> Rule:
    """Return random rules; half of them hide only some event types, or only the last item."""
    placement = make_placement(dice, items)
    exclude_seen: Any = dice.pick([True, True, True, False, "last"])
    if exclude_seen is True and dice.rng.random() < 0.5:
        exclude_seen = dice.pick([("purchases",), ("purchase",), ("cart", "购买"), ("purchases", "cart"), ("no such",)])
    placement = replace(placement, config=replace(placement.config, exclude_shown=False))
    return Rule(placement, exclude_seen, bool(dice.rng.random() < 0.2))


def save_models(shop: Shop, folder: Path) -> dict[str, Path]:
    """Fit and save the shop's pipelines and a single model: "pipeline", "shared" (without exclude_shown), "single".

    Args:
        shop: the shop.
        folder: folder of the models.
    """
    catalog = Catalog(shop.ids)
    rows = [catalog.to_indices([item for item, _ in events]).tolist() for events in shop.histories.values()]
    times = [[(START_S + 60 * step) * 1_000_000 for step in range(len(row))] for row in rows]
    log = Sequences.from_lists(rows, times)
    cases = EvaluationCases(log.prefixes(log.lengths - 1), log.items[log.stops - 1], np.arange(len(rows)), None, {})
    split = Split("none", catalog, log, cases, log, cases, shop.excluded_in_evaluation, "", "")
    items = dict(zip(catalog.ids, shop.world.rows[1:], strict=True))
    about = {"exclude_seen": shop.excluded_in_evaluation}
    fitted = fit_pipeline(split, decode_pipeline(_settings(shop, with_shown=True)))
    runs = {name: folder / name for name in ("pipeline", "shared", "single")}
    for name in ("pipeline", "shared"):
        own = _settings(shop, with_shown=name == "pipeline")["placement"]
        settings = {**fitted.settings, "pipeline": {**fitted.settings["pipeline"], "placement": own}}
        artifact.save(
            artifact.Artifact("pipeline", settings, catalog, fitted.scorer.arrays(), items, about), runs[name]
        )
    markov = Markov.fit(log, catalog.size, MarkovConfig())
    artifact.save(artifact.Artifact("markov", {}, catalog, markov.arrays(), items, about), runs["single"])
    return runs


def _settings(shop: Shop, *, with_shown: bool) -> dict[str, Any]:
    return {
        "source": [
            {"model": "markov", "num_candidates": 8},
            {"model": "covisit", "max_history": 3},
            {"model": "popularity", "max_events": 2},
        ],
        "blend": {"method": "reciprocal-rank", "num_candidates": 9},
        "rank": {"method": "none"},
        "placement": [
            {"name": name, "rules": rule.settings(with_shown=with_shown)} for name, rule in shop.rules.items()
        ],
    }


@dataclass(frozen=True)
class RandomRequest:
    """Rules of one request, besides its history."""

    placement: str | None
    filter: str
    passes: ItemTest
    exclude: tuple[str, ...]
    allow: tuple[str, ...] | None
    exclude_seen: bool | None
    k: int

    def fields(self) -> dict[str, Any]:
        """Return the fields of an HTTP request."""
        values: dict[str, Any] = {"k": self.k, "filter": self.filter, "exclude": list(self.exclude)}
        optional = {"placement": self.placement, "allow": self.allow, "exclude_seen": self.exclude_seen}
        return values | {name: value for name, value in optional.items() if value is not None}


def make_request(dice: Dice, shop: Shop, *, single: bool = False) -> RandomRequest:
    """Return random rules of a request.

    Args:
        dice: generator.
        shop: the shop.
        single: rules that a single model has.
    """
    rng = dice.rng
    text, passes = dice.filter(2) if rng.random() < 0.4 and not single else ("", lambda row: True)
    ids = [*shop.ids, UNKNOWN]
    exclude = tuple(str(i) for i in rng.choice(ids, size=rng.integers(0, 5))) if rng.random() < 0.3 else ()
    allow = tuple(str(i) for i in rng.choice(ids, size=rng.integers(0, len(ids)))) if rng.random() < 0.2 else None
    placement = None if single or rng.random() < 0.2 else dice.pick(list(PLACEMENT_NAMES))
    k = int(dice.pick([1, 2, 3, 5, 8, 12, 15, 60]))
    return RandomRequest(placement, text, passes, exclude, allow, dice.pick([None, None, None, True, False]), k)


def list_errors(
    shop: Shop,
    request: RandomRequest,
    history: History,
    items: Sequence[str],
    *,
    hidden: Sequence[str] = (),
    rule: Rule | None = None,
) -> list[str]:
    """Return the errors of a list, found item by item.

    Args:
        shop: the shop.
        request: the request.
        history: events of the user.
        items: the list.
        hidden: further items that must not be in it: recently recommended ones, the item of similar ones.
        rule: rules of the placement; None: those that the request names.
    """
    rule = rule or shop.rule_of(request.placement)
    seen = _seen(shop, rule, request.exclude_seen, history)
    allowed = [item for item in shop.ids if _is_allowed(shop, rule, request, item) and item not in {*seen, *hidden}]
    errors = [f"forbidden: {item}" for item in items if item not in allowed]
    if len(set(items)) != len(items):
        errors.append("an item occurs twice")
    if len(items) != min(request.k, len(allowed)):
        errors.append(f"{len(items)} items where {min(request.k, len(allowed))} were expected")
    if rule.placement is None or errors:
        return errors
    pins = {pin.position - 1: pin.item for pin in rule.placement.config.pins if pin.item in allowed}
    errors += [f"pin of {pin}" for place, pin in pins.items() if place < len(items) and items[place] != pin]
    pinned = {pin for place, pin in pins.items() if place < request.k}
    errors += [f"missing pin of {pin}" for pin in pinned if pin not in items]
    return errors + _quota_errors(shop, rule.placement, items, pinned, allowed)


def _seen(shop: Shop, rule: Rule, requested: bool | None, history: History) -> set[str]:
    """Return the items of a history that a list must not hold."""
    known = [(item, kind) for item, kind in history if item in shop.ids]
    mode = rule.exclude_seen if requested is None else requested
    if not known or mode is False:
        return set()
    last = known[-1][0]
    if mode == "last":
        return {last}
    if not isinstance(mode, tuple):
        return {item for item, _ in known}
    wanted = tuple(name for name in mode if name != "purchases")
    wanted += PURCHASE_EVENTS if "purchases" in mode else ()
    return {last} | {item for item, kind in known if kind is not None and is_event_of(kind, wanted)}


def _is_allowed(shop: Shop, rule: Rule, request: RandomRequest, item: str) -> bool:
    row = shop.world.rows[shop.ids.index(item) + 1]
    if not request.passes(row) or item in request.exclude:
        return False
    if request.allow is not None and item not in request.allow:
        return False
    if rule.placement is None:
        return True
    config = rule.placement.config
    in_stock = config.in_stock is None or row.get("in_stock") == "true"
    return rule.placement.passes(row) and item not in config.exclude and in_stock


def _quota_errors(
    shop: Shop, placement: Placement, items: Sequence[str], pinned: set[str], allowed: Sequence[str]
) -> list[str]:
    """Return errors of quotas: an upper limit that is broken while another item would keep all, and a lower limit that
    the last place could have served."""
    errors, open_places = [], [place for place, item in enumerate(items) if item not in pinned]
    for place in open_places:
        before = [*items[:place], *(item for item in pinned if item in items and item not in items[:place])]
        others = [item for item in allowed if item not in before]
        if not _keeps_limits(shop, placement, before, items[place]):
            if any(_keeps_limits(shop, placement, before, item) for item in others):
                errors.append(f"quota broken at place {place + 1}")
        elif place == open_places[-1]:
            unmet = [test for quota, test in _filters(placement) if _count(shop, test, before) < (quota.at_least or 0)]
            serving = [item for item in others if any(test(_row(shop, item)) for test in unmet)]
            could = any(_keeps_limits(shop, placement, before, item) for item in serving)
            if could and items[place] not in serving:
                errors.append("too few of a quota")
    return errors


def _filters(placement: Placement) -> list[tuple[Any, ItemTest]]:
    pairs = zip(placement.config.quotas, placement.counted, strict=True)
    return [(quota, test) for quota, test in pairs if test is not None]


def _row(shop: Shop, item: str) -> dict[str, Any]:
    return shop.world.rows[shop.ids.index(item) + 1]


def _count(shop: Shop, test: ItemTest, items: Sequence[str]) -> int:
    return sum(bool(test(_row(shop, item))) for item in items)


def _keeps_limits(shop: Shop, placement: Placement, before: Sequence[str], item: str) -> bool:
    for quota, test in zip(placement.config.quotas, placement.counted, strict=True):
        if quota.at_most is None:
            continue
        if test is not None:
            if test(_row(shop, item)) and _count(shop, test, before) >= quota.at_most:
                return False
            continue
        counts: Counter[str] = Counter(v for other in before for v in _values(shop, other, str(quota.column)))
        if any(counts[value] >= quota.at_most for value in _values(shop, item, str(quota.column))):
            return False
    return True


def _values(shop: Shop, item: str, column: str) -> list[str]:
    value = _row(shop, item).get(column)
    return [value] if isinstance(value, str) else list(value or [])
