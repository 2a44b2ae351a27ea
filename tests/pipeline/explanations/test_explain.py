"""Explanations: measured influence, sentences in two languages, and reasons of absence."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.support.ring import SIZE

from segue.data.catalog import Catalog
from segue.data.event_contexts import EventContexts
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.pipeline.config import PlacementConfig
from segue.pipeline.explanations.explain import explain, influences, leave_one_out
from segue.pipeline.explanations.templates import (
    REASON_OF_MODEL,
    REASON_SENTENCES,
    WHY_NOT_SENTENCES,
    choose_reason,
    reason_sentence,
    why_not_sentence,
)
from segue.pipeline.explanations.why_not import why_not
from segue.pipeline.placements.diversification import DiversificationConfig
from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
from segue.pipeline.placements.quotas import Quota
from segue.pipeline.placements.rules import Boost, Pin, RulesConfig
from segue.pipeline.ranked_list import PlacementReason

TITLES = {i: f"Tea {i}" for i in range(1, SIZE)}


@pytest.fixture(scope="module")
def pipeline(fitted_pipeline):
    return fitted_pipeline.scorer


def one(row):
    return Sequences.from_lists([row])


def test_influence_is_the_effect_of_leaving_an_event_out(pipeline):
    items = np.array([4, 9, 20])
    effects_TC = influences(pipeline, one([1, 9, 3]), items)
    assert effects_TC.shape == (3, 3)
    whole = pipeline.probabilities(one([1, 9, 3]), one([4, 9, 20]))[0]
    for t, rest in enumerate([[9, 3], [1, 3], [1, 9]]):
        less = pipeline.probabilities(one(rest), one([4, 9, 20]))[0]
        np.testing.assert_allclose(effects_TC[t], np.log(whole / less), rtol=1e-6)
    assert effects_TC[2, 0] > 1  # 3 is why 4 comes next


def test_an_event_that_is_left_out_takes_its_time_and_context_along():
    contexts = EventContexts(np.array([0, 1, 2, 1], dtype=np.int32), ItemFeatures([{}, {"a": 1}, {"a": 2}], {}))
    log = Sequences.from_lists([[7], [8, 9, 7]], [[1], [2, 3, 4]])
    row = replace(log, contexts=contexts).take(slice(1, 2)).as_of(np.array([9]))
    rows = leave_one_out(row)
    assert rows.to_lists() == [[8, 9, 7], [9, 7], [8, 7], [8, 9]]
    assert rows.times.tolist() == [2, 3, 4, 3, 4, 2, 4, 2, 3]
    assert rows.contexts.codes.tolist() == [1, 2, 1, 2, 1, 1, 1, 1, 2]
    assert rows.query_times.tolist() == [9] * 4
    assert leave_one_out(one([])).to_lists() == [[]]


def test_the_event_that_matters_is_named(pipeline):
    history = one([15, 22, 3])
    recommended = pipeline.recommend(history, 5)[0].take(range(5))
    first = explain(pipeline, history, recommended, TITLES)[0]
    assert first.item == 4
    assert first.influences[0].item == 3
    assert first.influences[0].position == 2
    assert first.ranks["markov"] == 1
    assert max(first.shares, key=lambda name: first.shares[name]) in ("markov", "covisit")
    assert first.sentence.english.startswith("Often chosen next after Tea 3")
    assert first.sentence.chinese.startswith("选了Tea 3")


def test_every_item_of_a_list_is_explained(pipeline):
    for row in ([], [3], [5, 6], list(range(1, 29))):
        recommended = pipeline.recommend(one(row), 10)[0].take(range(10))
        explanations = explain(pipeline, one(row), recommended, TITLES)
        assert [part.item for part in explanations] == recommended.items_C.tolist()
        assert all(
            part.sentence.english.endswith(".") and part.sentence.chinese.endswith("。") for part in explanations
        )


def test_a_new_user_gets_no_influences(pipeline):
    recommended = pipeline.recommend(one([]), 3)[0].take(range(3))
    assert {part.influences for part in explain(pipeline, one([]), recommended)} == {()}


@pytest.mark.parametrize(
    ("placement", "model", "in_history", "has_influence", "reason"),
    [
        (PlacementReason.PINNED, "markov", True, True, "picked"),
        (PlacementReason.QUOTA, "markov", False, True, "picked"),
        (PlacementReason.EXPLORED, "markov", False, True, "drawn"),
        (PlacementReason.FILLED, "", False, False, "popular"),
        (PlacementReason.RANKED, "markov", True, True, "again"),
        (PlacementReason.RANKED, "gru4rec", False, True, "comes next"),
        (PlacementReason.RANKED, "gru4rec", False, False, "for you"),
        (PlacementReason.RANKED, "ease", False, True, "goes with"),
        (PlacementReason.RANKED, "trend", False, True, "rising"),
        (PlacementReason.RANKED, "popularity", False, False, "popular"),
        (PlacementReason.RANKED, "new", False, False, "new"),
        (PlacementReason.RANKED, "list", False, False, "picked"),
        (PlacementReason.RANKED, "", False, False, "for you"),
    ],
)
def test_the_reason_of_an_item(placement, model, in_history, has_influence, reason):
    assert choose_reason(placement, model, in_history, has_influence) == reason


def test_a_sentence_without_titles_names_no_item():
    assert reason_sentence("comes next", []) == REASON_SENTENCES["for you"]
    assert reason_sentence("comes next", ["A", "B"]).english == "Often chosen next after A and B."
    assert reason_sentence("goes with", ["茶"]).chinese == "常与茶一起被选。"


def test_every_reason_has_a_sentence():
    for reason in REASON_SENTENCES:
        assert all("{" not in text for text in reason_sentence(reason, ["A"]))
    for reason in WHY_NOT_SENTENCES:
        sentences = why_not_sentence(reason, rank=3, num_recommended=2, ranks={"a": (9, 4)}, lowered_by="a")
        assert all("{" not in text for text in sentences)


CATALOG = Catalog(f"item {i}" for i in range(1, SIZE))
ITEMS = {f"item {i}": {"kind": "tea" if i % 2 else "cup", "price": float(i), "stock": i != 9} for i in range(1, SIZE)}
SEEN = ("purchases",)
PLACES = [
    PlacementConfig("all", RulesConfig(exclude_seen=False)),
    PlacementConfig("cheap", RulesConfig(filter="price < 10", exclude=("item 3",), in_stock="stock")),
    PlacementConfig("bought", RulesConfig(exclude_seen=SEEN)),
    PlacementConfig("lowered", RulesConfig(exclude_seen=False, boosts=(Boost('item_id == "item 4"', 1e-9),))),
    PlacementConfig("varied", RulesConfig(exclude_seen=False), DiversificationConfig("mmr", 1.0, column="kind")),
    PlacementConfig("pinned", RulesConfig(exclude_seen=False, pins=(Pin("item 20", 1), Pin("item 21", 2)))),
    PlacementConfig("mixed", RulesConfig(exclude_seen=False, quotas=(Quota(column="kind", at_most=1),))),
]


@pytest.fixture(scope="module")
def engine(pipeline):
    return PlacementEngine(pipeline, CATALOG, ITEMS, placements=PLACES)


def absence(engine, row, item, placement="all", k=3, event_types=None, **options):
    request = PlacementRequest(placement, **options)
    history = replace(one(row), event_types=None if event_types is None else np.array(event_types, dtype=object))
    return why_not(engine, history, item, engine.recommend(history, k, request), request)


def test_why_not(engine):
    assert absence(engine, [1, 2, 3], 4).sentence.english == "It is in the list, at position 1."
    assert absence(engine, [1, 2, 3], 0).sentence.english == "The catalog does not hold it."


@pytest.mark.parametrize(
    ("item", "options", "rules", "sentence"),
    [
        (12, {}, ("filter",), "The rules do not allow it: it does not pass the filter price < 10."),
        (3, {}, ("exclude", "exclude_seen"), "the placement excludes its id, and it is the last item of the history"),
        (9, {}, ("in_stock",), "The rules do not allow it: it is not in stock by the column stock."),
        (2, {}, ("exclude_seen",), "Seen items are left out: the history holds it."),
        (
            12,
            {"filter": 'kind == "tea"'},
            ("filter", "request filter"),
            'it does not pass the filter price < 10, and it does not pass the filter of the request, kind == "tea"',
        ),
        (5, {"exclude": [5]}, ("request exclude",), "The rules do not allow it: the request excludes it."),
        (5, {"allowed_V": np.arange(SIZE) == 7}, ("request allow",), "the request does not allow it"),
    ],
)
def test_why_not_names_the_very_rule(engine, item, options, rules, sentence):
    reason = absence(engine, [1, 2, 3], item, "cheap", **options)
    assert reason.reason == ("seen" if rules == ("exclude_seen",) else "forbidden")
    assert reason.rules == rules
    assert sentence in reason.sentence.english
    assert re.search(r"[\u4e00-\u9fff]", reason.sentence.chinese)


def test_why_not_names_the_filter_of_an_item_that_is_seen_where_seen_items_may_be_listed(engine):
    reason = absence(engine, [12, 1, 3], 12, "cheap", exclude_seen=False)
    assert (reason.reason, reason.rules) == ("forbidden", ("filter",))


def test_why_not_names_the_event_types_that_hide_an_item(engine):
    types = ["purchase", "view", "view"]
    reason = absence(engine, [4, 2, 3], 4, "bought", event_types=types)
    assert (reason.reason, reason.rules) == ("seen", ("exclude_seen",))
    assert reason.sentence.english == "Seen items are left out: the history holds it as an event of purchases."
    assert absence(engine, [4, 2, 3], 2, "bought", k=SIZE, event_types=types).reason == "listed"
    last = absence(engine, [4, 2, 3], 3, "bought", event_types=types)
    assert last.sentence.english == "Seen items are left out: it is the last item of the history."


def test_why_not_an_item_that_no_source_gives(engine):
    reason = absence(engine, [1, 2, 3], 31)
    assert reason.reason == "not found"
    assert reason.ranks["markov"][0] > 10
    assert reason.ranks["markov"][1] == 10
    assert reason.sentence.english.startswith("No source gives it: markov has it at rank ")


def test_why_not_an_item_that_is_ranked_lower(engine):
    item = int(engine.recommend(one([1, 2, 3]), 20, PlacementRequest("all")).items_C[8])
    reason = absence(engine, [1, 2, 3], item)
    assert (reason.reason, reason.rank) == ("ranked lower", 9)
    assert reason.lowered_by in ("markov", "covisit", "again")
    lowered = f"; {reason.lowered_by} lowers it most"
    assert reason.sentence.english == f"It has rank 9, and 3 items are recommended{lowered}."


@pytest.mark.parametrize(
    ("placement", "rule", "sentence"),
    [
        ("lowered", "boosts", r"rank [123]; boosts move it to rank \d+\."),
        ("varied", "rerank", r"rank \d; the diversification \(mmr\) moves it to rank \d+\."),
        ("pinned", "pins", r"rank [23]; pinned items take the positions: item 20, item 21\."),
        ("mixed", "quotas", r"rank \d; a quota gives its place to others: at most 1 of each kind\."),
    ],
)
def test_why_not_names_the_stage_that_moved_an_item_out(engine, placement, rule, sentence):
    found = 0
    for row in ([start, start + 1, start + 2] for start in range(1, 28)):
        plain = engine.recommend(one(row), 3, PlacementRequest("all")).items_C.tolist()
        listed = engine.recommend(one(row), 3, PlacementRequest(placement)).items_C
        for item in set(plain) - set(listed.tolist()):
            reason = absence(engine, row, item, placement)
            assert (reason.reason, reason.rules) == ("re-ranked", (rule,))
            assert re.fullmatch(f"By its score it would have {sentence}", reason.sentence.english)
            assert rule != "quotas" or reason.sentence.chinese.endswith("配额把位置给了别的商品：每种 kind 至多 1 个。")
            found += 1
    assert found > 0


def test_an_explanation_names_a_source_that_gave_the_item(engine):
    """Also under a filter, where a source gives other items than without it, and in the fallback."""
    for row, placement in (([1, 2, 3], "cheap"), ([], "all"), ([15, 22, 3], "bought"), ([1, 2, 3], "pinned")):
        history, request = one(row), PlacementRequest(placement)
        listed = engine.recommend(history, 30, request)
        allowed_V = engine.allowed_items(history, request)
        given = {
            source.name: source.candidates(history, source.config.num_candidates, allowed_V)[0].items_C.tolist()
            for source in engine.pipeline.sources
        }
        filled = {step.name: step.items.tolist() for step in engine.fallback.steps}
        explanations = explain(engine.pipeline, history, listed, TITLES)
        for position, explanation in enumerate(explanations):
            is_filled = listed.reasons_C[position] == PlacementReason.FILLED
            for name, rank in explanation.ranks.items():
                items = filled[name] if is_filled else given[name]
                assert explanation.item in items, (row, placement, name)
                assert is_filled or items[rank - 1] == explanation.item
            if listed.reasons_C[position] != PlacementReason.PINNED:
                assert listed.source_name(position) in explanation.ranks
                models = {source.name: source.config.model for source in engine.pipeline.sources}
                possible = {REASON_OF_MODEL.get(models.get(name, name), "comes next") for name in explanation.ranks}
                assert explanation.reason in {
                    *possible,
                    "comes next" if "again" in possible else "again",
                    "again",
                    "for you",
                }


def test_an_item_that_only_fills_the_list_is_not_called_popular():
    assert choose_reason(PlacementReason.FILLED, "popularity", False, False) == "popular"
    assert choose_reason(PlacementReason.FILLED, "catalog", False, False) == "other"
    assert choose_reason(PlacementReason.FILLED, "trend", False, False) == "rising"
