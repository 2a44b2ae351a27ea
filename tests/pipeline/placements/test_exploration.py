"""Draws against their probabilities, and probabilities against simulation and by hand."""

import re
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from segue.pipeline.placements.exploration import ExploreConfig, Explorer, Feedback, LoggedPropensity
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.list_builder import SlotCandidates, build_list
from segue.pipeline.ranked_list import PlacementReason, RankedList

SIZE = 8
FALLBACK = FallbackChain({}, SIZE)
ALL = np.array([False] + [True] * (SIZE - 1))
RANKED = RankedList.from_items([5, 3, 7, 1], [0.4, 0.3, 0.2, 0.1], sources=("model",))
METHODS = [
    ExploreConfig("epsilon", first_position=2, epsilon=0.3),
    ExploreConfig("plackett-luce", first_position=1, temperature=2.0),
    ExploreConfig("plackett-luce", first_position=2, num_candidates=2),
    ExploreConfig("thompson", first_position=1),
]


def slot_of(scores: list[float], position: int = 5) -> SlotCandidates:
    count = len(scores)
    return SlotCandidates(position, np.arange(1, count + 1, dtype=np.int32), np.array(scores), np.arange(count))


def test_epsilon_by_hand() -> None:
    explorer = Explorer(ExploreConfig("epsilon", epsilon=0.2, num_candidates=4))
    assert explorer.probabilities(slot_of([0.5] * 6)).tolist() == pytest.approx([0.85, 0.05, 0.05, 0.05, 0, 0])


def test_plackett_luce_by_hand() -> None:
    explorer = Explorer(ExploreConfig("plackett-luce", temperature=0.5))
    open = SlotCandidates(5, np.array([4, 6, 9], dtype=np.int32), np.zeros(3), np.array([0, 2, 5]))
    assert explorer.probabilities(open).tolist() == pytest.approx([36 / 41, 4 / 41, 1 / 41])  # 1, 1/9, 1/36
    cold = Explorer(ExploreConfig("plackett-luce", temperature=1e-3)).probabilities(open)
    assert cold.tolist() == pytest.approx([1, 0, 0])


def test_thompson_against_a_million_betas() -> None:
    scores = [0.3, 0.25, 0.02, 0.3]
    feedback = Feedback(np.array([0, 0, 100, 5, 40]), np.array([0, 0, 30, 0, 4]))
    found = Explorer(ExploreConfig("thompson", prior_strength=10.0, epsilon=0.0), feedback).probabilities(
        slot_of(scores)
    )
    hits = 10 * np.array(scores) + feedback.clicks_V[1:]
    misses = 10 * (1 - np.array(scores)) + (feedback.views_V - feedback.clicks_V)[1:]
    draws = np.random.default_rng(0).beta(hits, misses, size=(1_000_000, 4)).argmax(axis=1)
    drawn = np.bincount(draws, minlength=4) / 1_000_000
    assert found == pytest.approx(drawn, abs=0.002)
    assert found.sum() == pytest.approx(1)
    mixed = Explorer(ExploreConfig("thompson", prior_strength=10.0, epsilon=0.4), feedback).probabilities(
        slot_of(scores)
    )
    assert mixed == pytest.approx(0.6 * found + 0.1)


def test_thompson_trusts_evidence_and_survives_extremes() -> None:
    feedback = Feedback(np.array([0, 10**6, 10**6, 0]), np.array([0, 10**6, 0, 0]))
    explorer = Explorer(ExploreConfig("thompson", epsilon=0.0), feedback)
    found = explorer.probabilities(slot_of([0.0, 1.0, 0.5]))
    assert found == pytest.approx([1, 0, 0], abs=1e-6)


def test_before_the_tail_nothing_is_drawn() -> None:
    for config in METHODS:
        share = Explorer(config).probabilities(slot_of([0.4, 0.3], position=config.first_position - 2))
        assert share.tolist() == [1.0, 0.0]
    assert Explorer(ExploreConfig()).probabilities(slot_of([0.4, 0.3])).tolist() == [1.0, 0.0]


class CachedExplorer(Explorer):
    """Explorer that computes the probabilities of equal slots once: 2,500 lists have few of them."""

    def __init__(self, config: ExploreConfig) -> None:
        super().__init__(config)
        self._cache: dict[tuple[int, bytes], np.ndarray] = {}

    def probabilities(self, slot: SlotCandidates) -> np.ndarray:
        key = slot.position, slot.items.tobytes()
        if key not in self._cache:
            self._cache[key] = super().probabilities(slot)
        return self._cache[key]


