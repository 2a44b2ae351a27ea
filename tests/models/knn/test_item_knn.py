"""Item-kNN against cosines in plain Python."""

import math

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.knn.item_knn import ItemKNN, ItemKNNConfig

SIZE = 7
RNG = np.random.default_rng(8)
ROWS = [RNG.integers(0, SIZE - 1, RNG.integers(1, 7)).tolist() for _ in range(25)]


def weight(user, item, users, weighting):
    """Weight of an item in the row of a user."""
    if weighting == "none":
        return 1.0
    idf = math.log(1 + SIZE / len(users[user]))
    if weighting == "tfidf":
        return idf
    users_per_item = [sum(j in row for row in users) for j in range(SIZE)]
    return idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * users_per_item[item] / np.mean(users_per_item)))


def naive(history, config):
    users = [set(row) - {PAD} for row in ROWS if set(row) != {PAD}]
    table = np.array(
        [[weight(u, j, users, config.weighting) if j in row else 0 for j in range(SIZE)] for u, row in enumerate(users)]
    )
    norms = np.linalg.norm(table, axis=0)
    similarity = table.T @ table / (np.outer(norms, norms) + config.shrinkage + 1e-30)
    np.fill_diagonal(similarity, 0)
    for row in similarity:
        row[np.argsort(-row, kind="stable")[config.num_neighbors :]] = 0
    return sum((config.decay**age * similarity[item] for age, item in enumerate(reversed(history))), np.zeros(SIZE))


@pytest.mark.parametrize("weighting", ["none", "tfidf", "bm25"])
@pytest.mark.parametrize("values", [{}, {"num_neighbors": 2, "shrinkage": 0.0, "decay": 0.9}, {"decay": 1.0}])
def test_it_equals_its_definition(weighting, values):
    config = ItemKNNConfig(weighting=weighting, **values)
    histories = [[], [1], [5, 2, 2, 4], [6], [3, 1, 2, 4, 5, 1]]
    model = ItemKNN.fit(Sequences.from_lists(ROWS), SIZE, config)
    expected = np.array([naive(history, config) for history in histories])
    np.testing.assert_allclose(model.scores(Sequences.from_lists(histories)), expected, rtol=1e-5, atol=1e-6)


def test_two_users_by_hand():
    """Items 1 and 2 have both users: 2 / (sqrt 2 * sqrt 2 + 10). Item 3 has one: 1 / (sqrt 2 + 10)."""
    model = ItemKNN.fit(Sequences.from_lists([[1, 2, 2], [2, 1, 3]]), 4, ItemKNNConfig())
    np.testing.assert_allclose(
        model.scores(Sequences.from_lists([[1]]))[0], [0, 0, 2 / 12, 1 / (math.sqrt(2) + 10)], atol=1e-6
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_neighbors": 0}, "num_neighbors must be at least 1, got 0."),
        ({"shrinkage": -1.0}, "shrinkage must be at least 0, got -1.0."),
        ({"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0."),
    ],
)
def test_settings_out_of_range(values, sentence):
    with pytest.raises(ValueError) as error:
        ItemKNNConfig(**values)
    assert str(error.value) == sentence
