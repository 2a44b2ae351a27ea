"""Blends by hand, and weights fitted to choices of a known rule."""

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.pipeline.blending.blend import (
    LearnedBlend,
    ReciprocalRankBlend,
    WeightedBlend,
    fit_learned_blend,
    unlearned_blend,
)
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.config import BlendConfig

NAMES = ("one", "two")


WIDE = np.array([[-99.0, -99.0], [99.0, 99.0]], dtype=np.float32)


def candidates(items, ranks, source_scores, is_served=None):
    """One history's candidates."""
    is_served = [True] * len(ranks[0]) if is_served is None else is_served
    return CandidateSet(
        np.array([items], dtype=np.int32),
        np.array([ranks], dtype=np.int32),
        np.array([source_scores], dtype=np.float32),
        np.array([is_served]),
        NAMES,
        np.array([9, 9], dtype=np.int32),
    )


CANDIDATES = candidates([4, 7, 2, PAD], [[1, 3], [2, 0], [0, 1], [0, 0]], [[9, 1], [5, -np.inf], [1, 3], [0, 7]])


def test_reciprocal_rank_by_hand():
    scores_C = ReciprocalRankBlend(np.array([1.0, 2.0]), 60.0).scores(CANDIDATES, None, None)[0]
    np.testing.assert_allclose(scores_C[:3], [1 / 61 + 2 / 63, 1 / 62, 2 / 61])
    assert scores_C[3] == -np.inf


def test_weighted_scores_span_zero_to_one_in_every_source():
    scores_C = WeightedBlend(np.array([1.0, 2.0])).scores(CANDIDATES, None, None)[0]
    np.testing.assert_allclose(scores_C[:3], [1 + 0, 0.5 + 0, 0 + 2])
    assert scores_C[3] == -np.inf


def test_weighted_leaves_out_a_source_that_does_not_serve():
    candidate_set = candidates([4, 7], [[1, 0], [2, 0]], [[9, 1], [5, 8]], is_served=[True, False])
    np.testing.assert_allclose(WeightedBlend(np.array([1.0, 2.0])).scores(candidate_set, None, None)[0], [1, 0])


def test_equal_scores_count_nothing():
    candidate_set = candidates([4, 7], [[1, 1], [2, 2]], [[3, 1], [3, 2]])
    np.testing.assert_allclose(WeightedBlend(np.array([1.0, 1.0])).scores(candidate_set, None, None)[0], [0, 1])


def test_a_blend_by_its_settings():
    blend = unlearned_blend(BlendConfig("reciprocal-rank", {"two": 3}, 10.0), NAMES)
    assert isinstance(blend, ReciprocalRankBlend)
    assert (blend.weights_S.tolist(), blend.constant) == ([1.0, 3.0], 10.0)
    assert isinstance(unlearned_blend(BlendConfig("weighted"), NAMES), WeightedBlend)


def choices(weights_F, lengths, seed):
    """Users who choose one of eight candidates with probability softmax(features . weights)."""
    rng = np.random.default_rng(seed)
    features_BCF = rng.normal(size=(len(lengths), 8, len(weights_F) + 1)).astype(np.float32)
    probabilities_BC = np.exp(features_BCF[:, :, :-1] @ weights_F)
    probabilities_BC /= probabilities_BC.sum(axis=1, keepdims=True)
    target_B = np.array([rng.choice(8, p=row) for row in probabilities_BC])
    return features_BCF, np.ones((len(lengths), 8), dtype=bool), target_B, np.array(lengths)


def test_the_true_weights_are_recovered():
    wanted = np.array([1.5, 0.0, -0.7])
    learned = fit_learned_blend(*choices(wanted, [5] * 4000, 1), BlendConfig(ridge=1e-3, cohorts=(0,)))
    np.testing.assert_allclose(learned.weights_GF[0], wanted, atol=0.08)


