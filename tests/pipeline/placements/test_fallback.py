"""The steps of the fallback: who is on them, and in what order."""

import numpy as np

from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.ranked_list import PlacementReason


def test_every_step_has_what_is_wanted_and_the_last_has_all() -> None:
    ladder = FallbackChain({"trend": np.array([9.0, 1, 3, 0, 3]), "popularity": np.array([0, 0, 0, 2, 0])}, 5)
    assert [step.name for step in ladder.steps] == ["trend", "popularity", "catalog"]
    assert [step.items.tolist() for step in ladder.steps] == [[2, 4, 1], [3], [1, 2, 3, 4]]


def test_a_step_gives_what_is_allowed_and_new() -> None:
    allowed_V = np.array([True, True, True, False, True])
    step = FallbackChain({"trend": np.array([9.0, 1, 3, 5, 3])}, 5).steps[0]
    found = step.remaining(allowed_V, exclude=np.array([2]))
    assert found.items_C.tolist() == [4, 1] and found.scores_C.tolist() == [3, 1]
    assert found.sources == ("trend",) and found.reasons_C.tolist() == [PlacementReason.FILLED, PlacementReason.FILLED]
    assert step.remaining(allowed_V, exclude=np.array([2]), max_items=1).items_C.tolist() == [4]
    assert allowed_V.tolist() == [True, True, True, False, True]
