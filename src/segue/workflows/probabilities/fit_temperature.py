"""Fit of temperatures by log loss on validation cases: the divisors that make scores log-probabilities.

Shape letters: N cases, R rows of scores, C candidates, G temperatures of a grid, V catalog size with PAD.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.ranks import has_rankable_target
from segue.models.probabilities.calibrated_scorer import SoftmaxCalibration, default_calibration, log_votes
from segue.models.probabilities.temperature_mixture import TemperatureMixture
from segue.models.scorer import Scorer
from segue.models.top_k import fill_excluded
from segue.workflows.probabilities.score_histogram import ScoreHistogram

MAX_CASES = 3000
"""Largest number of cases of a fit."""
MAX_VALUES = 300_000_000
"""Largest number of scores of a fit; with more than 100,000 items fewer cases are used."""
MIN_CASES = 20
"""Smallest number of cases of a fit; with fewer the scores are used as they are."""
STEP = 2.0**0.25
"""Ratio of neighboring temperatures of a grid."""
_BLOCK_VALUES = 4_000_000


def best_temperature(scores_RC: np.ndarray, target_N: np.ndarray) -> tuple[float, float]:
    """Return the divisor of the scores with the smallest log loss, and the mean loss in nats (Guo et al. 2017).

    The loss is convex in 1 / temperature, so that a bounded search finds its minimum. A case more, whose target may be
    any candidate, keeps the temperature above 0 where the best candidate is always right.

    Args:
        scores_RC: scores of the candidates; -inf for others. One row for each case, or one row for all.
        target_N: column of each target, a candidate; at least one.
    """
    return _best_temperature(ScoreHistogram.of(scores_RC, target_N))


def _best_temperature(histogram: ScoreHistogram) -> tuple[float, float]:
    from scipy.optimize import minimize_scalar

    values_RC, counts_RC, count = histogram.values_RC, histogram.counts_RC, len(histogram.own_N)
    mean = float((values_RC * counts_RC).sum() / counts_RC.sum())
    own_mean = float(histogram.own_N.sum() + mean) / (count + 1)
    spread = histogram.spread()

    def loss(log_temperature: float) -> float:
        slope = float(np.exp(-log_temperature))
        sums_R = (np.exp(values_RC * slope) * counts_RC).sum(axis=1)
        return float(np.log(sums_R).mean()) - slope * own_mean

    if spread == 0:
        return 1.0, loss(0.0)
    center, reach = float(np.log(spread)), float(np.log(1e4))
    search = minimize_scalar(
        loss, bounds=(center - reach, center + reach), method="bounded", options={"xatol": 1e-3, "maxiter": 60}
    )
    return float(np.exp(search.x)), float(search.fun)


def best_mixture(scores_RC: np.ndarray, target_N: np.ndarray) -> tuple[TemperatureMixture, float]:
    """Return the mixture of two temperatures with the smallest log loss, and the mean loss in nats.

    The probability of the best item is scaled after it.

    Args:
        scores_RC: scores of the candidates; -inf for others. One row for each case, or one row for all.
        target_N: column of each target, a candidate; at least one.
    """
    return _best_mixture(ScoreHistogram.of(scores_RC, target_N))


def _with_best_item(
    mixture: TemperatureMixture, histogram: ScoreHistogram, loss: float
) -> tuple[TemperatureMixture, float]:
    """Return the mixture with the scaling of the best item of smallest log loss, and the mean loss.

    It is a logistic regression of the cases whose target is the best item, on the log odds that the mixture states. Its
    penalty, as strong as one case, pulls towards no scaling. The two numbers are kept if they raise the log likelihood
    by more than log(cases), the criterion of Schwarz 1978, so that the noise of few cases does not move them. The slope
    is at most 1: a blend states the cases that it was fitted on too well, and a steeper one would repeat that.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    stated_N = np.broadcast_to(histogram.best_shares(mixture), histogram.own_N.shape)
    is_open_N = stated_N < 1 - 1e-12
    logit_N = np.log(stated_N[is_open_N]) - np.log1p(-stated_N[is_open_N])
    is_best_N = (histogram.own_N == 0)[is_open_N]

    def value(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds_N = weights[0] + weights[1] * logit_N
        away_N = expit(odds_N) - is_best_N
        change = weights - (0.0, 1.0)
        total = float((np.logaddexp(0.0, odds_N) - is_best_N * odds_N).sum() + 0.5 * change @ change)
        return total, np.array([away_N.sum(), (away_N * logit_N).sum()]) + change

    start = np.array([0.0, 1.0])
    found: Any = minimize(value, start, jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, 1.0)])
    gain = value(start)[0] - float(found.fun)
    if gain < np.log(len(histogram.own_N)):
        return mixture, loss
    scaled = replace(mixture, best_intercept=float(found.x[0]), best_slope=float(found.x[1]))
    return scaled, loss - gain / len(histogram.own_N)