def test_each_cohort_has_its_own_weights_and_an_empty_one_those_of_all_users():
    few, many = (choices(np.array(w), [n] * 2000, n) for w, n in (([2.0, 0.0], 1), ([0.0, 2.0], 20)))
    together = [np.concatenate(part) for part in zip(few, many, strict=True)]
    learned = fit_learned_blend(*together, BlendConfig(ridge=1.0, cohort_ridge=1.0, cohorts=(0, 3, 10)))
    np.testing.assert_allclose(learned.weights_GF[0], [2, 0], atol=0.15)
    np.testing.assert_allclose(learned.weights_GF[2], [0, 2], atol=0.15)
    all_users = fit_learned_blend(*together, BlendConfig(ridge=1.0, cohorts=(0,)))
    np.testing.assert_allclose(learned.weights_GF[1], all_users.weights_GF[0], atol=2e-3)


def test_a_small_cohort_stays_near_the_weights_of_all_users():
    few, many = (choices(np.array(w), [n] * count, n) for w, n, count in (([2.0, 0.0], 1, 10), ([0.0, 2.0], 20, 2000)))
    together = [np.concatenate(part) for part in zip(few, many, strict=True)]
    learned = fit_learned_blend(*together, BlendConfig(cohorts=(0, 3)))
    assert abs(learned.weights_GF[0, 0] - learned.weights_GF[1, 0]) < 0.3
    assert abs(learned.weights_GF[0, 1] - learned.weights_GF[1, 1]) < 0.3


def test_a_fit_ignores_padding_and_changes_no_input():
    features_BCF, is_candidate_BC, target_B, lengths_B = choices(np.array([1.5, 0.0]), [5] * 300, 2)
    plain = fit_learned_blend(features_BCF, is_candidate_BC, target_B, lengths_B, BlendConfig())
    wide_BCF = np.concatenate([features_BCF, np.full((300, 4, 3), 1e3, np.float32)], axis=1)
    wide_BC = np.concatenate([is_candidate_BC, np.zeros((300, 4), dtype=bool)], axis=1)
    before = wide_BCF.copy()
    wide = fit_learned_blend(wide_BCF, wide_BC, target_B, lengths_B, BlendConfig())
    np.testing.assert_allclose(wide.weights_GF, plain.weights_GF, atol=1e-3)
    np.testing.assert_array_equal(wide_BCF, before)


def test_a_learned_score_is_the_product_with_the_cohorts_weights():
    learned = LearnedBlend(np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0, 3]), WIDE)
    features_BCF = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    linear_BC = learned.linear(features_BCF, np.array([2, 3]))
    np.testing.assert_allclose(linear_BC[0], features_BCF[0, :, :2] @ [1, 2])
    np.testing.assert_allclose(linear_BC[1], features_BCF[1, :, :2] @ [3, -1])
    assert learned.scores(CANDIDATES, features_BCF[:1], np.array([2]))[0, 3] == -np.inf
    again = LearnedBlend.restore(learned.arrays())
    np.testing.assert_array_equal(again.linear(features_BCF, np.array([2, 3])), linear_BC)


@pytest.mark.parametrize(("length", "group"), [(0, 0), (2, 0), (3, 1), (99, 1)])
def test_a_cohort_begins_at_its_edge(length, group):
    learned = LearnedBlend(np.array([[1.0], [2.0]]), np.array([0, 3]), WIDE[:, :1])
    assert learned.linear(np.ones((1, 1, 2), np.float32), np.array([length]))[0, 0] == group + 1


def test_a_feature_outside_the_range_of_training_is_clipped():
    learned = fit_learned_blend(*choices(np.array([1.5, -1.0]), [5] * 300, 2), BlendConfig())
    low_F, high_F = learned.bounds_2F
    features_NCF = np.stack([[*(high_F + 50), 0], [*high_F, 0], [*(low_F - 50), 0], [*low_F, 0]])[None].astype(
        np.float32
    )
    scores_C = learned.linear(features_NCF, np.array([5]))[0]
    assert scores_C[0] == scores_C[1]
    assert scores_C[2] == scores_C[3]
