"""How much each of several models counts in one list: weights chosen on cases, never on those that judge.

Shape letters: M models, N cases (B of them at once), V catalog size with PAD.
"""

from collections.abc import Sequence
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
from segue.models.top_k import half_tie_rank, top_k

NUM_CANDIDATES = 50
"""Of each model so many of a case's best items take part in the choice: what none of them lists is not shown either."""
BYTES = 1 << 30
"""At most so many bytes of scores are held; fewer cases are looked at where they would not fit."""
MIN_GAIN = 5e-4
"""So much better, as a share, must a step of the weights be."""
STEPS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.4, 2.0)
ROUNDS = 3
PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
PRIOR_DECAYS = (0.3, 0.5, 0.7, 0.85)


@dataclass(frozen=True)
class CandidateLogScores:
    """What the models say of the target (column 0) and of every item that one of them lists; K columns."""

    logs_NMK: np.ndarray
    """float32; a column that repeats another one of its case holds zeros."""
    real_NK: np.ndarray
    """bool: the columns that repeat no other."""

    def nll(self, weights_M: np.ndarray) -> tuple[float, np.ndarray]:
        """(mean of -log p(target), its gradient [M]) where p is the softmax of the weighted sum over the columns
        (McFadden 1974, conditional logit): convex in the weights."""
        total_NK = np.where(self.real_NK, np.einsum("m,nmk->nk", weights_M, self.logs_NMK), -np.inf)
        top_N1 = total_NK.max(axis=1, keepdims=True)
        share_NK = np.exp(total_NK - top_N1)
        sum_N1 = share_NK.sum(axis=1, keepdims=True)
        loss = float((np.log(sum_N1) + top_N1 - total_NK[:, :1]).mean())
        expected_M = np.einsum("nk,nmk->m", share_NK / sum_N1, self.logs_NMK) / len(total_NK)
        return loss, expected_M - self.logs_NMK[:, :, 0].mean(axis=0)

    def quality(self, weights_M: np.ndarray) -> float:
        """ndcg@10 of the weighted sum; equals count half."""
        total_NK = np.where(self.real_NK, np.einsum("m,nmk->nk", weights_M, self.logs_NMK), -np.inf)
        return float(ndcg(half_tie_rank(total_NK, np.zeros(len(total_NK), dtype=np.int64)), 10).mean())


