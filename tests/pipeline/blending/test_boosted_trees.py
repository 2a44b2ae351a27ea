"""Boosted trees in numpy against LightGBM's scores, and their gain on top of a blend."""

import re
import sys

import numpy as np
import pytest

from segue.pipeline.blending.boosted_trees import BoostedTrees, fit_boosted_trees
from segue.pipeline.blending.ranking_cases import RankingCases
from segue.pipeline.config import RankConfig

lightgbm = pytest.importorskip("lightgbm", reason="LightGBM (segue[gbdt]) is not installed")


@pytest.fixture(scope="module")
def rows():
    rows_NF = np.random.default_rng(2).normal(size=(2000, 5)).astype(np.float32)
    rows_NF[::7, 2] = 0.0
    return rows_NF


@pytest.fixture(scope="module")
def model(rows):
    value_N = np.sin(3 * rows[:, 0]) * rows[:, 1] + (rows[:, 2] == 0)
    options = {"num_leaves": 15, "max_depth": 6, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    return lightgbm.train(options, lightgbm.Dataset(rows, value_N), 25)


def test_scores_equal_lightgbms(rows, model):
    trees = BoostedTrees.from_lightgbm(model, 25)
    np.testing.assert_allclose(trees.scores(rows), model.predict(rows), rtol=1e-9, atol=1e-12)
    some = BoostedTrees.from_lightgbm(model, 7)
    assert len(some) == 7
    np.testing.assert_allclose(some.scores(rows), model.predict(rows, num_iteration=7), rtol=1e-9, atol=1e-12)


def test_a_tree_that_is_one_leaf(rows):
    model = lightgbm.train({"verbosity": -1}, lightgbm.Dataset(rows[:20], np.full(20, 3.0)), 1)
    np.testing.assert_allclose(BoostedTrees.from_lightgbm(model, 1).scores(rows[:3]), model.predict(rows[:3]))


def test_many_rows_are_scored_as_few(rows, model):
    trees = BoostedTrees.from_lightgbm(model, 25)
    many = np.tile(rows, (3, 1))
    np.testing.assert_array_equal(trees.scores(many)[:2000], trees.scores(rows))
    assert trees.scores(rows[:0]).shape == (0,)


def test_saved_and_restored_trees_are_equal(rows, model):
    trees = BoostedTrees.from_lightgbm(model, 25)
    np.testing.assert_array_equal(BoostedTrees.restore(trees.arrays()).scores(rows), trees.scores(rows))


def test_a_category_is_no_number(rows):
    kinds_N = (np.arange(200) % 4).astype(np.float32)
    table = lightgbm.Dataset(
        np.stack([kinds_N, rows[:200, 0]], axis=1), (kinds_N % 2 == 0).astype(float), categorical_feature=[0]
    )
    model = lightgbm.train({"verbosity": -1, "min_data_per_group": 1, "cat_smooth": 0.0}, table, 1)
    with pytest.raises(ValueError, match=r"^A tree tests by '==', but its features are numbers: only '<=' is known\.$"):
        BoostedTrees.from_lightgbm(model, 1)


def cases(seed, count=600):
    """The target is the candidate whose second feature is nearest to .5, which no linear blend can rank first."""
    rng = np.random.default_rng(seed)
    features_NCF = rng.random((count, 12, 3)).astype(np.float32)
    target_N = np.abs(features_NCF[:, :, 1] - 0.5).argmin(axis=1)
    base_scores_NC = features_NCF[:, :, 0].astype(np.float64)
    return RankingCases(features_NCF, np.ones((count, 12), dtype=bool), target_N, base_scores_NC)


def share_first(scores_NC, target_N):
    return float((scores_NC.argmax(axis=1) == target_N).mean())


def test_trees_learn_a_rule_that_no_linear_blend_has():
    held_out = cases(2)
    trees = fit_boosted_trees(cases(1), held_out, RankConfig(max_trees=60, min_leaf_size=20, learning_rate=0.3), 0)
    corrections_NC = trees.scores(held_out.features_NCF[held_out.is_candidate_NC]).reshape(held_out.target_N.size, -1)
    assert share_first(held_out.base_scores_NC, held_out.target_N) < 0.15
    assert share_first(held_out.base_scores_NC + corrections_NC, held_out.target_N) > 0.5


def test_equal_cases_make_equal_trees():
    config = RankConfig(max_trees=5, min_leaf_size=20)
    one, two = (fit_boosted_trees(cases(1), cases(2), config, 3) for _ in range(2))
    np.testing.assert_array_equal(one.value_M, two.value_M)


def test_without_lightgbm_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    wanted = "Ranking by trees needs LightGBM: pip install 'segue[gbdt]', or set rank.method to none."
    with pytest.raises(ValueError, match=f"^{re.escape(wanted)}$"):
        fit_boosted_trees(cases(1, 20), cases(2, 20), RankConfig(), 0)
