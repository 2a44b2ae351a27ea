"""Co-visitation against its formula in plain Python, and by hand."""

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig

SIZE = 8


def score(model, *rows):
    return model.scores(Sequences.from_lists(rows))


def naive(rows, history, config):
    """The formula of the docstring, float64 [V]."""
    forward = np.zeros((SIZE, SIZE))
    popularity = np.zeros(SIZE)
    for row in rows:
        for a, first in enumerate(row):
            popularity[first] += 1
            for b, second in enumerate(row[a + 1 : a + 1 + config.window], start=1):
                forward[first, second] += 1 / b
    damp = np.maximum(popularity, 1) ** config.damping
    weights = (forward + config.backward * forward.T) / damp[:, None] / damp[None, :]
    return sum((config.decay**age * weights[item] for age, item in enumerate(reversed(history))), np.zeros(SIZE))


def test_one_row_by_hand():
    """1 2 3, no damping: from 2, item 3 comes next (1) and item 1 came before (.25); from 1, 2 (1) and 3 (1/2)."""
    model = CoVisit.fit(Sequences.from_lists([[1, 2, 3]]), SIZE, CoVisitConfig(damping=0))
    np.testing.assert_allclose(score(model, [2])[0], [0, 0.25, 0, 1, 0, 0, 0, 0], atol=2e-6)
    np.testing.assert_allclose(score(model, [1, 2])[0], [0, 0.25, 0.5 * 1, 1 + 0.5 * 0.5, 0, 0, 0, 0], atol=2e-6)


@pytest.mark.parametrize(
    "config",
    [
        CoVisitConfig(),
        CoVisitConfig(window=2, backward=0.0, damping=0.5, decay=1.0),
        CoVisitConfig(window=1, decay=0.9),
    ],
)
def test_it_equals_its_formula(config):
    rng = np.random.default_rng(4)
    rows = [rng.integers(1, SIZE - 1, rng.integers(0, 14)).tolist() for _ in range(30)]
    histories = [rng.integers(1, SIZE, rng.integers(0, 12)).tolist() for _ in range(20)]
    expected = np.array([naive(rows, history, config) for history in histories])
    model = CoVisit.fit(Sequences.from_lists(rows), SIZE, config)
    np.testing.assert_allclose(score(model, *histories), expected, rtol=1e-5, atol=2e-6)


def test_pairs_do_not_cross_rows():
    model = CoVisit.fit(Sequences.from_lists([[1, 2], [3, 4]]), SIZE, CoVisitConfig())
    assert score(model, [2])[0, 3] < 1e-6 < score(model, [2])[0, 1]


def test_events_of_negligible_weight_are_ignored():
    """Twenty events after item 1 its neighbor 2 has its popularity alone; after nineteen it still has a score."""
    model = CoVisit.fit(Sequences.from_lists([[1, 2], [3, 4]] * 50), SIZE, CoVisitConfig(damping=0))
    beyond, within = score(model, [1] + [3] * 20, [1] + [3] * 19)
    assert beyond[2] == model.popularity_V[2]
    assert within[2] == pytest.approx(model.popularity_V[2] + 50 * 0.5**19, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"window": 0}, "window must be at least 1, got 0."),
        ({"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0."),
        ({"decay": 1.1}, "decay must be above 0 and at most 1, got 1.1."),
        ({"backward": -0.5}, "backward must be at least 0, got -0.5."),
        ({"damping": -1.0}, "damping must be at least 0, got -1.0."),
    ],
)
def test_settings_out_of_range(values, sentence):
    with pytest.raises(ValueError) as error:
        CoVisitConfig(**values)
    assert str(error.value) == sentence
