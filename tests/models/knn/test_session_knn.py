"""Session-kNN against its definition in plain Python, and worked by hand."""

import math

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.knn.neighbors import WEIGHTS
from segue.models.knn.session_knn import SessionKNN, SessionKNNConfig

SIZE = 9


def fit(rows, times=None, **values):
    return SessionKNN.fit(Sequences.from_lists(rows, times), SIZE, SessionKNNConfig(**values))


def score(model, *rows):
    return model.scores(Sequences.from_lists(rows))


def last_occurrences(items):
    """Each item once, at its last position, in order."""
    return [item for position, item in enumerate(items) if item not in items[position + 1 :]]


def naive(rows, history, config):
    """The docstring, session by session; rows lie oldest first."""
    stored = [last_occurrences(row[-config.max_stored_events :]) for row in rows if row]
    history = history[-config.max_length :]
    weights = WEIGHTS[config.weighting](np.arange(len(history)), len(history))
    age = {item: history[::-1].index(item) for item in history}
    sharing = [row for row in stored if set(row) & set(history)][-config.sample_size :]
    similarity = [sum(weights[age[item]] for item in row if item in age) for row in sharing]
    best = sorted(range(len(sharing)), key=lambda n: (-round(similarity[n], 9), -n))[: config.num_neighbors]
    votes = np.zeros(SIZE)
    for n in best:
        row = sharing[n]
        match = min((item for item in row if item in age), key=age.__getitem__)
        for position, item in enumerate(row):
            distance = position - row.index(match)
            vote = similarity[n] / (1 + age[match]) * (config.before_weight if distance < 0 else 1)
            votes[item] += vote * (math.exp(-abs(distance) / config.spread) if config.spread else 1)
    counts = [sum(j in row for row in stored) for j in range(SIZE)]
    if config.idf:
        votes *= [max(math.log(len(stored) / max(1, held)), 1e-3) for held in counts]
    return votes / max(votes.max(), 1e-300)


@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"num_neighbors": 3, "sample_size": 7, "max_length": 2, "max_stored_events": 3},
        {"spread": None, "before_weight": 1.0, "idf": False},
        {"before_weight": 0.0, "num_neighbors": 1},
    ],
)
def test_it_equals_its_definition(weighting, values):
    rng = np.random.default_rng(6)
    rows = [rng.integers(1, SIZE - 1, rng.integers(0, 8)).tolist() for _ in range(40)]
    histories = [rng.integers(1, SIZE, rng.integers(1, 8)).tolist() for _ in range(25)]
    config = SessionKNNConfig(weighting=weighting, **values)
    model = fit(rows, weighting=weighting, **values)
    expected = np.array([naive(rows, history, config) for history in histories])
    scores = score(model, *histories)
    np.testing.assert_allclose(np.maximum(scores, 0.0), expected, rtol=1e-4)
    assert (scores[expected == 0] < 0).all()


def test_one_neighbor_by_hand():
    """Of 5 1 2 3, item 2 matches: 3 after it votes 1/e of the similarity, 1 before it half of that, itself all."""
    model = fit([[5, 1, 2, 3], [7, 8]], spread=1.0, idf=False)
    e = math.exp(-1)
    np.testing.assert_allclose(
        np.maximum(score(model, [2])[0], 0), [0, 0.5 * e, 1, e, 0, 0.5 * e * e, 0, 0, 0], rtol=1e-6
    )


def test_the_sample_is_the_most_recent_sessions_by_time():
    """The first row is the newest one; with a sample of one, it alone votes."""
    model = fit([[1, 2], [1, 3], [1, 4]], [[8, 9], [1, 2], [5, 6]], sample_size=1)
    assert score(model, [1])[0].argsort()[-1] == 2
    alone = fit([[1, 2], [1, 3], [1, 4]], sample_size=1, idf=False, spread=None)
    assert np.flatnonzero(score(alone, [1])[0] > 0).tolist() == [1, 4]
    assert score(fit([[1, 2], [1, 3], [1, 4]], sample_size=1), [1])[0].argsort()[-1] == 4


def test_rare_items_count_more():
    rows = [[1, 2], [1, 3], [2, 4], [2, 5]]
    assert score(fit(rows), [1])[0, 3] > score(fit(rows), [1])[0, 2]
    plain = score(fit(rows, idf=False), [1])[0]
    assert plain[3] == pytest.approx(plain[2], rel=1e-5)


def test_without_neighbors_popularity_is_left():
    model = fit([[1, 2], [2, 3]])
    assert score(model, [8])[0].tolist() == score(model, [])[0].tolist()
    assert score(model, [])[0].argsort()[-1] == 2


@pytest.mark.parametrize("weighting", WEIGHTS)
def test_weights_start_at_one_and_fall(weighting):
    weights = WEIGHTS[weighting](np.arange(6), 6)
    assert weights[0] == 1
    assert (np.diff(weights) < 0).all() or weighting == "none"
    assert (weights > 0).all()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        *[
            ({name: 0}, f"{name} must be at least 1, got 0.")
            for name in ("num_neighbors", "sample_size", "max_length", "max_stored_events")
        ],
        ({"spread": 0.0}, "spread must be above 0, or none, got 0.0."),
        ({"before_weight": -0.1}, "before_weight must be at least 0, got -0.1."),
    ],
)
def test_settings_out_of_range(values, sentence):
    with pytest.raises(ValueError) as error:
        SessionKNNConfig(**values)
    assert str(error.value) == sentence
