"""Explanations: influence is what leaving an event out does; sentences in two languages; why not."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.ring import SIZE

from segue.data.event_contexts import EventContexts
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.pipeline.explanations.explain import explain, influences, leave_one_out, why_not
from segue.pipeline.explanations.templates import (
    REASON_SENTENCES,
    WHY_NOT_SENTENCES,
    choose_reason,
    reason_sentence,
    why_not_sentence,
)
from segue.pipeline.ranked_list import PlacementReason

TITLES = {i: f"Tea {i}" for i in range(1, SIZE)}


@pytest.fixture(scope="module")
def pipeline(composed):
    return composed.scorer


def one(row):
    return Sequences.from_lists([row])


def test_influence_is_what_leaving_an_event_out_does(pipeline):
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
    found = leave_one_out(row)
    assert found.to_lists() == [[8, 9, 7], [9, 7], [8, 7], [8, 9]]
    assert found.times.tolist() == [2, 3, 4, 3, 4, 2, 4, 2, 3]
    assert found.contexts.codes.tolist() == [1, 2, 1, 2, 1, 1, 1, 1, 2]
    assert found.query_times.tolist() == [9] * 4
    assert leave_one_out(one([])).to_lists() == [[]]


def test_the_event_that_matters_is_named(pipeline):
    history = one([15, 22, 3])
    shown = pipeline.recommend(history, 5)[0].take(range(5))
    first = explain(pipeline, history, shown, TITLES)[0]
    assert first.item == 4
    assert first.influences[0].item == 3
    assert first.influences[0].position == 2
    assert first.ranks["markov"] == 1
    assert max(first.shares, key=lambda name: first.shares[name]) in ("markov", "covisit")
    assert first.sentence.english.startswith("People who chose Tea 3")
    assert first.sentence.chinese.startswith("选了Tea 3")


def test_every_item_of_a_list_is_explained(pipeline):
    for row in ([], [3], [5, 6], list(range(1, 29))):
        shown = pipeline.recommend(one(row), 10)[0].take(range(10))
        told = explain(pipeline, one(row), shown, TITLES)
        assert [part.item for part in told] == shown.items_C.tolist()
        assert all(part.sentence.english.endswith(".") and part.sentence.chinese.endswith("。") for part in told)


def test_a_newcomer_hears_that_many_choose_it(pipeline):
    shown = pipeline.recommend(one([]), 3)[0].take(range(3))
    assert {part.influences for part in explain(pipeline, one([]), shown)} == {()}


@pytest.mark.parametrize(
    ("how", "model", "taken", "influenced", "reason"),
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
def test_the_reason_of_an_item(how, model, taken, influenced, reason):
    assert choose_reason(how, model, taken, influenced) == reason


def test_a_sentence_without_titles_says_less():
    assert reason_sentence("comes next", []) == REASON_SENTENCES["for you"]
    assert reason_sentence("comes next", ["A", "B"]).english == "People who chose A and B often choose this next."
    assert reason_sentence("goes with", ["茶"]).chinese == "常与茶一起被选。"


def test_every_reason_has_its_words():
    for reason in REASON_SENTENCES:
        assert all("{" not in text for text in reason_sentence(reason, ["A"]))
    for reason in WHY_NOT_SENTENCES:
        told = why_not_sentence(reason, place=3, shown=2, places={"a": (9, 4)}, held_back="a")
        assert all("{" not in text for text in told)


def asked_why(pipeline, row, item, **options):
    shown = pipeline.recommend(one(row), 3, **options)[0].take(range(3))
    return why_not(pipeline, one(row), item, recommended=shown, **options)


def test_why_not(pipeline):
    allowed_V = np.ones(SIZE, dtype=bool)
    allowed_V[4] = False
    assert asked_why(pipeline, [1, 2, 3], 4).sentence.english == "It is in the list, at place 1."
    assert asked_why(pipeline, [1, 2, 3], 0).sentence.english == "The catalog does not know it."
    seen = asked_why(pipeline, [1, 2, 3], 2, exclude=one([1, 2, 3]))
    assert seen.sentence.english == "It is in the history, and what was seen is left out."
    assert asked_why(pipeline, [1, 2, 3], 4, allowed_V=allowed_V).reason == "forbidden"


def test_why_not_an_item_that_no_source_gives(pipeline):
    told = asked_why(pipeline, [1, 2, 3], 31)
    assert told.reason == "not found"
    assert told.ranks["markov"][0] > 10
    assert told.ranks["markov"][1] == 10
    assert told.sentence.english.startswith("No source gives it: markov has it at place ")


def test_why_not_an_item_that_is_ranked_lower(pipeline):
    ranked = pipeline.recommend(one([1, 2, 3]), 3)[0]
    item = int(ranked.items_C[8])
    told = asked_why(pipeline, [1, 2, 3], item)
    assert (told.reason, told.rank) == ("ranked lower", 9)
    assert told.lowered_by in ("markov", "covisit", "again")
    held = f"; {told.lowered_by} is what holds it back most"
    assert told.sentence.english == f"It comes at place 9, and 3 are shown{held}."


def test_why_not_an_item_that_was_moved_out(pipeline):
    shown = pipeline.recommend(one([1, 2, 3]), 3)[0].take([0, 2, 3])
    item = int(pipeline.recommend(one([1, 2, 3]), 3)[0].items_C[1])
    told = why_not(pipeline, one([1, 2, 3]), item, recommended=shown)
    assert told.reason == "re-ranked"
    assert told.sentence.english.startswith("By its score it would be at place 2;")