def choose_weights(scorers: Sequence[Scorer], cases: EvaluationCases, *, exclude_seen: bool) -> list[float]:
    """One weight for each model, the first one that counts 1.

    Begins with the weights under which the targets are likeliest, with all alike, or with one model alone, whichever
    ranks the cases best (ndcg@10), and goes on weight by weight while that gains at least ``GAIN``: votes are no
    probabilities, so that likelihood alone can do worse than the best model, and smaller gains are the noise of single
    cases. Equal inputs give equal weights.
    """
    from scipy.optimize import minimize

    listed = candidate_log_scores(scorers, cases, exclude_seen=exclude_seen)
    count = len(scorers)
    spread_M = listed.logs_NMK.std(axis=2).mean(axis=0)
    alike_M = np.where(spread_M > 0, 1.0 / np.maximum(spread_M, 1e-9), 0.0)

    def scaled(x_M: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope_M = listed.nll(x_M * alike_M)
        return loss, slope_M * alike_M

    found = minimize(scaled, np.full(count, 1.0 / count), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * count)
    tries = [found.x * alike_M, alike_M, *np.eye(count)]
    best_M = _climb(listed, max(tries, key=listed.quality), alike_M)
    scale = next((weight for weight in best_M if weight > 0), 1.0)
    return [float(weight / scale) for weight in best_M]


def _climb(listed: CandidateLogScores, start_M: np.ndarray, alike_M: np.ndarray) -> np.ndarray:
    """From some weights to better ones, one weight at a time; what is 0 is tried at shares of ``alike_M``."""
    best_M = start_M / max(float((start_M / np.maximum(alike_M, 1e-12)).max()), 1e-12)
    best = listed.quality(best_M)
    for _ in range(ROUNDS):
        before = best
        for m in range(len(best_M)):
            for value in [scale * step for scale in (alike_M[m], best_M[m]) for step in STEPS]:
                trial_M = best_M.copy()
                trial_M[m] = value
                found = listed.quality(trial_M)
                if found > best * (1 + MIN_GAIN):
                    best, best_M = found, trial_M
        if best == before:
            break
    return best_M


def candidate_log_scores(
    scorers: Sequence[Scorer], cases: EvaluationCases, *, exclude_seen: bool
) -> CandidateLogScores:
    """Asks every model once for every case, or for evenly spaced ones where memory would not hold them all."""
    room = max(1, BYTES // (4 * len(scorers) * (NUM_CANDIDATES * len(scorers) + 1)))
    some = cases.take(np.arange(0, len(cases), -(-len(cases) // room)))
    block = max(1, (256 << 20) // (4 * scorers[0].size * len(scorers)))
    parts = [
        _listed(scorers, some.take(slice(start, start + block)), exclude_seen) for start in range(0, len(some), block)
    ]
    return CandidateLogScores(np.concatenate([p.logs_NMK for p in parts]), np.concatenate([p.real_NK for p in parts]))


def _listed(scorers: Sequence[Scorer], cases: EvaluationCases, exclude_seen: bool) -> CandidateLogScores:
    logs_MBV = [log_scores(scorer, cases.histories) for scorer in scorers]
    count = min(NUM_CANDIDATES, scorers[0].size - 1)
    seen = cases.histories if exclude_seen else None
    lists = [top_k(logs_BV, count, exclude=seen)[0] for logs_BV in logs_MBV]
    items_BK = np.concatenate([cases.targets[:, None], *lists], axis=1).astype(np.int64)
    order_BK = np.argsort(items_BK, axis=1, kind="stable")
    sorted_BK = np.take_along_axis(items_BK, order_BK, axis=1)
    fresh_BK = np.ones(items_BK.shape, dtype=bool)
    fresh_BK[:, 1:] = sorted_BK[:, 1:] != sorted_BK[:, :-1]
    real_BK = np.empty_like(fresh_BK)
    np.put_along_axis(real_BK, order_BK, fresh_BK & (sorted_BK != PAD), axis=1)
    logs_BMK = np.stack([np.take_along_axis(logs_BV, items_BK, axis=1) for logs_BV in logs_MBV], axis=1)
    return CandidateLogScores(np.where(real_BK[:, None, :], logs_BMK, np.float32(0.0)), real_BK)


def best_prior(train: Sequences, size: int, cases: EvaluationCases, exclude_seen: bool) -> CoVisit | None:
    """The co-visit rule with the decay that ranks the validation cases best; None without any cases."""
    if not len(cases):
        return None
    fitted = CoVisit.fit(train, size, CoVisitConfig())
    rules = [CoVisit(fitted.near, fitted.popularity_V, decay) for decay in PRIOR_DECAYS]
    quality = [evaluate(r, cases, exclude_seen=exclude_seen, ks=(10,)).metrics["ndcg@10"] for r in rules]
    return rules[int(np.argmax(quality))]


def best_prior_weight(scorer: Scorer, prior: CoVisit, cases: EvaluationCases, exclude_seen: bool) -> float:
    """The prior's weight that ranks the validation cases best; scores are computed once for all weights."""
    totals = np.zeros(len(PRIOR_WEIGHTS))
    block = max(1, (64 << 20) // (4 * scorer.size))
    for start in range(0, len(cases), block):
        part = cases.take(slice(start, start + block))
        scores_BV, logs_BV = scorer.scores(part.histories), log_prior(prior, part.histories)
        seen = part.histories if exclude_seen else None
        for i, weight in enumerate(PRIOR_WEIGHTS):
            ranks_B = target_ranks(scores_BV + np.float32(weight) * logs_BV, part.targets, exclude=seen)
            totals[i] += ndcg(ranks_B, 10).sum()
    return PRIOR_WEIGHTS[int(np.argmax(totals))]
