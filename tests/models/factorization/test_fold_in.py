"""Factorization models against closed forms, the library's own solutions and finite differences."""

import subprocess
import sys

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.factorization.bpr import BPR, BPRConfig
from segue.models.factorization.ease import EASE, EASEConfig
from segue.models.factorization.fold_in import (
    fill_empty_histories,
    fit_fold_in,
    user_item_matrix,
    weighted_mean_embedding,
)
from segue.models.factorization.fpmc import AdagradTable, FPMCConfig, bpr_gradients, item_transitions
from segue.models.factorization.ials import IALS, IALSConfig
from segue.models.factorization.spectral import Spectral, SpectralConfig
from segue.models.sparse_rows import item_counts, tie_breaker

SIZE = 12
RNG = np.random.default_rng(3)
ROWS = [RNG.integers(1, SIZE - 1, RNG.integers(2, 8)).tolist() for _ in range(40)]
LOG = Sequences.from_lists(ROWS)
HISTORIES = [[1, 2, 3], [4], [5, 5, 6], [7, 8, 9, 10]]


def naive_user_items(rows: list[list[int]]) -> np.ndarray:
    """The user-item matrix, item by item."""
    table = np.zeros((len(rows), SIZE))
    for user, row in enumerate(rows):
        table[user, [item for item in row if item != PAD]] = 1.0
    return table


def occurring() -> np.ndarray:
    return np.flatnonzero(naive_user_items(ROWS).any(axis=0))


def test_user_item_matrix_counts_an_item_once_and_leaves_out_empty_users() -> None:
    rows = [[1, 1, 2], [], [PAD], [3, PAD]]
    assert user_item_matrix(Sequences.from_lists(rows), 5).toarray().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_the_mean_embedding_is_weighted_by_recency() -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 2]], dtype=np.float32)
    means = weighted_mean_embedding(Sequences.from_lists([[1, 2], [], [2, PAD, 1]]), vectors, 0.5)
    np.testing.assert_allclose(means, [[1 / 3, 4 / 3], [0, 0], [2 / 3, 2 / 3]], atol=1e-6)


def test_fold_in_recovers_a_linear_map() -> None:
    means, truth = RNG.normal(size=(300, 4)), RNG.normal(size=(4, 4))
    np.testing.assert_allclose(fit_fold_in(means, means @ truth), truth, atol=0.02)


def test_unseen_items_come_last_and_empty_histories_get_popularity() -> None:
    popularity = np.array([0, 2e-6, 1e-6, 0], dtype=np.float32)
    filled = fill_empty_histories(
        np.array([[9, 1, 1, 5], [9, 9, 9, 9]], dtype=np.float32), Sequences.from_lists([[1], []]), popularity
    )
    assert filled[0].argsort()[::-1].tolist()[:2] == [1, 2]
    assert filled[:, 3].tolist() == pytest.approx([0.0, -1.0], abs=1e-5)
    assert filled[1].argmax() == 1


