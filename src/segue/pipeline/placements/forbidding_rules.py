"""Rules that keep one item out of a list, each named in a sentence."""

from typing import NamedTuple

import numpy as np

from segue.data.sequences import Sequences
from segue.models.top_k import seen_items
from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
from segue.pipeline.placements.rules import Rules


class ForbiddingRule(NamedTuple):
    """Rule that keeps an item out of a list."""

    name: str
    """Setting of the placement or field of the request."""
    english: str
    """Clause about the item, which "it" stands for."""
    chinese: str


def forbidding_rules(
    engine: PlacementEngine, item: int, history: Sequences, request: PlacementRequest
) -> list[ForbiddingRule]:
    """Return the rules of a placement and a request that keep an item out of the list; empty for an allowed item.

    Args:
        engine: the placements.
        item: item index, not PAD.
        history: one row.
        request: the request.

    Raises:
        ValueError: an unknown placement or a wrong filter.
    """
    if engine.allowed_items(history, request)[item]:
        return []
    rules = engine.stages_of(request.placement).rules
    found = placement_rules_against(rules, item) + _seen_rules(rules, item, history, request)
    if rules.config.exclude_shown and item in np.asarray(request.impressions):
        found.append(ForbiddingRule("exclude_shown", "it was recommended recently", "最近已经推荐过它"))
    if request.filter and not rules.mask_of(request.filter)[item]:
        clause = f"it does not pass the filter of the request, {request.filter}"
        found.append(ForbiddingRule("request filter", clause, f"它不符合请求的条件 {request.filter}"))
    if item in np.asarray(request.exclude):
        found.append(ForbiddingRule("request exclude", "the request excludes it", "请求排除了它"))
    if request.allowed_V is not None and not request.allowed_V[item : item + 1].any():
        found.append(ForbiddingRule("request allow", "the request does not allow it", "请求没有允许它"))
    return found or [ForbiddingRule("hidden", "it is hidden from all lists", "它在所有列表中都被隐藏")]


def placement_rules_against(rules: Rules, item: int) -> list[ForbiddingRule]:
    """Return the rules of a placement that keep an item out of the list of every user.

    Args:
        rules: the compiled rules.
        item: item index, not PAD.
    """
    config, found = rules.config, []
    if config.filter and not rules.mask_of(config.filter)[item]:
        clause = f"it does not pass the filter {config.filter}"
        found.append(ForbiddingRule("filter", clause, f"它不符合条件 {config.filter}"))
    if item in rules.excluded_items:
        found.append(ForbiddingRule("exclude", "the placement excludes its id", "这里按编号排除了它"))
    stock_V = rules.stock_mask()
    if stock_V is not None and not stock_V[item]:
        clause = f"it is not in stock by the column {config.in_stock}"
        found.append(ForbiddingRule("in_stock", clause, f"按 {config.in_stock} 一列，它没有库存"))
    return found


def _seen_rules(rules: Rules, item: int, history: Sequences, request: PlacementRequest) -> list[ForbiddingRule]:
    history = request.seen_history(history, rules)
    if not _holds(rules.seen_items(history, request.exclude_seen), item):
        return []
    if _holds(seen_items(history, "last"), item):
        return [ForbiddingRule("exclude_seen", "it is the last item of the history", "它是刚刚看过的")]
    if request.exclude_seen is None and isinstance(rules.config.exclude_seen, tuple):
        types = ", ".join(rules.config.exclude_seen)
        return [
            ForbiddingRule(
                "exclude_seen", f"the history holds it as an event of {types}", f"历史中已有它的 {types} 记录"
            )
        ]
    return [ForbiddingRule("exclude_seen", "the history holds it", "历史中已经有它")]


def _holds(rows: Sequences | None, item: int) -> bool:
    return rows is not None and item in rows.items[rows.starts[0] : rows.stops[0]]


def pin_notes(engine: PlacementEngine, listed: list[int], history: Sequences, request: PlacementRequest) -> list[str]:
    """Return a sentence about each pin of a placement that is not at its position of a list.

    Args:
        engine: the placements.
        listed: item indices of the list.
        history: one row.
        request: the request of the list.
    """
    notes, catalog = [], engine.item_data.catalog
    for pin in engine.stages_of(request.placement).rules.config.pins:
        item = int(catalog.to_indices([pin.item])[0])
        if listed[pin.position - 1 : pin.position] == [item]:
            continue
        if item == 0:
            reason = "the catalog does not hold it"
        elif against := forbidding_rules(engine, item, history, request):
            reason = ", and ".join(rule.english for rule in against)
        elif item in listed:
            reason = f"the list has {len(listed)} items, so it is at position {listed.index(item) + 1}"
        else:
            reason = f"the list has {len(listed)} items"
        notes.append(f"The pin of '{pin.item}' at position {pin.position} is not shown there: {reason}.")
    return notes


def empty_list_note(engine: PlacementEngine, request: PlacementRequest) -> str:
    """Return the sentence about a list without any item: how many items each rule leaves.

    Args:
        engine: the placements.
        request: the request of the list.
    """
    rules, name = engine.stages_of(request.placement).rules, request.placement
    by_placement = int(rules.always_allowed_V.sum())
    by_request = int(engine.allowed_items(Sequences.from_lists([[]]), request).sum())
    parts = [f"{by_placement:,} of {len(engine.item_data.catalog):,} items pass the rules of placement '{name}'"]
    if by_request < by_placement:
        parts.append(f"{by_request:,} of them the rules of the request")
    if by_request:
        parts.append("and the history holds all of these")
    return f"No item is left to recommend: {', '.join(parts)}."
