"""Weights of the members of an ensemble and of the co-visitation prior, chosen on validation cases.

Shape letters: M models, N cases (B of them at once), K candidates, V catalog size with PAD.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.evaluate import evaluate
from segue.evaluation.metrics import ndcg
from segue.evaluation.ranks import target_ranks
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.ensemble import log_scores
from segue.models.neural.covisitation_prior import log_prior
from segue.models.scorer import Scorer
from segue.models.top_k import column_ranks, top_k

NUM_CANDIDATES = 50
"""Number of best items of each model that are candidates of a case."""
MAX_BYTES = 1 << 30
"""Memory limit of the candidates' scores; above it, evenly spaced cases are used."""
MIN_GAIN = 5e-4
"""Smallest relative gain of ndcg@10 for which a weight is changed."""
STEPS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.4, 2.0)
ROUNDS = 3
PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
LARGER_PRIOR_WEIGHTS = ((7.0, 10.0, 15.0, 20.0), (30.0, 50.0, 75.0, 100.0), (150.0, 200.0, 300.0, 500.0))
"""Blocks of weights that are tried while the best one is the largest so far. With 500 the co-visitation model decides
alone, and the network orders its equal scores."""
PRIOR_DECAYS = (0.3, 0.5, 0.7, 0.85)
SMALLER_PRIOR_DECAYS = ((0.2,), (0.1,), (0.05,), (0.02,))
"""Decays that are tried while the best one is the smallest so far. With 0.02 the newest item decides alone."""
LARGER_PRIOR_DECAYS = ((0.93,), (0.97,), (1.0,))
"""Decays that are tried while the best one is the largest so far, up to 1, which weighs all events alike."""


@dataclass(frozen=True)
class CandidateLogScores:
    """Log scores of each model for the target (column 0) and for every item among the best of one model."""

    log_scores_NMK: np.ndarray
    """float32 [N, M, K]; zeros where the item is in an earlier column too."""
    is_candidate_NK: np.ndarray
    """bool [N, K]: False for PAD and for an item that is in an earlier column too."""

    def nll(self, weights_M: np.ndarray) -> tuple[float, np.ndarray]:
        """Return (mean of -log p(target), its gradient [M]), p the softmax of the weighted sum over the candidates.

        Convex in the weights (McFadden 1974, conditional logit).
        """
        total_NK = np.where(self.is_candidate_NK, np.einsum("m,nmk->nk", weights_M, self.log_scores_NMK), -np.inf)
        top_N1 = total_NK.max(axis=1, keepdims=True)
        share_NK = np.exp(total_NK - top_N1)
        sum_N1 = share_NK.sum(axis=1, keepdims=True)
        loss = float((np.log(sum_N1) + top_N1 - total_NK[:, :1]).mean())
        expected_M = np.einsum("nk,nmk->m", share_NK / sum_N1, self.log_scores_NMK) / len(total_NK)
        return loss, expected_M - self.log_scores_NMK[:, :, 0].mean(axis=0)

    def quality(self, weights_M: np.ndarray) -> float:
        """Return ndcg@10 of the weighted sum, the mean over the orders of equal scores."""
        total_NK = np.where(self.is_candidate_NK, np.einsum("m,nmk->nk", weights_M, self.log_scores_NMK), -np.inf)
        ranks = column_ranks(total_NK, np.zeros(len(total_NK), dtype=np.int64))
        return float(ndcg(ranks.ranks_N, 10, ranks.ties_N).mean())