def test_ease_is_the_dense_formula_with_a_zero_diagonal() -> None:
    table = naive_user_items(ROWS)[:, occurring()]
    inverse = np.linalg.inv(table.T @ table + 7.0 * np.eye(table.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    model = EASE.fit(LOG, SIZE, EASEConfig(regularization=7.0, num_neighbors=SIZE, decay=1.0))
    expected = np.array([sum(weights[list(occurring()).index(item)] for item in row) for row in HISTORIES])
    scores = model.scores(Sequences.from_lists(HISTORIES))[:, occurring()]
    np.testing.assert_allclose(scores, expected, atol=2e-4)


def test_ease_keeps_the_largest_weights_of_each_row() -> None:
    whole = EASE.fit(LOG, SIZE, EASEConfig(num_neighbors=SIZE)).weights
    pruned = EASE.fit(LOG, SIZE, EASEConfig(num_neighbors=3)).weights
    for item in occurring():
        row = slice(whole.offsets[item], whole.offsets[item + 1])
        largest = whole.columns[row][np.argsort(-np.abs(whole.values[row]), kind="stable")[:3]]
        kept = pruned.columns[pruned.offsets[item] : pruned.offsets[item + 1]]
        assert sorted(kept.tolist()) == sorted(largest.tolist())


def test_ease_refuses_a_catalog_it_cannot_invert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue.models.factorization.ease.MAX_ITEMS", 3)
    with pytest.raises(ValueError, match="EASE inverts a matrix of all") as raised:
        EASE.fit(LOG, SIZE, EASEConfig())
    count = len(occurring())
    assert str(raised.value) == (
        f"EASE inverts a matrix of all {count} items that occur, which takes {4 * count**2:,} bytes and is refused "
        "above 3 items: leave out rare items (--trim min_item_events=N), or use ials."
    )


def test_ials_folds_a_history_in_as_the_library_solves_its_users() -> None:
    """With no decay and after the last half-step for items, a user's embedding is the exact solution of eq. 4."""
    config = IALSConfig(embedding_dim=6, confidence=5.0, regularization=2.0, decay=1.0)
    model = IALS.fit(LOG, SIZE, config)
    items = model.items_VD.astype(np.float64)
    for row, user_D in zip(ROWS[:10], model.user_embeddings(Sequences.from_lists(ROWS[:10])), strict=True):
        confidence = 1.0 + 4.0 * naive_user_items([row])[0]
        system = (items.T * confidence) @ items + 2.0 * np.eye(6)
        expected = np.linalg.solve(system, 5.0 * naive_user_items([row])[0] @ items)
        np.testing.assert_allclose(user_D, expected, rtol=1e-4, atol=1e-5)


def test_ials_and_the_library_agree_on_a_new_user() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    config = IALSConfig(embedding_dim=6, confidence=5.0, regularization=2.0, decay=1.0)
    model = IALS.fit(LOG, SIZE, config)
    theirs = AlternatingLeastSquares(factors=6, alpha=5.0, regularization=2.0, num_threads=1, random_state=0)
    theirs.fit(user_item_matrix(LOG, SIZE), show_progress=False)
    theirs.item_factors = model.items_VD
    theirs._YtY = None
    new = user_item_matrix(Sequences.from_lists([[2, 4, 6]]), SIZE)
    expected = theirs.recalculate_user(0, new)
    np.testing.assert_allclose(
        model.user_embeddings(Sequences.from_lists([[2, 4, 6]]))[0], expected, rtol=1e-2, atol=1e-3
    )


def test_bpr_ranks_items_of_the_same_users_first() -> None:
    """Two disjoint groups of items."""
    groups = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    rows = [RNG.permutation(groups[n % 2])[:4].tolist() for n in range(120)]
    model = BPR.fit(Sequences.from_lists(rows), SIZE, BPRConfig(embedding_dim=8, iterations=60))
    for history, other in (([1, 2], groups[1]), ([6, 7], groups[0])):
        scores = model.scores(Sequences.from_lists([history]))[0]
        rest = [item for item in range(1, 11) if item not in other and item not in history]
        assert scores[rest].min() > scores[other].max()


def test_fpmc_gradient_is_the_finite_difference() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(1, 6)) for _ in range(3)]

    def loss(query: np.ndarray, good: np.ndarray, bad: np.ndarray) -> float:
        squares = sum(float((part * part).sum()) for part in (query, good, bad))
        return float(np.log1p(np.exp(-(query * (good - bad)).sum()))) + 0.5 * 0.1 * squares

    for n, gradient in enumerate(bpr_gradients(*parts, 0.1)):
        for column in range(6):
            moved = [[part.copy() for part in parts] for _ in range(2)]
            moved[0][n][0, column] += 1e-5
            moved[1][n][0, column] -= 1e-5
            slope = (loss(*moved[0]) - loss(*moved[1])) / 2e-5
            assert gradient[0, column] == pytest.approx(slope, abs=1e-6)


