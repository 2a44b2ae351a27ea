"""Placements of a pipeline: rules hold, and k items come while k are allowed."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from tests.support.ring import SIZE

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.evaluation.evaluate import evaluate
from segue.models.top_k import top_k
from segue.pipeline.config import PlacementConfig
from segue.pipeline.placements.diversification import DiversificationConfig
from segue.pipeline.placements.exploration import ExploreConfig
from segue.pipeline.placements.forbidding_rules import empty_list_note, pin_notes
from segue.pipeline.placements.item_embeddings import item_embeddings
from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
from segue.pipeline.placements.placement_scorer import PlacementScorer
from segue.pipeline.placements.quotas import Quota
from segue.pipeline.placements.rules import Boost, Freshness, Pin, RulesConfig
from segue.pipeline.ranked_list import PlacementReason, RankedList

CATALOG = Catalog(f"item {i}" for i in range(1, SIZE))
ITEMS = {f"item {i}": {"kind": "tea" if i % 2 else "cup", "price": float(i)} for i in range(1, SIZE)}
PLACES = [
    PlacementConfig("cheap", RulesConfig(filter="price < 10", exclude_seen=True)),
    PlacementConfig("pinned", RulesConfig(pins=(Pin("item 20", 2),))),
    PlacementConfig("boosted", RulesConfig(boosts=(Boost('item_id == "item 20"', 1e6),))),
    PlacementConfig("mixed", RulesConfig(quotas=(Quota(filter='kind == "cup"', at_most=1),))),
    PlacementConfig("varied", RulesConfig(), DiversificationConfig("mmr", 0.9, column="kind")),
    PlacementConfig("bold", RulesConfig(), explore=ExploreConfig("epsilon", first_position=2, epsilon=1.0)),
]


@pytest.fixture(scope="module")
def engine(fitted_pipeline):
    return PlacementEngine(fitted_pipeline.scorer, CATALOG, ITEMS, placements=PLACES)


def one(row):
    return Sequences.from_lists([row])


def test_without_rules_it_is_the_pipelines_own_list(engine, fitted_pipeline):
    for row in ([], [3], [1, 2, 3], list(range(1, 29))):
        ranked = engine.recommend(one(row), 10, PlacementRequest(exclude_seen=False))
        assert ranked.items_C.tolist() == top_k(fitted_pipeline.scorer.scores(one(row)), 10)[0][0].tolist()
        assert (np.diff(ranked.scores_C) <= 0).all()
        assert (ranked.propensity_C == 1).all()


def test_a_filter_is_kept_and_lists_stay_full(engine):
    for row in ([], [3], [1, 2, 3, 4, 5]):
        ranked = engine.recommend(one(row), 30, PlacementRequest("cheap"))
        assert set(ranked.items_C.tolist()) == set(range(1, 10)) - set(row)
    narrow = engine.recommend(one([1]), 5, PlacementRequest("cheap", filter='kind == "tea"', exclude=[9]))
    assert set(narrow.items_C.tolist()) == {3, 5, 7}


def test_a_request_may_include_seen_items(engine):
    history = one([1, 2, 3])
    assert 2 in engine.recommend(history, 30, PlacementRequest("cheap", exclude_seen=False)).items_C
    assert 2 in engine.recommend(history, SIZE).items_C
    assert 3 not in engine.recommend(history, SIZE).items_C, "an item just seen is not shown again"
    assert 3 in engine.recommend(history, SIZE, PlacementRequest(exclude_seen=False)).items_C
    assert 2 not in engine.recommend(history, SIZE, PlacementRequest(exclude_seen=True)).items_C


def test_pins_boosts_and_quotas(engine):
    assert engine.recommend(one([1, 2, 3]), 5, PlacementRequest("pinned")).items_C[1] == 20
    boosted = engine.recommend(one([1, 2, 3]), 5, PlacementRequest("boosted"))
    assert boosted.items_C[0] == 20 or 20 not in engine.pipeline.recommend(one([1, 2, 3]), 1)[0].items_C
    mixed = engine.recommend(one([1, 2, 3]), 5, PlacementRequest("mixed"))
    assert sum(item % 2 == 0 for item in mixed.items_C.tolist()) == 1


def test_a_diversified_list_alternates(engine):
    kinds = [item % 2 for item in engine.recommend(one([1, 2, 3]), 6, PlacementRequest("varied")).items_C.tolist()]
    assert 0 < sum(kinds) < 6


def test_draws_are_made_with_a_generator_alone(engine):
    plain = engine.recommend(one([1, 2, 3]), 6, PlacementRequest("bold"))
    assert (plain.reasons_C == PlacementReason.RANKED).all()
    drawn = engine.recommend(one([1, 2, 3]), 6, PlacementRequest("bold"), rng=np.random.default_rng(1))
    assert drawn.items_C[0] == plain.items_C[0]
    assert (drawn.propensity_C[1:] < 1).all()
    again = engine.recommend(one([1, 2, 3]), 6, PlacementRequest("bold"), rng=np.random.default_rng(1))
    assert again.items_C.tolist() == drawn.items_C.tolist()


def test_only_items_that_a_request_allows(engine):
    allowed_V = np.zeros(SIZE, dtype=bool)
    allowed_V[[4, 11]] = True
    assert set(engine.recommend(one([3]), 5, PlacementRequest(allowed_V=allowed_V)).items_C.tolist()) == {4, 11}


def test_an_unknown_placement_is_refused(engine):
    wanted = "There is no placement 'attic'. The placements: cheap, pinned, boosted, mixed, varied, bold, default."
    with pytest.raises(ValueError, match=f"^{re.escape(wanted)}$"):
        engine.recommend(one([]), 5, PlacementRequest("attic"))


def test_rules_that_name_nothing_are_noted(fitted_pipeline):
    places = [PlacementConfig("home", RulesConfig(exclude=("no such item",)))]
    notes = PlacementEngine(fitted_pipeline.scorer, CATALOG, ITEMS, placements=places).notes
    assert notes == ["Placement home: The catalog does not hold the item 'no such item' that a rule names."]


def test_a_placement_is_evaluated_as_it_is_recommended(engine, split):
    cases = split.test.take(slice(0, 60))
    own = evaluate(PlacementScorer(engine), cases, exclude_seen=False, ks=(10,)).metrics["ndcg@10"]
    whole = evaluate(engine.pipeline, cases, exclude_seen=False, ks=(10,)).metrics["ndcg@10"]
    assert own == pytest.approx(whole, abs=0.002), "an item that is chosen twice in a row is not shown again"
    tea = evaluate(PlacementScorer(engine, "cheap"), cases, exclude_seen=False, ks=(10,)).metrics["ndcg@10"]
    assert tea < own
    assert PlacementScorer(engine).arrays().keys() == engine.pipeline.arrays().keys()


def test_a_wrong_rule_is_refused_with_its_placement(fitted_pipeline):
    places = [PlacementConfig("home", RulesConfig(filter="colour == 1"))]
    with pytest.raises(ValueError, match=r"^Placement 'home': The items have no column 'colour'"):
        PlacementEngine(fitted_pipeline.scorer, CATALOG, ITEMS, placements=places)


def test_a_given_sequence_keeps_pins_and_quotas(engine):
    history, items = one([1, 2, 3]), np.array([4, 6, 8, 9, 0])
    for placement, first in (("pinned", [4, 20, 6, 8]), ("mixed", [4, 9])):
        request = PlacementRequest(placement)
        allowed_V = engine.allowed_items(history, request)
        arranged = engine.arrange(items, np.zeros(5), 5, request, allowed_V).items_C.tolist()
        assert arranged[: len(first)] == first and len(arranged) == 5
    assert sum(item % 2 == 0 for item in arranged) == 1


def test_pins_that_are_not_shown_are_named(engine):
    def notes(k, row, **options):
        request = PlacementRequest("pinned", **options)
        listed = engine.recommend(one(row), k, request).items_C.tolist()
        return pin_notes(engine, listed, one(row), request)

    assert notes(3, [1]) == []
    why = "The pin of 'item 20' at position 2 is not shown there: "
    assert notes(3, [20, 1]) == [f"{why}the history holds it."]
    assert notes(3, [1], filter="price < 9") == [f"{why}it does not pass the filter of the request, price < 9."]
    assert notes(1, [1]) == [f"{why}the list has 1 items."]


def test_an_empty_list_states_which_rules_left_nothing(engine):
    request = PlacementRequest("cheap", filter="price > 5")
    assert engine.recommend(one([6, 7, 8, 9]), 5, request).items_C.tolist() == []
    assert empty_list_note(engine, request) == (
        f"No item is left to recommend: 9 of {SIZE - 1} items pass the rules of placement 'cheap', 4 of them the rules "
        "of the request, and the history holds all of these."
    )


def test_what_an_engine_states_about_its_placements(engine, fitted_pipeline):
    assert engine.names == ["cheap", "pinned", "boosted", "mixed", "varied", "bold", "default"]
    assert engine.allowing(3) == engine.names
    assert engine.allowing(10) == engine.names[1:]
    assert engine.notes_of("cheap") == engine.notes == []
    assert (engine.reads_event_types, engine.reads_impressions) == (False, False)
    typed = PlacementConfig("default", RulesConfig(exclude_seen=("purchase",)))
    shown = PlacementConfig("shown", RulesConfig(exclude_shown=True, pins=(Pin("gone", 1),)))
    other = PlacementEngine(fitted_pipeline.scorer, CATALOG, ITEMS, placements=[typed, shown])
    assert other.names == ["default", "shown"], "one of that name replaces the default"
    assert (other.reads_event_types, other.reads_impressions) == (True, True)
    assert other.notes_of("shown") == ["The catalog does not hold the item 'gone' that a rule names."]
    assert other.notes_of("default") == []
    assert other.settings == {"default": typed, "shown": shown}


def test_a_mask_from_before_new_items_does_not_allow_them(engine):
    mask_V = np.ones(SIZE - 2, dtype=bool)
    assert engine.fit_mask(mask_V).tolist() == [True] * (SIZE - 2) + [False] * 2
    whole_V = np.ones(SIZE, dtype=bool)
    assert engine.fit_mask(whole_V) is whole_V


def test_a_list_without_scoring_begins_with_given_items_and_is_filled(engine):
    request = PlacementRequest("mixed")
    given = RankedList.from_items([4, 6, 9], [3.0, 2.0, 1.0], sources=("earlier",))
    allowed_V = engine.allowed_items(one([1]), request)
    ranked = engine.list_without_scoring(given, 5, request, allowed_V)
    assert ranked.items_C[:2].tolist() == [4, 9] and len(ranked) == 5
    assert [item for item in ranked.items_C.tolist() if item % 2 == 0] == [4]
    assert ranked.source_name(0) == "earlier"
    assert ranked.source_name(2) in {step.name for step in engine.fallback.steps}


def test_a_policy_of_the_caller_replaces_the_draws(engine):
    seen = []

    def replay(explorer):
        seen.append(explorer.config.method)
        return lambda slot: (len(slot.items) - 1 if slot.position == 0 else 0, 0.5)

    plain = engine.recommend(one([1, 2, 3]), 4, PlacementRequest("bold"))
    replayed = engine.recommend(one([1, 2, 3]), 4, PlacementRequest("bold"), policy=replay)
    assert seen == ["epsilon"]
    assert replayed.items_C[0] != plain.items_C[0] and replayed.items_C[1] == plain.items_C[0]
    assert (replayed.propensity_C == 0.5).all()


def test_a_boost_lifts_no_probability_above_one_for_thompson(fitted_pipeline):
    """Its draws take scores for click probabilities."""
    rules = RulesConfig(boosts=(Boost("price > 0", 1e9),))
    places = [PlacementConfig("clicks", rules, explore=ExploreConfig("thompson", first_position=1))]
    engine = PlacementEngine(fitted_pipeline.scorer, CATALOG, ITEMS, placements=places)
    drawn = engine.recommend(one([1, 2]), 4, PlacementRequest("clicks"), rng=np.random.default_rng(0))
    assert len(drawn) == 4 and drawn.scores_C.max() == 1.0
    assert engine.recommend(one([1, 2]), 4, PlacementRequest("clicks")).scores_C.max() > 1.0


def test_the_stages_of_a_ranking(engine):
    allowed_V = engine.allowed_items(one([1, 2]), PlacementRequest("boosted"))
    ranked, rescored, diversified = engine.rank_candidates(one([0, 1, 2]), 5, "boosted", allowed_V, now_us=0)
    assert sorted(ranked.items_C.tolist()) == sorted(rescored.items_C.tolist())
    assert diversified.items_C.tolist() == rescored.items_C.tolist()
    own = dict(zip(ranked.items_C.tolist(), ranked.scores_C.tolist(), strict=True))
    factors = {
        item: score / own[item] for item, score in zip(rescored.items_C.tolist(), rescored.scores_C, strict=True)
    }
    assert all(factor == pytest.approx(1e6 if item == 20 else 1.0) for item, factor in factors.items())
    again = engine.rank_candidates(one([1, 2]), 5, "boosted", allowed_V)[0]
    assert again.items_C.tolist() == ranked.items_C.tolist(), "an unknown item changes nothing"


def test_embeddings_are_those_of_the_first_source_that_has_some(engine):
    assert item_embeddings(engine.pipeline) is None
    scorers = [
        engine.pipeline.sources[0].scorer,
        *(SimpleNamespace(item_embeddings=e) for e in (None, "first", "second")),
    ]
    assert item_embeddings(SimpleNamespace(sources=[SimpleNamespace(scorer=scorer) for scorer in scorers])) == "first"


def test_the_gain_of_new_items_falls_with_the_time_of_the_request(fitted_pipeline):
    places = [PlacementConfig("new", RulesConfig(freshness=Freshness(1.0, 14.0)))]
    engine = PlacementEngine(fitted_pipeline.scorer, CATALOG, ITEMS, placements=places)
    request, plain = PlacementRequest("new", exclude_seen=False), PlacementRequest(exclude_seen=False)
    without = engine.recommend(one([1, 2]), 5, plain)
    fresh, old = (engine.recommend(one([1, 2]), 5, request, now_us=now_us) for now_us in (0, 10**17))
    assert fresh.scores_C == pytest.approx(2 * without.scores_C)
    assert old.scores_C == pytest.approx(without.scores_C)
    assert engine.recommend(one([1, 2]), 5, request).scores_C == pytest.approx(without.scores_C), "by the clock"
