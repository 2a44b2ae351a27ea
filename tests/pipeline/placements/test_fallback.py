"""Steps of the fallback: their items and the order."""

from types import SimpleNamespace

import numpy as np

from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.fallback_scores import fallback_scores
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


def source(model: str, name: str, scores: list[float]) -> SimpleNamespace:
    """Return a source of a pipeline whose model has the same scores for every history."""
    scorer = SimpleNamespace(scores=lambda histories: np.array([scores] * len(histories), dtype=np.float32))
    return SimpleNamespace(config=SimpleNamespace(model=model), name=name, scorer=scorer)


def test_the_scores_of_a_pipelines_steps() -> None:
    statistics = SimpleNamespace(counts_V=np.array([0, 5, 3]))
    sources = [source("markov", "m", [9, 9, 9]), source("trend", "rising", [9, 1, 2]), source("trend", "t", [7, 7, 7])]
    found = fallback_scores(SimpleNamespace(sources=sources, item_statistics=statistics))
    assert {name: scores_V.tolist() for name, scores_V in found.items()} == {
        "rising": [0, 1, 2],
        "popularity": [0, 5, 3],
    }
    assert list(found) == ["rising", "popularity"]
    assert list(fallback_scores(SimpleNamespace(sources=sources[:1], item_statistics=statistics))) == ["popularity"]