def choose_weights(scorers: Sequence[Scorer], cases: EvaluationCases, *, exclude_seen: bool) -> list[float]:
    """Choose one weight for each model; the first weight above 0 is 1.

    Starts from the weights of maximum likelihood, from equal weights, or from one model alone, whichever has the best
    ndcg@10. Then changes one weight at a time while that gains at least ``MIN_GAIN``. Scores of counting models are
    not probabilities, so that likelihood alone can be worse than the best model. Equal inputs give equal weights.

    Args:
        scorers: the models, with one catalog.
        cases: cases to choose on; without cases all weights are 1.
        exclude_seen: items of the history are not candidates.
    """
    from scipy.optimize import minimize

    if len(cases) == 0:
        return [1.0] * len(scorers)
    candidates = candidate_log_scores(scorers, cases, exclude_seen=exclude_seen)
    count = len(scorers)
    std_M = candidates.log_scores_NMK.std(axis=2).mean(axis=0)
    equal_M = np.where(std_M > 0, 1.0 / np.maximum(std_M, 1e-9), 0.0)

    def scaled(x_M: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope_M = candidates.nll(x_M * equal_M)
        return loss, slope_M * equal_M

    optimum = minimize(scaled, np.full(count, 1.0 / count), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * count)
    starts = [optimum.x * equal_M, equal_M, *np.eye(count)]
    best_M = _coordinate_ascent(candidates, max(starts, key=candidates.quality), equal_M)
    scale = next((weight for weight in best_M if weight > 0), 1.0)
    return [float(weight / scale) for weight in best_M]


def _coordinate_ascent(candidates: CandidateLogScores, start_M: np.ndarray, equal_M: np.ndarray) -> np.ndarray:
    """Improve the weights, one at a time; a weight of 0 is tried at multiples of ``equal_M``."""
    best_M = start_M / max(float((start_M / np.maximum(equal_M, 1e-12)).max()), 1e-12)
    best = candidates.quality(best_M)
    for _ in range(ROUNDS):
        before = best
        for m in range(len(best_M)):
            for value in [scale * step for scale in (equal_M[m], best_M[m]) for step in STEPS]:
                trial_M = best_M.copy()
                trial_M[m] = value
                quality = candidates.quality(trial_M)
                if quality > best * (1 + MIN_GAIN):
                    best, best_M = quality, trial_M
        if best == before:
            break
    return best_M


def candidate_log_scores(
    scorers: Sequence[Scorer], cases: EvaluationCases, *, exclude_seen: bool
) -> CandidateLogScores:
    """Score the candidates of every case, or of evenly spaced cases within ``MAX_BYTES``.

    Args:
        scorers: the models, with one catalog.
        cases: cases with their targets.
        exclude_seen: items of the history are not candidates.
    """
    max_cases = max(1, MAX_BYTES // (4 * len(scorers) * (NUM_CANDIDATES * len(scorers) + 1)))
    sample = cases.take(np.arange(0, len(cases), -(-len(cases) // max_cases)))
    block = max(1, (256 << 20) // (4 * scorers[0].size * len(scorers)))
    parts = [
        _block_log_scores(scorers, sample.take(slice(start, start + block)), exclude_seen)
        for start in range(0, len(sample), block)
    ]
    return CandidateLogScores(
        np.concatenate([p.log_scores_NMK for p in parts]), np.concatenate([p.is_candidate_NK for p in parts])
    )


def _block_log_scores(scorers: Sequence[Scorer], cases: EvaluationCases, exclude_seen: bool) -> CandidateLogScores:
    logs_MBV = [log_scores(scorer, cases.histories) for scorer in scorers]
    count = min(NUM_CANDIDATES, scorers[0].size - 1)
    seen = cases.histories if exclude_seen else None
    lists = [top_k(logs_BV, count, exclude=seen)[0] for logs_BV in logs_MBV]
    items_BK = np.concatenate([cases.targets[:, None], *lists], axis=1).astype(np.int64)
    order_BK = np.argsort(items_BK, axis=1, kind="stable")
    sorted_BK = np.take_along_axis(items_BK, order_BK, axis=1)
    is_first_BK = np.ones(items_BK.shape, dtype=bool)
    is_first_BK[:, 1:] = sorted_BK[:, 1:] != sorted_BK[:, :-1]
    is_candidate_BK = np.empty_like(is_first_BK)
    np.put_along_axis(is_candidate_BK, order_BK, is_first_BK & (sorted_BK != PAD), axis=1)
    logs_BMK = np.stack([np.take_along_axis(logs_BV, items_BK, axis=1) for logs_BV in logs_MBV], axis=1)
    return CandidateLogScores(np.where(is_candidate_BK[:, None, :], logs_BMK, np.float32(0.0)), is_candidate_BK)


def best_prior(train: Sequences, size: int, cases: EvaluationCases, exclude_seen: bool) -> CoVisit | None:
    """Fit the co-visitation model and choose its decay by ndcg@10 on validation; None without cases.

    Args:
        train: training events.
        size: catalog size V with PAD.
        cases: validation cases.
        exclude_seen: items of the history are not ranked.
    """
    if not len(cases):
        return None
    fitted = CoVisit.fit(train, size, CoVisitConfig())

    def with_decay(decay: float) -> CoVisit:
        return CoVisit(fitted.pair_weights, fitted.popularity_V, decay)

    def qualities(decays: Sequence[float]) -> list[float]:
        evaluations = [evaluate(with_decay(x), cases, exclude_seen=exclude_seen, ks=(10,)) for x in decays]
        return [evaluation.metrics["ndcg@10"] for evaluation in evaluations]

    return with_decay(best_on_grid(qualities, PRIOR_DECAYS, SMALLER_PRIOR_DECAYS, LARGER_PRIOR_DECAYS))


def best_on_grid(
    qualities: Callable[[Sequence[float]], Sequence[float]],
    grid: Sequence[float],
    below: Sequence[Sequence[float]] = (),
    above: Sequence[Sequence[float]] = (),
) -> float:
    """Return the value of the best quality; the grid is extended while the best value lies at its edge.

    Args:
        qualities: function of values, which returns the quality of each.
        grid: values, ascending. Of equal qualities the first one is best.
        below: blocks of smaller values, the next one first.
        above: blocks of larger values, the next one first.
    """
    tried = dict(zip(grid, qualities(grid), strict=True))
    for blocks, edge in ((below, min), (above, max)):
        for block in blocks:
            if max(tried, key=tried.__getitem__) != edge(tried):
                break
            tried |= dict(zip(block, qualities(block), strict=True))
    return max(tried, key=tried.__getitem__)


def best_prior_weight(scorer: Scorer, prior: CoVisit, cases: EvaluationCases, exclude_seen: bool) -> float:
    """Return the weight of the co-visitation prior with the best ndcg@10 on validation, see ``best_on_grid``.

    Args:
        scorer: the neural model.
        prior: the co-visitation model.
        cases: validation cases; each is scored once for all weights.
        exclude_seen: items of the history are not ranked.
    """
    block = max(1, (64 << 20) // (4 * scorer.size))

    def qualities(weights: Sequence[float]) -> list[float]:
        totals = np.zeros(len(weights))
        for start in range(0, len(cases), block):
            part = cases.take(slice(start, start + block))
            scores_BV, logs_BV = scorer.scores(part.histories), log_prior(prior, part.histories)
            seen = part.histories if exclude_seen else None
            for i, weight in enumerate(weights):
                ranks = target_ranks(scores_BV + np.float32(weight) * logs_BV, part.targets, exclude=seen)
                totals[i] += ndcg(ranks.ranks_N, 10, ranks.ties_N).sum()
        return totals.tolist()

    return best_on_grid(qualities, PRIOR_WEIGHTS, above=LARGER_PRIOR_WEIGHTS)
