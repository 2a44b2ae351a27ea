"""How much each of several models counts in one list: weights chosen on cases, never on those that judge.

Shape letters: M models, N cases, V catalogue size with PAD.
"""

from collections.abc import Sequence

import numpy as np

from segue.data.cases import Cases
from segue.data.sequences import Sequences
from segue.evaluation.metrics import ndcg
from segue.evaluation.protocol import evaluate
from segue.evaluation.ranks import target_ranks
from segue.models.covisit import CoVisit, CoVisitConfig
from segue.models.ensemble import log_scores
from segue.models.prior import log_prior
from segue.models.scorer import Scorer

STEPS = (0.0, 0.5, 0.8, 1.25, 2.0)
"""A weight is tried at these multiples of itself; one that was 0 at ``STEPS`` of its first value."""
PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
PRIOR_DECAYS = (0.3, 0.5, 0.7, 0.85)
ROUNDS = 4
BYTES = 1 << 30
"""At most so many bytes of scores are held; fewer cases are looked at where they would not fit."""


def choose_weights(scorers: Sequence[Scorer], cases: Cases, *, exclude_seen: bool) -> list[float]:
    """One weight for each model, the first model's 1 unless it is left out: coordinate search for the best ndcg@10.

    Each model's scores are computed once. Starting values make every model's log-probabilities vary alike. A model
    stays only where it helps on these cases; equal inputs give equal weights.
    """
    size = scorers[0].size
    room = max(1, BYTES // (4 * size * len(scorers)))
    every = -(-len(cases) // room)
    some = cases.take(np.arange(0, len(cases), max(1, every)))
    logs_MNV = [log_scores(scorer, some.histories) for scorer in scorers]
    spread = [float(logs_NV.std(axis=1).mean()) for logs_NV in logs_MNV]
    first_M = [spread[0] / value if value > 0 else 0.0 for value in spread]
    seen = some.histories if exclude_seen else None

    def quality(weights_M: Sequence[float]) -> float:
        total_NV = sum(np.float32(w) * logs_NV for w, logs_NV in zip(weights_M, logs_MNV, strict=True) if w)
        if not isinstance(total_NV, np.ndarray):
            return 0.0
        return float(ndcg(target_ranks(total_NV, some.targets, exclude=seen), 10).mean())

    weights_M = list(first_M)
    best = quality(weights_M)
    for _ in range(ROUNDS):
        before = list(weights_M)
        for m in range(len(scorers)):
            start = weights_M[m] or first_M[m]
            for value in (step * start for step in STEPS):
                trial_M = [*weights_M[:m], value, *weights_M[m + 1 :]]
                found = quality(trial_M)
                if found > best or (found == best and value < weights_M[m]):
                    best, weights_M = found, trial_M
        if weights_M == before:
            break
    scale = next((weight for weight in weights_M if weight), 1.0)
    return [weight / scale for weight in weights_M]


def best_prior(train: Sequences, size: int, cases: Cases, exclude_seen: bool) -> CoVisit | None:
    """The co-visit rule with the decay that ranks the validation cases best; None without any cases."""
    if not len(cases):
        return None
    fitted = CoVisit.fit(train, size, CoVisitConfig())
    rules = [CoVisit(fitted.near, fitted.popularity_V, decay) for decay in PRIOR_DECAYS]
    quality = [evaluate(r, cases, exclude_seen=exclude_seen, ks=(10,)).metrics["ndcg@10"] for r in rules]
    return rules[int(np.argmax(quality))]


def best_prior_weight(scorer: Scorer, prior: CoVisit, cases: Cases, exclude_seen: bool) -> float:
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
