"""Steps of the fallback: their items and the order."""

import numpy as np

from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.ranked_list import PlacementReason


def test_each_step_has_items_with_a_score_and_the_last_all() -> None:
    ladder = FallbackChain({"trend": np.array([9.0, 1, 3, 0, 3]), "popularity": np.array([0, 0, 0, 2, 0])}, 5)
    assert [step.name for step in ladder.steps] == ["trend", "popularity", "catalog"]
    assert [step.items.tolist() for step in ladder.steps] == [[2, 4, 1], [3], [1, 2, 3, 4]]


def test_a_step_gives_allowed_new_items() -> None:
    allowed_V = np.array([True, True, True, False, True])
    step = FallbackChain({"trend": np.array([9.0, 1, 3, 5, 3])}, 5).steps[0]
    remaining = step.remaining(allowed_V, exclude=np.array([2]))
    assert remaining.items_C.tolist() == [4, 1] and remaining.scores_C.tolist() == [3, 1]
    assert remaining.sources == ("trend",) and remaining.reasons_C.tolist() == [
        PlacementReason.FILLED,
        PlacementReason.FILLED,
    ]
    assert step.remaining(allowed_V, exclude=np.array([2]), max_items=1).items_C.tolist() == [4]
    assert allowed_V.tolist() == [True, True, True, False, True]
