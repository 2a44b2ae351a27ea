"""VS-kNN against its formula in plain Python, with each of its decays."""

import math

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.knn.vsknn import VSKNN, VSKNNConfig

SIZE = 9
RNG = np.random.default_rng(5)
ROWS = [RNG.integers(1, SIZE, RNG.integers(1, 7)).tolist() for _ in range(40)]
HISTORIES = [[1, 2, 3], [4], [5, 6, 5], [7, 8, 1, 2, 3, 4], [2, 2]]


def decay(name: str, age: int, length: int) -> float:
    """Weight of an item by its age in events and the length of its session."""
    return {
        "none": 1.0,
        "linear": 1.0 - age / length,
        "quadratic": (1.0 - age / length) ** 2,
        "log": 1.0 / math.log2(age + 2.0),
        "harmonic": 1.0 / (age + 1.0),
    }[name]


def naive(history: list[int], config: VSKNNConfig) -> np.ndarray:
    """The class's docstring, in plain Python; 0 without votes."""
    sessions = [set(row) for row in ROWS]
    newest = history[-config.max_length :]
    age = {item: len(newest) - 1 - position for position, item in enumerate(newest)}
    sharing = [n for n, items in enumerate(sessions) if items & set(age)][-config.sample_size :]
    similarity = {
        n: sum(decay(config.weighting, age[i], len(newest)) for i in sessions[n] if i in age) for n in sharing
    }
    votes = np.zeros(SIZE)
    for n in sorted(similarity, key=lambda n: (-round(similarity[n], 12), -n))[: config.num_neighbors]:
        youngest = min(age[i] for i in sessions[n] if i in age)
        for item in sessions[n]:
            count = sum(item in other for other in sessions)
            votes[item] += (
                similarity[n]
                * decay(config.scoring, youngest, len(newest))
                * (1.0 + config.idf * math.log(len(sessions) / count))
            )
    return votes / max(votes.max(), 1e-300)


@pytest.mark.parametrize("weighting", ["none", "linear", "quadratic", "log", "harmonic"])
@pytest.mark.parametrize(
    "values", [{}, {"num_neighbors": 5}, {"sample_size": 9, "num_neighbors": 4}, {"idf": 0.0, "max_length": 2}], ids=str
)
def test_scores_equal_the_formula(values: dict[str, float], weighting: str) -> None:
    config = VSKNNConfig(weighting=weighting, scoring=weighting, **values)  # type: ignore[arg-type]
    model = VSKNN.fit(Sequences.from_lists(ROWS), SIZE, config)
    scores = model.scores(Sequences.from_lists(HISTORIES))
    for row, history in enumerate(HISTORIES):
        expected = naive(history, config)
        has_votes = expected > 0
        np.testing.assert_allclose(scores[row][has_votes], expected[has_votes], rtol=1e-5)
        assert (scores[row][~has_votes] < 0).all()


def test_neighbors_are_searched_among_the_most_recent_sessions() -> None:
    rows, times = [[1, 2], [1, 3], [1, 4]], [[50, 60], [90, 95], [10, 20]]
    model = VSKNN.fit(Sequences.from_lists(rows, times), 5, VSKNNConfig(sample_size=1))
    assert model.scores(Sequences.from_lists([[1]]))[0].argmax() == 3


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"max_stored_events": 0}, "max_stored_events must be at least 1, got 0."),
        ({"idf": -1.0}, "idf must be at least 0, got -1.0."),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        VSKNNConfig(**values)  # type: ignore[arg-type]
    assert str(raised.value) == sentence
