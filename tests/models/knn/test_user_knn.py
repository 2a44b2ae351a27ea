"""User-kNN against its own formula in plain Python."""

import math

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.knn.user_knn import UserKNN, UserKNNConfig

SIZE = 9
RNG = np.random.default_rng(6)
ROWS = [RNG.integers(1, SIZE, RNG.integers(1, 7)).tolist() for _ in range(40)]
ASKED = [[1, 2, 3], [4], [5, 6, 5], [7, 8, 1, 2, 3, 4], [2, 2]]


def naive(history: list[int], config: UserKNNConfig) -> np.ndarray:
    """The class's docstring, word by word, with everybody asked; 0 where nobody votes."""
    newest = history[-config.max_length :]
    weight = {item: config.decay ** (len(newest) - 1 - place) for place, item in enumerate(newest)}
    votes = np.zeros(SIZE)
    for items in map(set, ROWS):
        shared = sum(weight[i] for i in items if i in weight)
        if config.similarity == "cosine":
            alike = shared / math.sqrt(sum(w * w for w in weight.values()) * len(items))
        else:
            alike = shared / (sum(weight.values()) - shared + len(items))
        for item in items:
            votes[item] += alike
    return votes / max(votes.max(), 1e-300)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
@pytest.mark.parametrize("values", [{}, {"decay": 1.0}, {"max_length": 2}], ids=str)
def test_the_votes_are_the_formula(similarity: str, values: dict[str, float]) -> None:
    config = UserKNNConfig(similarity=similarity, **values)  # type: ignore[arg-type]
    model = UserKNN.fit(Sequences.from_lists(ROWS), SIZE, config)
    found = model.scores(Sequences.from_lists(ASKED))
    for row, history in enumerate(ASKED):
        wanted = naive(history, config)
        voted = wanted > 0
        np.testing.assert_allclose(found[row][voted], wanted[voted], rtol=1e-5)
        assert (found[row][~voted] < 0).all()


def test_only_the_most_alike_vote() -> None:
    rows = [[1, 2, 3, 7], [1, 4], [5, 6], [1, 2, 3, 4, 5, 6]]
    model = UserKNN.fit(Sequences.from_lists(rows), 8, UserKNNConfig(num_neighbors=1, decay=1.0))
    scores_V = model.scores(Sequences.from_lists([[1, 2, 3]]))[0]
    assert scores_V[7] == 1.0
    assert (scores_V[[4, 5, 6]] < 0).all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_neighbors": 0}, "num_neighbors must be at least 1, got 0."),
        ({"decay": 0.0}, "decay must be in (0, 1], got 0.0."),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        UserKNNConfig(**values)  # type: ignore[arg-type]
    assert str(raised.value) == said
