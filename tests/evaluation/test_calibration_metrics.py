"""AUC, logloss and reliability against tables worked by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from segue.evaluation.calibration_metrics import auc, calibration_error, logloss, reliability


def test_auc_by_hand() -> None:
    # Taken .8, .4; not taken .4, .1. Pairs: .8 > .4, .8 > .1, .4 = .4 (half), .4 > .1: 3.5 of 4.
    assert auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])) == 3.5 / 4
    assert auc(np.array([1.0, 1.0, 1.0]), np.array([0, 1, 0])) == 0.5


def test_logloss_by_hand() -> None:
    result = logloss(np.array([0.5, 0.25, 0.8]), np.array([1, 0, 1]))
    assert result == pytest.approx(-(np.log(0.5) + np.log(0.75) + np.log(0.8)) / 3)
    assert np.isfinite(logloss(np.array([0.0, 1.0]), np.array([1, 0])))


def test_reliability_by_hand() -> None:
    p = np.array([0.9, 0.1, 0.2, 0.7, 0.6, 0.3])
    y = np.array([1, 0, 1, 1, 0, 0])
    curve = reliability(p, y, bins=2)
    np.testing.assert_allclose(curve.predicted_K, [0.2, 2.2 / 3])
    np.testing.assert_allclose(curve.observed_K, [1 / 3, 2 / 3])
    assert curve.count_K.tolist() == [3, 3]
    assert curve.error == pytest.approx((abs(0.2 - 1 / 3) + abs(2.2 / 3 - 2 / 3)) / 2)


def test_equal_predictions_stay_in_one_bin() -> None:
    curve = reliability(np.array([0.5] * 8 + [0.9, 0.1]), np.array([1, 0] * 5), bins=10)
    assert sorted(curve.count_K.tolist()) == [1, 1, 8]
    assert calibration_error(np.full(4, 0.5), np.array([1, 0, 1, 0])) == 0.0


def test_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        p, y = rng.integers(1, 40, 300) / 40, rng.random(300) < 0.3
        assert auc(p, y) == pytest.approx(roc_auc_score(y, p))
        assert logloss(p, y) == pytest.approx(log_loss(y, p))


def test_invalid_predictions_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        auc(np.array([0.1, np.nan]), np.array([0, 1]))
    assert str(error.value) == "A prediction is NaN: the model is broken and must not look like a good one."
    with pytest.raises(ValueError) as error:
        logloss(np.array([0.1, 0.2]), np.array([1, 1]))
    assert str(error.value) == "Both outcomes are needed, got 2 clicks of 2."
    with pytest.raises(ValueError) as error:
        auc(np.array([0.1]), np.array([0, 1]))
    assert str(error.value) == "Each prediction needs a label, got 1 predictions and 2 labels."
    with pytest.raises(ValueError) as error:
        reliability(np.array([0.1, 0.2]), np.array([0, 1]), bins=0)
    assert str(error.value) == "bins must be at least 1, got 0."