@pytest.mark.parametrize("config", METHODS, ids=str)
def test_lists_are_drawn_as_often_as_their_probability(config: ExploreConfig) -> None:
    """Every list's share of 2,500 draws is the product of its places' probabilities."""
    explorer, rng = CachedExplorer(config), np.random.default_rng(1)
    drawn: dict[tuple[int, ...], tuple[int, float]] = {}
    total = 2_500
    for _ in range(total):
        found = build_list(RANKED, 3, ALL, fallback=FALLBACK, policy=explorer.policy(rng))
        key = tuple(found.items_C.tolist())
        drawn[key] = drawn.get(key, (0, 0.0))[0] + 1, float(found.propensity_C.prod())
    assert sum(share for _, share in drawn.values()) == pytest.approx(1, abs=0.02)
    for count, share in drawn.values():
        assert abs(count / total - share) < 5 * np.sqrt(share * (1 - share) / total) + 1e-4


@pytest.mark.parametrize("config", METHODS, ids=str)
def test_a_replay_records_the_probabilities_of_the_draws(config: ExploreConfig) -> None:
    explorer, rng = Explorer(config), np.random.default_rng(2)
    for _ in range(50):
        found = build_list(RANKED, 3, ALL, fallback=FALLBACK, policy=explorer.policy(rng))
        replayed: list[LoggedPropensity] = []
        build_list(RANKED, 3, ALL, fallback=FALLBACK, policy=explorer.replay_policy(found.items_C, replayed))
        assert [f.probability for f in replayed] == found.propensity_C.tolist()
        assert all(f.probabilities.sum() == pytest.approx(1) for f in replayed)


def test_all_lists_together_are_certain() -> None:
    explorer, total = Explorer(ExploreConfig("plackett-luce", first_position=1)), 0.0
    for items in permutations(range(1, SIZE), 3):
        replayed: list[LoggedPropensity] = []
        build_list(RANKED, 3, ALL, fallback=FALLBACK, policy=explorer.replay_policy(np.array(items), replayed))
        total += float(np.prod([f.probability for f in replayed]))
    assert total == pytest.approx(1)


def test_behind_an_impossible_item_probabilities_are_zero() -> None:
    replayed: list[LoggedPropensity] = []
    explorer = Explorer(ExploreConfig("epsilon", first_position=2))
    build_list(RANKED, 3, ALL, fallback=FALLBACK, policy=explorer.replay_policy(np.array([3, 5, 7]), replayed))
    assert [f.probability for f in replayed] == [0.0, 0.0, 0.0]
    assert replayed[0].probabilities.tolist() == [1, 0, 0, 0]  # at the first place it would have shown 5
    assert replayed[1].probabilities.tolist() == [0, 0, 0]
    short: list[LoggedPropensity] = []
    build_list(RANKED, 3, ALL, fallback=FALLBACK, policy=explorer.replay_policy(np.array([5]), short))
    assert [f.probability for f in short] == [1.0, 0.0, 0.0]


def test_a_draw_against_the_order_is_flagged() -> None:
    explorer = Explorer(ExploreConfig("epsilon", first_position=2, epsilon=1.0))
    found = build_list(RANKED, 4, ALL, fallback=FALLBACK, policy=explorer.policy(np.random.default_rng(0)))
    order = {5: 0, 3: 1, 7: 2, 1: 3}
    for position, item in enumerate(found.items_C.tolist()):
        left = [i for i in order if i not in found.items_C[:position]]
        assert found.reasons_C[position] == (PlacementReason.RANKED if item == left[0] else PlacementReason.EXPLORED)
    assert PlacementReason.EXPLORED in found.reasons_C


def test_thompson_needs_probabilities() -> None:
    message = (
        "Thompson exploration takes scores for click probabilities, between 0 and 1, got one of 1.5: rank by a click "
        "model, or explore otherwise."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Explorer(ExploreConfig("thompson")).probabilities(slot_of([1.5, 0.2]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "ucb"}, "method must be none, epsilon, thompson, plackett-luce, got 'ucb'."),
        ({"first_position": 0}, "first_position must be at least 1, got 0."),
        ({"num_candidates": 0}, "num_candidates must be at least 1, got 0."),
        ({"epsilon": 1.5}, "epsilon must be in [0, 1], got 1.5."),
        ({"temperature": 0}, "temperature must be above 0, got 0."),
        ({"prior_strength": -1}, "prior_strength must be above 0, got -1."),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ExploreConfig(**values)
