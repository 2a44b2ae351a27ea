"""Ranked list of one request: invalid lists are refused, and changes keep every item's sources."""

import re

import numpy as np
import pytest

from segue.models.top_k import top_k
from segue.pipeline.ranked_list import NO_SOURCE, PlacementReason, RankedList


def test_an_invalid_list_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("A list of 2 items has 1 entries in scores_C.")):
        RankedList.from_items([1, 2], [0.5], sources=("a",))
    for items in ([1, 1], [0, 1]):
        with pytest.raises(ValueError, match=re.escape(f"A list must hold each item once and no PAD, got {items}.")):
            RankedList.from_items(items, [0.5, 0.4], sources=("a",))
    with pytest.raises(ValueError, match="A score of the list is NaN: the model is broken, its order would be"):
        RankedList.from_items([1, 2], [0.5, np.nan], sources=("a",))


@pytest.mark.parametrize("count", [1, 5, 40, 90])
def test_the_best_are_those_of_top_k(count: int) -> None:
    rng = np.random.default_rng(count)
    scores_V = rng.integers(0, 9, 60).astype(np.float32)  # many ties
    scores_V[rng.random(60) < 0.1] = -np.inf
    allowed_V = rng.random(60) < 0.8
    wanted, scores = top_k(scores_V[None], count, allowed_V=allowed_V)
    there = np.isfinite(scores[0])
    ranked = RankedList.top_k(scores_V, count, source="a", allowed_V=allowed_V)
    assert ranked.items_C.tolist() == wanted[0][there].tolist()
    assert ranked.scores_C.tolist() == scores[0][there].tolist()
    assert ranked.source_ranks_CS[:, 0].tolist() == list(range(1, len(ranked) + 1))


def test_new_scores_reorder_and_equals_keep_their_place() -> None:
    ranked = RankedList.from_items([4, 5, 6], [3, 2, 1], sources=("a",)).rescored(np.array([0.0, 1.0, 1.0]))
    assert ranked.items_C.tolist() == [5, 6, 4]
    assert ranked.source_ranks_CS[:, 0].tolist() == [2, 3, 1]


def test_a_joined_list_keeps_its_sources() -> None:
    first = RankedList.from_items([4, 9], [3, -np.inf], sources=("a",), source_C=np.array([0, NO_SOURCE]))
    second = RankedList.from_items(
        [4, 7, 8], [9, 8, 7], sources=("b", "a"), source_C=np.array([0, 0, 1]), reason=PlacementReason.FILLED
    )
    both = first.followed_by(second)
    assert both.items_C.tolist() == [4, 9, 7, 8]
    assert both.sources == ("a", "b")
    assert [both.source_name(i) for i in range(4)] == ["a", None, "b", "a"]
    assert both.source_ranks_CS.tolist() == [[1, 0], [0, 0], [0, 2], [3, 0]]
    assert both.reasons_C.tolist() == [
        PlacementReason.RANKED,
        PlacementReason.RANKED,
        PlacementReason.FILLED,
        PlacementReason.FILLED,
    ]
