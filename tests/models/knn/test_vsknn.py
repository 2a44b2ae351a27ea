"""VS-kNN against its own formula in plain Python, with each of its decays."""

import math

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.knn.vsknn import VSKNN, VSKNNConfig

SIZE = 9
RNG = np.random.default_rng(5)
ROWS = [RNG.integers(1, SIZE, RNG.integers(1, 7)).tolist() for _ in range(40)]
ASKED = [[1, 2, 3], [4], [5, 6, 5], [7, 8, 1, 2, 3, 4], [2, 2]]


def fall(kind: str, age: int, length: int) -> float:
    """What an item weighs that is so many events old in a session of so many events."""
    return {
        "none": 1.0,
        "linear": 1.0 - age / length,
        "quadratic": (1.0 - age / length) ** 2,
        "log": 1.0 / math.log2(age + 2.0),
        "harmonic": 1.0 / (age + 1.0),
    }[kind]


def naive(history: list[int], config: VSKNNConfig) -> np.ndarray:
    """The class's docstring, word by word; 0 where nobody votes."""
    held = [set(row) for row in ROWS]
    newest = history[-config.max_length :]
    age = {item: len(newest) - 1 - place for place, item in enumerate(newest)}
    sharing = [n for n, items in enumerate(held) if items & set(age)][-config.sample_size :]
    alike = {n: sum(fall(config.weighting, age[i], len(newest)) for i in held[n] if i in age) for n in sharing}
    votes = np.zeros(SIZE)
    for n in sorted(alike, key=lambda n: (-round(alike[n], 12), -n))[: config.num_neighbors]:
        youngest = min(age[i] for i in held[n] if i in age)
        for item in held[n]:
            holders = sum(item in other for other in held)
            votes[item] += (
                alike[n]
                * fall(config.scoring, youngest, len(newest))
                * (1.0 + config.idf * math.log(len(held) / holders))
            )
    return votes / max(votes.max(), 1e-300)


@pytest.mark.parametrize("kind", ["none", "linear", "quadratic", "log", "harmonic"])
@pytest.mark.parametrize(
    "values", [{}, {"num_neighbors": 5}, {"sample_size": 9, "num_neighbors": 4}, {"idf": 0.0, "max_length": 2}], ids=str
)
def test_the_votes_are_the_formula(values: dict[str, float], kind: str) -> None:
    config = VSKNNConfig(weighting=kind, scoring=kind, **values)  # type: ignore[arg-type]
    model = VSKNN.fit(Sequences.from_lists(ROWS), SIZE, config)
    found = model.scores(Sequences.from_lists(ASKED))
    for row, history in enumerate(ASKED):
        wanted = naive(history, config)
        voted = wanted > 0
        np.testing.assert_allclose(found[row][voted], wanted[voted], rtol=1e-5)
        assert (found[row][~voted] < 0).all()


def test_the_most_recent_sessions_are_asked() -> None:
    rows, times = [[1, 2], [1, 3], [1, 4]], [[50, 60], [90, 95], [10, 20]]
    model = VSKNN.fit(Sequences.from_lists(rows, times), 5, VSKNNConfig(sample_size=1))
    assert model.scores(Sequences.from_lists([[1]]))[0].argmax() == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_stored_events": 0}, "max_stored_events must be at least 1, got 0."),
        ({"idf": -1.0}, "idf must not be negative, got -1.0."),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        VSKNNConfig(**values)  # type: ignore[arg-type]
    assert str(raised.value) == said
