"""Temperatures: planted ones are found at any scale, and an overconfident model states the truth."""

from dataclasses import replace

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.evaluation.calibration_metrics import calibration_error
from segue.models.probabilities.calibrated_scorer import NOTE, CalibratedScorer, SoftmaxCalibration
from segue.models.probabilities.temperature_mixture import TemperatureMixture
from segue.workflows.fit_model import calibrated, fit_model
from segue.workflows.probabilities.fit_temperature import (
    _with_best_item,
    best_mixture,
    best_temperature,
    fit_calibration,
)
from segue.workflows.probabilities.score_histogram import ScoreHistogram

ITEMS = 20
TRUTH = 0.6


def draw(rng: np.random.Generator, logs_NC: np.ndarray) -> np.ndarray:
    """Draw a column of each row by its log-probabilities."""
    shares = np.exp(logs_NC - logs_NC.max(axis=1, keepdims=True))
    ends = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
    return np.minimum((rng.random((len(ends), 1)) > ends).sum(axis=1), logs_NC.shape[1] - 1)


@pytest.mark.parametrize("factor", [1e-6, 0.2, 1.0, 7.0, 1e6])
def test_a_planted_temperature_is_found(factor: float) -> None:
    rng = np.random.default_rng(1)
    logs = rng.normal(0, 1.5, (4000, 12))
    found, loss = best_temperature(logs * factor, draw(rng, logs))
    assert found == pytest.approx(factor, rel=0.08)
    assert loss < np.log(12)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    rng = np.random.default_rng(2)
    logs = rng.normal(0, 2, (300, 9)).astype(np.float32)
    logs[:, 4] = -np.inf
    targets = draw(rng, logs)
    found, loss = best_temperature(logs, targets)

    def loss_at(temperature: float) -> float:
        scaled = logs.astype(np.float64) / temperature
        norm = np.log(np.exp(scaled).sum(axis=1))
        own = scaled[np.arange(300), targets]
        any_item = scaled[np.isfinite(scaled)].mean()
        return float((norm.sum() + norm.mean() - own.sum() - any_item) / 301)

    assert loss == pytest.approx(loss_at(found), abs=1e-5)
    assert all(loss <= loss_at(found * factor) + 1e-6 for factor in (0.01, 0.5, 0.9, 1.1, 2.0, 100.0))


def test_a_model_that_is_always_right_states_less_than_certainty() -> None:
    scores = np.eye(50) * 10.0
    found, _ = best_temperature(scores, np.arange(50))
    share = np.exp(10 / found) / (np.exp(10 / found) + 49)
    assert 0.9 < share < 0.9999


def test_equal_scores_need_no_temperature() -> None:
    assert best_temperature(np.zeros((30, 7)), np.arange(30) % 7) == (1.0, pytest.approx(np.log(7)))


def test_one_row_for_all_cases_is_the_same_as_one_for_each() -> None:
    rng = np.random.default_rng(3)
    row, targets = rng.normal(0, 3, (1, 8)), rng.integers(0, 8, 200)
    assert best_temperature(row, targets)[0] == pytest.approx(best_temperature(np.repeat(row, 200, axis=0), targets)[0])


class Overconfident:
    """Scorer of the successor of the newest item, with a probability of 0.996 where the truth is 0.6."""

    name = "sasrec"
    size = ITEMS + 1

    def scores(self, histories: Sequences) -> np.ndarray:
        scores = np.zeros((len(histories), self.size), dtype=np.float32)
        for row, items in enumerate(histories.to_lists()):
            scores[row, items[-1] % ITEMS + 1 if items else 1] = np.log(0.996 / 0.004 * (ITEMS - 1))
        return scores

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


def walks(seed: int, count: int = 3000) -> EvaluationCases:
    """Cases in which the successor comes next with probability 0.6, else any other item."""
    rng = np.random.default_rng(seed)
    newest = rng.integers(1, ITEMS + 1, count)
    others = (newest + rng.integers(1, ITEMS, count)) % ITEMS + 1
    targets = np.where(rng.random(count) < TRUTH, newest % ITEMS + 1, others)
    histories = Sequences.from_lists([[int(item)] for item in newest])
    return EvaluationCases(histories, targets.astype(np.int32), np.arange(count), None, {})


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_an_overconfident_model_states_the_truth(exclude_seen: bool) -> None:
    plain = CalibratedScorer(Overconfident(), SoftmaxCalibration())
    history = Sequences.from_lists([[4]])
    assert np.exp(plain.log_probabilities(history))[0, 5] == pytest.approx(0.996, abs=1e-3)
    calibration = fit_calibration(Overconfident(), walks(0), exclude_seen=exclude_seen)
    scorer = CalibratedScorer(Overconfident(), calibration)
    assert np.exp(scorer.log_probabilities(history))[0, 5] == pytest.approx(TRUTH, abs=0.03)
    test = walks(1)
    shares = np.exp(scorer.log_probabilities(test.histories))
    assert calibration_error(shares, np.arange(ITEMS + 1) == test.targets[:, None]) < 0.02
    repeated = sum(row == [target] for row, target in zip(walks(0).histories.to_lists(), walks(0).targets, strict=True))
    assert calibration.cases == 3000 - (repeated if exclude_seen else 0)


