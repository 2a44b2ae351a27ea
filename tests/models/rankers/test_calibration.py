"""Calibration: Platt and isotonic fits, strict monotonicity, and correction for sampling."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from segue.models.rankers.calibration import Calibration, pool_adjacent


def examples(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Log odds that are twice the true ones plus one, and clicks."""
    rng = np.random.default_rng(seed)
    real = rng.normal(-0.5, 1.5, count)
    labels = rng.random(count) < 1 / (1 + np.exp(-real))
    return 2 * real + 1, labels


def test_platt_finds_the_line() -> None:
    z, labels = examples(0)
    curve = Calibration.platt(z, labels)
    theirs = LogisticRegression(C=1e8, tol=1e-10).fit(z[:, None], labels)
    np.testing.assert_allclose(curve(z), theirs.predict_proba(z[:, None])[:, 1], atol=2e-3)
    np.testing.assert_allclose([curve.slopes[0], curve.calibrated_K[0]], [0.5, -0.5], atol=0.06)


def test_platt_of_separable_examples_stays_finite() -> None:
    z = np.array([-3.0, -2.0, 2.0, 3.0])
    curve = Calibration.platt(z, z > 0)
    assert np.isfinite(curve(z)).all()
    assert curve(z)[3] < 1


def test_isotonic_bends_where_platt_cannot() -> None:
    rng = np.random.default_rng(1)
    z = rng.uniform(-3, 3, 20_000)
    labels = rng.random(20_000) < np.where(z < 0, 0.1, 0.6)
    curve = Calibration.isotonic(z, labels)
    np.testing.assert_allclose(curve(np.array([-2.0, -0.5, 0.5, 2.0])), [0.1, 0.1, 0.6, 0.6], atol=0.05)


@pytest.mark.parametrize("fit", [Calibration.platt, Calibration.isotonic])
def test_different_log_odds_stay_different(fit: object) -> None:
    z, labels = examples(2)
    curve = fit(z, labels)  # type: ignore[operator]
    grid = np.linspace(z.min() - 3, z.max() + 3, 500)
    assert (np.diff(curve(grid)) > 0).all()


def test_pooling_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        values, weights = rng.normal(size=30), rng.integers(1, 9, 30).astype(float)
        block = pool_adjacent(values, weights)
        means = np.bincount(block, values * weights) / np.bincount(block, weights)
        theirs = IsotonicRegression().fit_transform(np.arange(30), values, sample_weight=weights)
        np.testing.assert_allclose(means[block], theirs)


def test_pooling_by_hand() -> None:
    assert pool_adjacent(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist() == [0, 1, 1, 2]
    assert pool_adjacent(np.array([3.0, 2.0, 1.0]), np.ones(3)).tolist() == [0, 0, 0]


def test_sampling_is_corrected() -> None:
    z = np.log(np.array([1.0, 3.0]))  # odds 1 and 3: .5 and .75
    np.testing.assert_allclose(Calibration.identity()(z), [0.5, 0.75])
    kept = Calibration.identity().for_negative_rate(0.1)(z)
    np.testing.assert_allclose(kept, [0.5 / (0.5 + 0.5 / 0.1), 0.75 / (0.75 + 0.25 / 0.1)])
    # Click rate 1/3 in the sample, 1/100 in the population: odds 1 : 2 become 1 : 99.
    rated = Calibration.identity().for_base_rate(1 / 3, 0.01)(np.log(np.array([0.5])))
    np.testing.assert_allclose(rated, [0.01])


def test_same_after_save_and_load() -> None:
    z, labels = examples(4)
    for curve in (Calibration.platt(z, labels), Calibration.isotonic(z, labels)):
        np.testing.assert_array_equal(Calibration.restore(curve.arrays())(z), curve(z))


def test_impossible_fits_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        Calibration.platt(np.zeros(3), np.zeros(3))
    assert str(error.value) == "A calibration needs both outcomes, got 0 clicks in 3 examples."
    with pytest.raises(ValueError) as error:
        Calibration.platt(np.zeros(3), np.zeros(2))
    assert str(error.value) == "Each example needs a label, got 3 examples and 2 labels."
    with pytest.raises(ValueError) as error:
        Calibration.isotonic(np.array([0.0, np.nan]), np.array([0, 1]))
    assert str(error.value) == "A log-odds is not finite: the model is broken, and no calibration mends that."
    with pytest.raises(ValueError) as error:
        Calibration.identity().for_negative_rate(0.0)
    assert str(error.value) == "The share of negatives that was kept must be in (0, 1], got 0.0."
    with pytest.raises(ValueError) as error:
        Calibration.identity().for_base_rate(0.5, 1.0)
    assert str(error.value) == "The real rate must be between 0 and 1, got 1.0."
