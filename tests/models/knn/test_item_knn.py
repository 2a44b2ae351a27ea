"""Item-kNN against cosines in plain Python."""

import math

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.knn import item_knn
from segue.models.knn.item_knn import ItemKNN, ItemKNNConfig
from segue.models.sparse_rows import keep_largest

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


def fit(rows, **values):
    return ItemKNN.fit(Sequences.from_lists(rows), SIZE, ItemKNNConfig(**values))


@pytest.mark.parametrize("weighting", ["none", "tfidf", "bm25"])
def test_blocks_change_nothing(weighting, monkeypatch):
    whole = fit(ROWS, weighting=weighting, num_neighbors=3)
    monkeypatch.setattr(item_knn, "BLOCK_PAIRS", 5)
    blocks = fit(ROWS, weighting=weighting, num_neighbors=3)
    for name, values in whole.arrays().items():
        np.testing.assert_array_equal(values, blocks.arrays()[name])


def test_a_block_has_a_bounded_number_of_pairs(monkeypatch):
    """A robot with all of 600 items: 360,000 pairs, and never more than a block of them at a time."""
    sizes = []

    def keep(matrix, count):
        sizes.append(matrix.nnz)
        return keep_largest(matrix, count)

    monkeypatch.setattr(item_knn, "BLOCK_PAIRS", 10_000)
    monkeypatch.setattr(item_knn, "keep_largest", keep)
    rows = Sequences.from_lists([list(range(1, 601)), [1, 2, 3]])
    model = ItemKNN.fit(rows, 601, ItemKNNConfig(num_neighbors=4))
    assert sum(sizes) == 600 * 599 and max(sizes) <= 10_000 + 600
    assert np.diff(model.similarities.offsets).tolist() == [0] + [4] * 600


def test_only_the_newest_items_of_a_heavy_user_count():
    heavy = [6, 6, 1, 2, 3, 2, 4, 5, 5, 4]
    with pytest.warns(UserWarning, match=r"^1 user has more than 3 items; item-knn counts the newest 3 of them"):
        capped = fit([*ROWS, heavy], max_user_items=3)
    expected = fit([*ROWS, [2, 5, 4]], max_user_items=None)
    np.testing.assert_array_equal(capped.similarities.columns, expected.similarities.columns)
    np.testing.assert_array_equal(capped.similarities.values, expected.similarities.values)


def test_a_user_with_many_events_on_few_items_is_not_capped(recwarn):
    few = fit([*ROWS, [1, 2] * 50], max_user_items=6)
    assert len(recwarn) == 0
    np.testing.assert_array_equal(
        few.similarities.values, fit([*ROWS, [1, 2]], max_user_items=None).similarities.values
    )
