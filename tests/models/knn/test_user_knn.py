"""User-kNN against its formula in plain Python."""

import math

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.knn import session_index
from segue.models.knn.session_index import NeighborMatches, SessionIndex
from segue.models.knn.user_knn import UserKNN, UserKNNConfig

SIZE = 9
RNG = np.random.default_rng(6)
ROWS = [RNG.integers(1, SIZE, RNG.integers(1, 7)).tolist() for _ in range(40)]
HISTORIES = [[1, 2, 3], [4], [5, 6, 5], [7, 8, 1, 2, 3, 4], [2, 2]]


def naive(history: list[int], config: UserKNNConfig) -> np.ndarray:
    """The formula of the docstring over all users; 0 without votes."""
    newest = history[-config.max_length :]
    weight = {item: config.decay ** (len(newest) - 1 - position) for position, item in enumerate(newest)}
    votes = np.zeros(SIZE)
    for items in map(set, ROWS):
        shared = sum(weight[i] for i in items if i in weight)
        if config.similarity == "cosine":
            similarity = shared / math.sqrt(sum(w * w for w in weight.values()) * len(items))
        else:
            similarity = shared / (sum(weight.values()) - shared + len(items))
        for item in items:
            votes[item] += similarity
    return votes / max(votes.max(), 1e-300)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
@pytest.mark.parametrize("values", [{}, {"decay": 1.0}, {"max_length": 2}], ids=str)
def test_scores_equal_the_formula(similarity: str, values: dict[str, float]) -> None:
    config = UserKNNConfig(similarity=similarity, **values)  # type: ignore[arg-type]
    model = UserKNN.fit(Sequences.from_lists(ROWS), SIZE, config)
    scores = model.scores(Sequences.from_lists(HISTORIES))
    for row, history in enumerate(HISTORIES):
        expected = naive(history, config)
        has_votes = expected > 0
        np.testing.assert_allclose(scores[row][has_votes], expected[has_votes], rtol=1e-5)
        assert (scores[row][~has_votes] < 0).all()


def test_only_the_most_similar_users_vote() -> None:
    rows = [[1, 2, 3, 7], [1, 4], [5, 6], [1, 2, 3, 4, 5, 6]]
    model = UserKNN.fit(Sequences.from_lists(rows), 8, UserKNNConfig(num_neighbors=1, decay=1.0))
    scores_V = model.scores(Sequences.from_lists([[1, 2, 3]]))[0]
    assert scores_V[7] == 1.0
    assert (scores_V[[4, 5, 6]] < 0).all()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_neighbors": 0}, "num_neighbors must be at least 1, got 0."),
        ({"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0."),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        UserKNNConfig(**values)  # type: ignore[arg-type]
    assert str(raised.value) == sentence


def test_robots_vote_a_part_at_a_time_and_scores_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each history that shares an item with robots has all their items to count, for the whole batch at once."""
    robots = [np.random.default_rng(seed).permutation(np.arange(1, 500)).tolist() for seed in range(5)]
    histories = Sequences.from_lists([[item, item + 1] for item in range(1, 101)] + [[], [499]])
    model = UserKNN.fit(Sequences.from_lists([*robots, *ROWS]), 500, UserKNNConfig())
    expected = model.scores(histories)
    sizes = []
    neighbor_items = SessionIndex.neighbor_items

    def spied(index: SessionIndex, matches: NeighborMatches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = neighbor_items(index, matches)
        sizes.append(len(found[0]))
        return found

    monkeypatch.setattr(SessionIndex, "neighbor_items", spied)
    monkeypatch.setattr(session_index, "BLOCK_ITEMS", 5_000)
    np.testing.assert_array_equal(model.scores(histories), expected)
    one_history = 5 * 499 + sum(len(set(row)) for row in ROWS)
    assert max(sizes) <= 5_000 + one_history < sum(sizes)