def test_fpmc_transitions_by_hand() -> None:
    user, last, item = item_transitions(Sequences.from_lists([[1, 2], [PAD, 3], [PAD], [4, PAD, 5]]))
    assert user.tolist() == [0, 0, 1, 2, 2]
    assert last.tolist() == [PAD, 1, PAD, PAD, PAD]
    assert item.tolist() == [1, 2, 3, 4, 5]


def test_adagrad_updates_given_rows_only_and_adds_gradients_of_one_row() -> None:
    table = AdagradTable(np.ones((4, 2), dtype=np.float32), 0.5)
    table.step(np.array([1, 3, 1]), np.array([[1.0, 0.0], [2.0, 2.0], [1.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(table.rows, [[1, 1], [0.5, 1], [1, 1], [0.5, 0.5]], atol=1e-5)


def test_spectral_is_the_cosine_with_the_decayed_sum() -> None:
    model = Spectral.fit(LOG, SIZE, SpectralConfig(embedding_dim=5, decay=0.5))
    sum_D = model.items_VD[3] + 0.5 * model.items_VD[2] + 0.25 * model.items_VD[1]
    expected = model.items_VD @ sum_D / np.linalg.norm(sum_D)
    scores = model.scores(Sequences.from_lists([[1, 2, 3]]))[0]
    ties = tie_breaker(item_counts(LOG, SIZE), 1e-6)
    np.testing.assert_allclose(scores[occurring()], (expected + ties)[occurring()], atol=1e-5)


@pytest.mark.parametrize(
    ("config", "values", "sentence"),
    [
        (IALSConfig, {"embedding_dim": 0}, "embedding_dim must be at least 1, got 0."),
        (IALSConfig, {"confidence": 0.0}, "confidence must be above 0, got 0.0."),
        (IALSConfig, {"decay": 1.5}, "decay must be above 0 and at most 1, got 1.5."),
        (IALSConfig, {"seed": -1}, "seed must be at least 0, got -1."),
        (BPRConfig, {"iterations": 0}, "iterations must be at least 1, got 0."),
        (BPRConfig, {"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0."),
        (BPRConfig, {"regularization": -1.0}, "regularization must be at least 0, got -1.0."),
        (BPRConfig, {"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0."),
        (BPRConfig, {"seed": -1}, "seed must be at least 0, got -1."),
        (EASEConfig, {"regularization": 0.0}, "regularization must be above 0, got 0.0."),
        (EASEConfig, {"num_neighbors": 0}, "num_neighbors must be at least 1, got 0."),
        (EASEConfig, {"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0."),
        (FPMCConfig, {"batch_size": 0}, "batch_size must be at least 1, got 0."),
        (FPMCConfig, {"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0."),
        (FPMCConfig, {"regularization": -1.0}, "regularization must be at least 0, got -1.0."),
        (FPMCConfig, {"seed": -1}, "seed must be at least 0, got -1."),
        (SpectralConfig, {"window": 0}, "window must be at least 1, got 0."),
        (SpectralConfig, {"power": 2.0}, "power must be in [0, 1], got 2.0."),
        (SpectralConfig, {"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0."),
        (SpectralConfig, {"seed": -1}, "seed must be at least 0, got -1."),
    ],
)
def test_settings_out_of_range_are_refused(config: type, values: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        config(**values)
    assert str(raised.value) == sentence


MISSING = """
import sys
sys.modules["implicit"] = None
from segue.data.sequences import Sequences
from segue.models.factorization.ials import IALS, IALSConfig
try:
    IALS.fit(Sequences.from_lists([[1, 2]]), 4, IALSConfig())
except ValueError as error:
    print(error)
"""


def test_a_missing_library_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Fitting ials or bpr needs the library 'implicit': pip install 'segue[classic]'."


def test_ease_multiplies_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rows = Sequences.from_lists([rng.integers(1, 30, 12).tolist() for _ in range(40)])
    whole = EASE.fit(rows, 30, EASEConfig())
    monkeypatch.setattr("segue.models.factorization.ease.BLOCK", 7)
    blocks = EASE.fit(rows, 30, EASEConfig())
    for name, values in whole.arrays().items():
        np.testing.assert_array_equal(values, blocks.arrays()[name])
