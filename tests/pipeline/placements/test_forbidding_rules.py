"""Rules that keep an item out of a list, each by its name and in a sentence; pins and empty lists explained by them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.ring import SIZE

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.pipeline.config import PlacementConfig
from segue.pipeline.placements.forbidding_rules import (
    empty_list_note,
    forbidding_rules,
    pin_notes,
    placement_rules_against,
)
from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
from segue.pipeline.placements.rules import Pin, RulesConfig

CATALOG = Catalog(f"item {i}" for i in range(1, SIZE))
ITEMS = {f"item {i}": {"price": float(i), "stock": i % 4} for i in range(1, SIZE)}
PINS = (Pin("item 5", 1), Pin("item 12", 2), Pin("gone", 3), Pin("item 6", 9))
PLACES = [
    PlacementConfig("ruled", RulesConfig(filter="price < 10", exclude=("item 3",), in_stock="stock")),
    PlacementConfig("shown", RulesConfig(exclude_shown=True, exclude_seen=False)),
    PlacementConfig("bought", RulesConfig(exclude_seen=("purchase", "rent"))),
    PlacementConfig("pinned", RulesConfig(filter="price < 10", in_stock="stock", pins=PINS)),
    PlacementConfig("none", RulesConfig(filter="price < 0")),
]


@pytest.fixture(scope="module")
def engine(fitted_pipeline):
    return PlacementEngine(fitted_pipeline.scorer, CATALOG, ITEMS, placements=PLACES)


def history(row, types=None):
    return replace(Sequences.from_lists([row]), event_types=None if types is None else np.array(types, dtype=object))


def against(engine, item, placement="ruled", row=(), types=None, **options):
    rules = forbidding_rules(engine, item, history(row, types), PlacementRequest(placement, **options))
    assert all(rule.chinese for rule in rules)
    return [(rule.name, rule.english) for rule in rules]


def test_the_rules_of_a_placement(engine):
    assert against(engine, 1) == []
    assert against(engine, 3) == [("exclude", "the placement excludes its id")]
    assert against(engine, 4) == [("in_stock", "it is not in stock by the column stock")]
    assert against(engine, 11) == [("filter", "it does not pass the filter price < 10")]
    assert [name for name, _ in against(engine, 12)] == ["filter", "in_stock"]
    rules = engine.stages_of("ruled").rules
    assert [rule.name for rule in placement_rules_against(rules, 12)] == ["filter", "in_stock"]
    assert placement_rules_against(engine.stages_of("shown").rules, 12) == []


def test_the_rules_of_the_history(engine):
    assert against(engine, 1, row=[1, 2]) == [("exclude_seen", "the history holds it")]
    assert against(engine, 2, row=[1, 2]) == [("exclude_seen", "it is the last item of the history")]
    assert against(engine, 1, row=[1, 2], exclude_seen="last") == []
    assert against(engine, 1, row=[1, 2], exclude_seen=False) == []
    assert against(engine, 5, "shown", row=[5]) == []


def test_the_rules_of_event_types(engine):
    row, types = [1, 2, 6], ["purchase", "view", "view"]
    assert against(engine, 1, "bought", row, types) == [
        ("exclude_seen", "the history holds it as an event of purchase, rent")
    ]
    assert against(engine, 2, "bought", row, types) == []
    assert against(engine, 6, "bought", row, types) == [("exclude_seen", "it is the last item of the history")]
    assert against(engine, 2, "bought", row, types, exclude_seen=True) == [("exclude_seen", "the history holds it")]
    assert against(engine, 1, "ruled", row, types, exclude_seen=("purchase",)) == [
        ("exclude_seen", "the history holds it")
    ]


def test_the_rules_of_shown_items(engine):
    assert against(engine, 5, "shown", impressions=[7, 5]) == [("exclude_shown", "it was recommended recently")]
    assert against(engine, 5, "shown", impressions=[7]) == []
    assert against(engine, 5, "ruled", impressions=[5]) == []


def test_the_rules_of_a_request(engine):
    assert against(engine, 5, filter="price > 5") == [
        ("request filter", "it does not pass the filter of the request, price > 5")
    ]
    assert against(engine, 6, filter="price > 5") == []
    assert against(engine, 5, exclude=[6, 5]) == [("request exclude", "the request excludes it")]
    allowed_V = np.zeros(SIZE, dtype=bool)
    allowed_V[6] = True
    assert against(engine, 5, allowed_V=allowed_V) == [("request allow", "the request does not allow it")]
    assert against(engine, 6, allowed_V=allowed_V) == []
    assert [name for name, _ in against(engine, 3, row=[3], filter="price > 5", exclude=[3], allowed_V=allowed_V)] == [
        "exclude", "exclude_seen", "request filter", "request exclude", "request allow",
    ]  # fmt: skip
    assert [name for name, _ in against(engine, 5, filter="price > 5", exclude=[6])] == ["request filter"]


def test_an_item_that_no_rule_names_is_hidden(engine, monkeypatch):
    monkeypatch.setattr(engine, "allowed_items", lambda history, request: np.zeros(SIZE, dtype=bool))
    assert against(engine, 1) == [("hidden", "it is hidden from all lists")]


def test_each_pin_that_is_not_at_its_position_is_explained(engine):
    request = PlacementRequest("pinned")

    def notes(listed, row=()):
        return [note.partition(" is not shown there: ") for note in pin_notes(engine, listed, history(row), request)]

    assert [(start, reason) for start, _, reason in notes([5, 1, 2])] == [
        (
            "The pin of 'item 12' at position 2",
            "it does not pass the filter price < 10, and it is not in stock by the column stock.",
        ),
        ("The pin of 'gone' at position 3", "the catalog does not hold it."),
        ("The pin of 'item 6' at position 9", "the list has 3 items."),
    ]
    assert notes([5, 1, 6])[-1][2] == "the list has 3 items, so it is at position 3."
    assert notes([1, 2, 3], row=[5])[0][2] == "it is the last item of the history."


def test_the_sentence_about_an_empty_list(engine):
    start = f"No item is left to recommend: 0 of {SIZE - 1} items pass the rules of placement 'none'"
    assert empty_list_note(engine, PlacementRequest("none")) == f"{start}."
    start = f"No item is left to recommend: 6 of {SIZE - 1} items pass the rules of placement 'ruled'"
    assert empty_list_note(engine, PlacementRequest("ruled")) == f"{start}, and the history holds all of these."
    assert empty_list_note(engine, PlacementRequest("ruled", filter="price > 8")) == (
        f"{start}, 1 of them the rules of the request, and the history holds all of these."
    )
    assert empty_list_note(engine, PlacementRequest("ruled", filter="price > 9")) == (
        f"{start}, 0 of them the rules of the request."
    )