def noisy(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose best item is right in 60 % of the cases and whose second one in 20 %; their distances are noise."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 0.5, (count, 30))
    scores[:, 7] = 5.0 + np.abs(rng.normal(0, 1.5, count))
    scores[:, 8] = 4.0 + rng.normal(0, 0.3, count)
    item_N = np.select([(draw := rng.random(count)) < TRUTH, draw < TRUTH + 0.2], [7, 8], rng.integers(9, 30, count))
    return scores, item_N


def test_a_distance_of_scores_that_is_noise_does_not_move_the_stated_probability() -> None:
    mixture, loss = best_mixture(*noisy(0, 3000))
    scores, targets = noisy(1, 15_000)

    def error(one: TemperatureMixture) -> float:
        return calibration_error(one.probabilities(scores.copy())[:, 7], targets == 7)

    unscaled = replace(mixture, best_intercept=0.0, best_slope=1.0)
    assert error(mixture) < 0.02 < error(unscaled)
    assert mixture.best_slope < 0.5
    own = mixture.log_probabilities(noisy(0, 3000)[0])[np.arange(3000), noisy(0, 3000)[1]]
    assert loss == pytest.approx(-own.mean(), abs=2e-3)


def test_a_scaling_that_few_cases_do_not_prove_is_left_out() -> None:
    """A best item that is stated at .55 and right in .6 of 100 cases is no proof; of 3000 cases it is."""
    for count, is_scaled in ((100, False), (3000, True)):
        is_right = np.arange(count) < 0.6 * count
        own = np.where(is_right, 0.0, -1.0)
        values = np.tile(np.array([[0.0, np.log(0.45 / 0.55)]]), (count, 1))
        histogram = ScoreHistogram(values, np.ones((count, 2)), own)
        mixture, _ = _with_best_item(TemperatureMixture(), histogram, 1.0)
        assert (mixture != TemperatureMixture()) == is_scaled
        stated = mixture.probabilities(values[:1].copy())[0, 0]
        assert stated == pytest.approx(0.6 if is_scaled else 0.55, abs=0.005)


def test_users_without_events_have_a_temperature_of_their_own() -> None:
    """After an empty history the model is sure of item 1, which is anyone's next one in a twentieth of the cases."""
    calibration = fit_calibration(Overconfident(), walks(0), exclude_seen=False)
    scorer = CalibratedScorer(Overconfident(), calibration)
    shares = np.exp(scorer.log_probabilities(Sequences.from_lists([[]])))
    assert shares[0, 1] == pytest.approx(1 / ITEMS, abs=0.02)


def test_too_few_cases_leave_the_scores_as_they_are() -> None:
    assert fit_calibration(Overconfident(), walks(0, 19), exclude_seen=False) == SoftmaxCalibration()


def split_of(test: EvaluationCases) -> Split:
    rng = np.random.default_rng(5)
    rows = []
    for start in rng.integers(1, ITEMS + 1, 400).tolist():
        row = [start]
        for _ in range(6):
            row.append(row[-1] % ITEMS + 1 if rng.random() < TRUTH else int(rng.integers(1, ITEMS + 1)))
        rows.append(row)
    log = Sequences.from_lists(rows)
    catalog = Catalog([f"i{item}" for item in range(1, ITEMS + 1)])
    return Split("none", catalog, log, walks(0), log, test, False, "", "")


def test_nothing_of_the_test_is_used() -> None:
    one, two = (split_of(walks(seed, 200)) for seed in (7, 8))
    for name in ("markov", "markov+covisit"):
        notes = []
        for split in (one, two, replace(one, test=walks(9, 10))):
            fitted = fit_model(name, split, {})
            notes.append((fitted if "+" in name else calibrated(fitted, name, split)).notes[NOTE])
        assert notes[0] == notes[1] == notes[2]
        assert notes[0]["cases"] == 3000


@pytest.mark.parametrize("name", ["markov", "covisit", "popularity"])
def test_classic_models_state_calibrated_probabilities(name: str) -> None:
    split = split_of(walks(7))
    fitted = calibrated(fit_model(name, split, {}), name, split)
    scorer = CalibratedScorer(fitted.scorer, SoftmaxCalibration.of_model(name, {"notes": fitted.notes}))
    shares = np.exp(scorer.log_probabilities(split.test.histories))
    best = shares.argmax(axis=1)
    assert calibration_error(shares, np.arange(ITEMS + 1) == split.test.targets[:, None]) < 0.02
    stated, true = shares.max(axis=1).mean(), (best == split.test.targets).mean()
    assert stated == pytest.approx(true, abs=0.06), (stated, true)
