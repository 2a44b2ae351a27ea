"""Rules of a placement: allowed items, factors on scores, and settings that are refused."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.pipeline.item_statistics import NEVER, ItemData
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.quotas import Quota
from segue.pipeline.placements.rules import Boost, Freshness, Pin, Rules, RulesConfig
from segue.pipeline.ranked_list import PlacementReason, RankedList

SENCHA, ASSAM, POT, LONGJING, MYSTERY, UNSOLD = range(1, 7)


def allowed(
    item_data: ItemData, history: tuple[int, ...] = (), *, impressions: tuple[int, ...] = (), **config: Any
) -> list[int]:
    allowed_V = Rules(RulesConfig(**config), item_data).allowed_items(history, impressions=impressions)
    return np.flatnonzero(allowed_V).tolist()


def test_allowed_items(item_data: ItemData) -> None:
    assert allowed(item_data) == [1, 2, 3, 4, 5, 6]
    assert allowed(item_data, filter='category == "tea"') == [SENCHA, ASSAM, LONGJING]
    assert allowed(item_data, exclude=("pot", "no such item")) == [1, 2, 4, 5, 6]
    assert allowed(item_data, in_stock="in_stock") == [SENCHA, POT, LONGJING, UNSOLD]
    assert allowed(item_data, in_stock="stock") == [SENCHA]  # where stock is unknown there is none to promise
    assert allowed(item_data, (0, SENCHA, POT)) == [2, 4, 5, 6]
    assert allowed(item_data, (SENCHA, POT, 0), exclude_seen="last") == [1, 2, 4, 5, 6]
    assert allowed(item_data, (SENCHA,), exclude_seen=False) == [1, 2, 3, 4, 5, 6]
    assert allowed(item_data, impressions=(SENCHA,)) == [1, 2, 3, 4, 5, 6]
    assert allowed(item_data, impressions=(SENCHA,), exclude_shown=True) == [2, 3, 4, 5, 6]


def test_a_request_may_exclude_more(item_data: ItemData) -> None:
    rules = Rules(RulesConfig(filter='category == "tea"'), item_data)
    assert np.flatnonzero(rules.allowed_items((), filter="price < 20")).tolist() == [SENCHA]
    assert np.flatnonzero(rules.allowed_items((), exclude=[SENCHA])).tolist() == [ASSAM, LONGJING]
    assert np.flatnonzero(rules.allowed_items(())).tolist() == [SENCHA, ASSAM, LONGJING]  # nothing was written to


def rescored(item_data: ItemData, scores: list[float], now_us: int = 0, **config: Any) -> tuple[list[int], list[float]]:
    ranked = RankedList.from_items(range(1, len(scores) + 1), scores, sources=("model",))
    built = Rules(RulesConfig(**config), item_data).rescore(ranked, now_us=now_us)
    return built.items_C.tolist(), built.scores_C.tolist()


def test_boosts_multiply_and_always_raise(item_data: ItemData) -> None:
    boosts = (Boost('category == "tea"', 2.0), Boost("price < 20", 3.0))
    assert rescored(item_data, [0.1, 0.1, 0.5], boosts=boosts) == ([1, 3, 2], pytest.approx([0.6, 0.5, 0.2]))
    assert rescored(item_data, [-6.0, -2.0, -2.5], boosts=boosts) == ([1, 2, 3], pytest.approx([-1.0, -1.0, -2.5]))


def test_popularity_is_damped(item_data: ItemData) -> None:
    items, scores = rescored(item_data, [1.0, 1.0, 1.0], popularity_damping=0.5)
    assert items == [ASSAM, POT, SENCHA]
    assert scores == pytest.approx([2**-0.5, 3**-0.5, 5**-0.5])


def test_new_items_gain_and_the_gain_halves(item_data: ItemData) -> None:
    freshness = Freshness(weight=1.0, half_life_days=2.0)
    assert item_data.first_us_V.tolist() == [NEVER, 0, 0, 0, DAY_US, 0, NEVER]
    items, scores = rescored(item_data, [1.0] * 6, now_us=3 * DAY_US, freshness=freshness)
    assert items == [UNSOLD, LONGJING, SENCHA, ASSAM, POT, MYSTERY]
    assert scores == pytest.approx([2.0, 1.5] + [1 + 0.5**1.5] * 4)


def test_in_a_log_without_times_nothing_is_new(catalog: Catalog) -> None:
    item_data = ItemData.from_sequences(catalog, {}, Sequences.from_lists([[1, 2]]))
    _, scores = rescored(item_data, [1.0, 1.0, 1.0], now_us=DAY_US, freshness=Freshness(weight=1.0))
    assert scores == pytest.approx([2.0, 1.0, 1.0])  # only items without events


def test_a_list_from_rules_alone(item_data: ItemData) -> None:
    config = RulesConfig(
        filter='category != "cups"',
        pins=(Pin("mystery", 2),),
        quotas=(Quota(column="category", at_most=1),),
    )
    rules = Rules(config, item_data)
    ranked = RankedList.from_items([ASSAM, SENCHA], [0.9, 0.8], sources=("model",))
    fallback = FallbackChain({"popularity": item_data.counts_V}, 7)
    built = rules.build_list(ranked, 4, rules.allowed_items(()), fallback=fallback)
    assert built.items_C.tolist() == [ASSAM, MYSTERY, POT, SENCHA]
    assert built.reasons_C.tolist() == [
        PlacementReason.RANKED,
        PlacementReason.PINNED,
        PlacementReason.FILLED,
        PlacementReason.RELAXED,
    ]
    assert [built.source_name(i) for i in range(4)] == ["model", None, "popularity", "model"]


def test_suspicious_rules_are_noted(item_data: ItemData) -> None:
    config = RulesConfig(exclude=("pott",), pins=(Pin("gone", 1),), boosts=(Boost("price < 0", 2.0),))
    rules = Rules(config, item_data)
    assert rules.pins == {}
    assert rules.notes == (
        "The catalog does not hold the item 'pott' that a rule names.",
        "The catalog does not hold the item 'gone' that a rule names.",
        "No item passes the filter 'price < 0'.",
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"filter": "prise < 3"}, "The items have no column 'prise'. Did you mean 'price'?\n  prise < 3\n  ^^^^^"),
        ({"in_stock": "stok"}, "The items have no column 'stok'. Did you mean 'stock'?"),
        ({"in_stock": "tags"}, "in_stock names the column 'tags', which is neither true or false nor a number."),
    ],
)
def test_rules_that_do_not_fit_the_items(config: dict[str, Any], message: str, item_data: ItemData) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Rules(RulesConfig(**config), item_data)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"pins": [{"item": "a", "position": 0}]},
            "The pin of item 'a': position must be at least 1, got 0.",
        ),
        (
            {"pins": [{"item": "a", "position": 1}, {"item": "b", "position": 1}]},
            "Two pins name the position 1; each position and each item can be pinned once.",
        ),
        (
            {"pins": [{"item": "a", "position": 1}, {"item": "a", "position": 2}]},
            "Two pins name the item 'a'; each position and each item can be pinned once.",
        ),
        (
            {"boosts": [{"filter": "x", "factor": 0}]},
            "The boost of the filter 'x': factor must be above 0, got 0.0.",
        ),
        ({"freshness": {"weight": 0}}, "freshness.weight must be above 0, got 0.0."),
        (
            {"freshness": {"weight": 1, "half_life_days": -1}},
            "freshness.half_life_days must be above 0, got -1.0.",
        ),
        ({"popularity_damping": -1}, "popularity_damping must be at least 0, got -1.0."),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        decode_settings(RulesConfig, values)


def test_settings_from_a_file() -> None:
    values = {"quotas": [{"column": "brand", "at_most": 2}], "boosts": [{"filter": "new", "factor": 2}]}
    config = decode_settings(RulesConfig, values)
    assert config == RulesConfig(quotas=(Quota(column="brand", at_most=2),), boosts=(Boost("new", 2.0),))


@pytest.mark.parametrize(
    ("exclude_seen", "hidden"),
    [
        (("purchases",), [SENCHA, POT, UNSOLD]),
        (("purchase",), [SENCHA, UNSOLD]),
        (("cart",), [ASSAM, UNSOLD]),
        (("购买", "cart"), [ASSAM, POT, UNSOLD]),
        (True, [SENCHA, ASSAM, POT, UNSOLD]),
    ],
)
def test_only_some_event_types_hide_an_item(
    item_data: ItemData, exclude_seen: tuple[str, ...] | bool, hidden: list[int]
) -> None:
    types = np.array(["Purchase", "cart", "购买", "view"], dtype=object)
    row = replace(Sequences.from_lists([[SENCHA, ASSAM, POT, UNSOLD]]), event_types=types)
    rules = Rules(RulesConfig(exclude_seen=exclude_seen), item_data)
    assert np.flatnonzero(~rules.allowed_items(row)).tolist() == [0, *hidden]
    assert np.flatnonzero(~rules.allowed_items(row, exclude_seen=True)).tolist() == [0, SENCHA, ASSAM, POT, UNSOLD]
    assert np.flatnonzero(~rules.allowed_items(row, exclude_seen=False)).tolist() == [0]


def test_seen_items_are_a_flag_the_last_one_or_event_types() -> None:
    for value in (True, False, "last", ["purchases"]):
        decoded = decode_settings(RulesConfig, {"exclude_seen": value})
        assert decoded.exclude_seen == (tuple(value) if isinstance(value, list) else value)
    with pytest.raises(
        ValueError, match=r"^Setting 'exclude_seen' must be bool or 'last' or a list of str, got 'first'\.$"
    ):
        decode_settings(RulesConfig, {"exclude_seen": "first"})
    with pytest.raises(ValueError, match="needs at least one event type"):
        decode_settings(RulesConfig, {"exclude_seen": []})


def test_a_pin_that_its_own_rules_leave_out_is_noted(item_data: ItemData) -> None:
    pins = (Pin("pot", 1), Pin("sencha", 2), Pin("no such item", 3))
    notes = Rules(RulesConfig(filter='category == "tea"', pins=pins), item_data).notes
    assert notes == (
        "The catalog does not hold the item 'no such item' that a rule names.",
        "The pin of 'pot' at position 1 is never shown: the filter, the exclusions or the stock of the placement leave "
        "it out.",
    )