def _best_mixture(histogram: ScoreHistogram) -> tuple[TemperatureMixture, float]:
    """Search a grid of temperatures around the single best one, wider while the best one lies at its edge.

    For two temperatures the loss is convex in the share of the flat one. The share is at least 1 / (cases + 2), the
    estimate of a choice that was never observed (Laplace 1814), so that no item is certain.
    """
    single, loss = _best_temperature(histogram)
    smallest = 1.0 / (len(histogram.own_N) + 2)
    shares_N: dict[int, np.ndarray] = {}

    def at(step: int) -> np.ndarray:
        if step not in shares_N:
            shares_N[step] = histogram.target_shares(single * STEP**step)
        return shares_N[step]

    found = (loss, 0, 0, 0.0)
    low, high = -12, 12
    while True:
        for sharp in range(low, 1):
            for flat in range(0, high + 1):
                if sharp == flat:
                    continue
                value, share = _best_share(at(sharp), at(flat), smallest)
                found = min(found, (value, sharp, flat, share))
        _, sharp, flat, _ = found
        if (sharp > low or low <= -60) and (flat < high or high >= 60):
            break
        low, high = low - 8 * (sharp <= low), high + 8 * (flat >= high)
    value, sharp, flat, share = found
    if share == 0.0:
        return _with_best_item(TemperatureMixture(single), histogram, loss)
    return _with_best_item(TemperatureMixture(single * STEP**sharp, single * STEP**flat, share), histogram, value)


def _best_share(sharp_N: np.ndarray, flat_N: np.ndarray, smallest: float) -> tuple[float, float]:
    """Return the smallest loss of a mixture of two shares of the targets, and the share of the flat one.

    Newton's method with the step kept inside the bounds; the loss is convex.
    """
    difference_N = flat_N - sharp_N
    share = 0.5
    for _ in range(12):
        ratio_N = difference_N / np.maximum(sharp_N + share * difference_N, 1e-300)
        slope, curvature = float(ratio_N.mean()), float(np.square(ratio_N).mean())
        moved = share + slope / max(curvature, 1e-300)
        moved = min(max(moved, smallest, share / 4), 1 - (1 - share) / 4)
        if abs(moved - share) < 1e-4:
            break
        share = moved
    return -float(np.log(np.maximum(sharp_N + share * difference_N, 1e-300)).mean()), share


def fit_calibration(scorer: Scorer, cases: EvaluationCases, *, exclude_seen: bool) -> SoftmaxCalibration:
    """Fit the calibration of a model that was fitted without the cases.

    Votes of a classic model are tried by their logarithms and as they are; the scale of the smaller loss is kept. The
    temperature of users without events is fitted to the same targets, after an empty history.

    Args:
        scorer: the model.
        cases: validation cases.
        exclude_seen: items of the history have no probability.

    Returns:
        The calibration; that of a model without one for fewer than ``MIN_CASES`` cases.
    """
    default = default_calibration(scorer.name)
    if exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    cases = cases.sample(min(MAX_CASES, max(MIN_CASES, MAX_VALUES // scorer.size)), (0, 9))
    if len(cases) < MIN_CASES:
        return default
    scales = ("logit",) if default.scale == "logit" else ("log", "logit")
    histograms = _histograms(scorer, cases, exclude_seen, scales)
    fits: list[tuple[float, str, Any]] = []
    for scale in scales:
        mixture, loss = _best_mixture(histograms[scale])
        fits.append((loss, scale, mixture))
    _, scale, mixture = min(fits, key=lambda fit: fit[0])
    alone_1V = scorer.scores(Sequences.from_lists([[]]))
    fill_excluded(alone_1V, -np.inf, None, None)
    without, _ = best_temperature(log_votes(alone_1V) if scale == "log" else alone_1V, cases.targets)
    return SoftmaxCalibration(scale, mixture, without, exclude_seen, len(cases))  # type: ignore[arg-type]


def _histograms(
    scorer: Scorer, cases: EvaluationCases, exclude_seen: bool, scales: tuple[str, ...]
) -> dict[str, ScoreHistogram]:
    """Return the histogram of the cases' scores on each scale; the scores are held a block at a time."""
    block = max(1, _BLOCK_VALUES // scorer.size)
    parts: dict[str, list[ScoreHistogram]] = {scale: [] for scale in scales}
    for start in range(0, len(cases), block):
        part = cases.take(slice(start, start + block))
        scores_BV = scorer.scores(part.histories)
        fill_excluded(scores_BV, -np.inf, part.histories.drop_unknown() if exclude_seen else None, None)
        for scale in scales:
            own_BV = log_votes(scores_BV) if scale == "log" else scores_BV
            # One case alone would be taken for one row of all cases, which is the same.
            parts[scale].append(ScoreHistogram.of(own_BV, part.targets))
    return {scale: one[0].join(one[1:]) for scale, one in parts.items()}


def fit_temperatures(
    is_candidate_NC: np.ndarray, target_N: np.ndarray, scores_NC: np.ndarray
) -> tuple[float, TemperatureMixture | None]:
    """Return the divisor and the mixture of temperatures with the smallest log loss; 1 and None without cases.

    Args:
        is_candidate_NC: bool, False for PAD.
        target_N: column of each target.
        scores_NC: scores of the candidates.
    """
    if len(target_N) == 0:
        return 1.0, None
    scores_NC = np.where(is_candidate_NC, scores_NC, -np.inf)
    return best_temperature(scores_NC, target_N)[0], best_mixture(scores_NC, target_N)[0]
