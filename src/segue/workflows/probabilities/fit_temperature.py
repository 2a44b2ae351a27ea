"""Fit of temperatures by log loss on validation cases: the divisors that make scores log-probabilities.

Shape letters: N cases, R rows of scores, C candidates, V catalog size with PAD.
"""

import numpy as np

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.ranks import has_rankable_target
from segue.models.calibrated_scorer import SoftmaxCalibration, default_calibration, log_votes
from segue.models.scorer import Scorer
from segue.models.top_k import fill_excluded

MAX_CASES = 3000
"""Largest number of cases of a fit."""
MAX_VALUES = 20_000_000
"""Largest number of scores of a fit, 80 MB; with a larger catalog fewer cases are used."""
MIN_CASES = 20
"""Smallest number of cases of a fit; with fewer the scores are used as they are."""
REACH = float(np.log(1e4))
"""Reach of the search on both sides of the scores' spread, as a logarithm. At its ends one item has all probability, or
all items have the same."""
_BLOCK_VALUES = 1 << 20


def best_temperature(scores_RC: np.ndarray, target_N: np.ndarray) -> tuple[float, float]:
    """Return the divisor of the scores with the smallest log loss, and the mean loss in nats (Guo et al. 2017).

    The loss is convex in 1 / temperature, so that a bounded search finds its minimum. A case more, whose target may be
    any candidate, keeps the temperature above 0 where the best candidate is always right.

    Args:
        scores_RC: scores of the candidates; -inf for others. One row for each case, or one row for all.
        target_N: column of each target, a candidate; at least one.
    """
    from scipy.optimize import minimize_scalar

    row_N = np.arange(len(target_N)) if len(scores_RC) == len(target_N) else np.zeros(len(target_N), dtype=np.int64)
    block = max(1, _BLOCK_VALUES // scores_RC.shape[1])
    blocks = [slice(start, start + block) for start in range(0, len(scores_RC), block)]
    highest_R1 = scores_RC.max(axis=1, keepdims=True)
    own = float((scores_RC[row_N, target_N] - highest_R1[row_N, 0]).sum(dtype=np.float64))
    moments = np.zeros(3)
    for rows in blocks:
        values = (scores_RC[rows] - highest_R1[rows])[np.isfinite(scores_RC[rows])].astype(np.float64)
        moments += len(values), values.sum(), np.square(values).sum()
    mean = moments[1] / moments[0]
    spread = float(np.sqrt(max(moments[2] / moments[0] - mean**2, 0.0)))
    own_mean = (own + mean) / (len(target_N) + 1)

    def loss(log_temperature: float) -> float:
        slope = float(np.exp(-log_temperature))
        sums = [np.exp((scores_RC[rows] - highest_R1[rows]) * np.float32(slope)).sum(axis=1) for rows in blocks]
        return float(np.log(np.concatenate(sums)).mean(dtype=np.float64)) - slope * own_mean

    if spread == 0:
        return 1.0, loss(0.0)
    center = float(np.log(spread))
    search = minimize_scalar(
        loss, bounds=(center - REACH, center + REACH), method="bounded", options={"xatol": 1e-3, "maxiter": 60}
    )
    return float(np.exp(search.x)), float(search.fun)


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
    known = cases.histories.drop_unknown()
    raw_NV, empty_1V = _scores(scorer, cases.histories), scorer.scores(Sequences.from_lists([[]]))
    fits = []
    for scale in ("logit",) if default.scale == "logit" else ("log", "logit"):
        scores_NV, alone_1V = raw_NV.copy(), empty_1V.copy()
        if scale == "log":
            scores_NV, alone_1V = log_votes(scores_NV), log_votes(alone_1V)
        fill_excluded(scores_NV, -np.inf, known if exclude_seen else None, None)
        fill_excluded(alone_1V, -np.inf, None, None)
        temperature, loss = best_temperature(scores_NV, cases.targets)
        fits.append((loss, scale, temperature, best_temperature(alone_1V, cases.targets)[0]))
    _, scale, temperature, without = min(fits)
    return SoftmaxCalibration(scale, temperature, without, exclude_seen, len(cases))  # type: ignore[arg-type]


def _scores(scorer: Scorer, histories: Sequences) -> np.ndarray:
    """Return the scores of histories, float32 [N, V], in blocks."""
    block = max(1, (16 << 20) // scorer.size)
    starts = range(0, len(histories), block)
    return np.concatenate([scorer.scores(histories.take(slice(start, start + block))) for start in starts])
