"""Explanations: measured influence, sentences in two languages, and reasons of absence."""

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


def explain_absence(pipeline, row, item, **options):
    recommended = pipeline.recommend(one(row), 3, **options)[0].take(range(3))
    return why_not(pipeline, one(row), item, recommended=recommended, **options)


def test_why_not(pipeline):
    allowed_V = np.ones(SIZE, dtype=bool)
    allowed_V[4] = False
    assert explain_absence(pipeline, [1, 2, 3], 4).sentence.english == "It is in the list, at position 1."
    assert explain_absence(pipeline, [1, 2, 3], 0).sentence.english == "The catalog does not hold it."
    seen = explain_absence(pipeline, [1, 2, 3], 2, exclude=one([1, 2, 3]))
    assert seen.sentence.english == "It is in the history, and items of the history are left out."
    assert explain_absence(pipeline, [1, 2, 3], 4, allowed_V=allowed_V).reason == "forbidden"


def test_why_not_an_item_that_no_source_gives(pipeline):
    reason = explain_absence(pipeline, [1, 2, 3], 31)
    assert reason.reason == "not found"
    assert reason.ranks["markov"][0] > 10
    assert reason.ranks["markov"][1] == 10
    assert reason.sentence.english.startswith("No source gives it: markov has it at rank ")


def test_why_not_an_item_that_is_ranked_lower(pipeline):
    ranked = pipeline.recommend(one([1, 2, 3]), 3)[0]
    item = int(ranked.items_C[8])
    reason = explain_absence(pipeline, [1, 2, 3], item)
    assert (reason.reason, reason.rank) == ("ranked lower", 9)
    assert reason.lowered_by in ("markov", "covisit", "again")
    lowered = f"; {reason.lowered_by} lowers it most"
    assert reason.sentence.english == f"It has rank 9, and 3 items are recommended{lowered}."


def test_why_not_an_item_that_was_moved_out(pipeline):
    recommended = pipeline.recommend(one([1, 2, 3]), 3)[0].take([0, 2, 3])
    item = int(pipeline.recommend(one([1, 2, 3]), 3)[0].items_C[1])
    reason = why_not(pipeline, one([1, 2, 3]), item, recommended=recommended)
    assert reason.reason == "re-ranked"
    assert reason.sentence.english.startswith("By its score it would have rank 2;")
