"""One model on one set of cases -> numbers with intervals, and everything that must be said beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.cases import Cases
from segue.evaluation.metrics import BY_RANK, coverage, novelty, popularity_percentile
from segue.evaluation.ranks import Ties, answerable, target_ranks
from segue.evaluation.significance import bootstrap_intervals
from segue.models.scorer import Scorer, top_k

BLOCK_BYTES = 64 << 20
"""Scores of so many bytes are held at once."""
LISTED_CASES = 5000
"""Coverage, popularity and novelty look at the lists of at most this many cases, evenly spaced: sorting every list
would cost more than all ranks together."""


@dataclass(frozen=True)
class Evaluation:
    """Numbers, and what they are worth."""

    metrics: dict[str, float]
    """By name and list length: "recall@10", "ndcg@10", "mrr@20", "coverage@10", ..."""
    intervals: dict[str, tuple[float, float]]
    """Bootstrap interval of each metric that is a mean over cases."""
    ranks: np.ndarray
    """float64 [cases judged]: the rank of each target."""
    groups: np.ndarray
    """int64 [cases judged]: whose case it was."""
    tie_rule: str
    exclude_seen: bool
    dropped: dict[str, int]
    """Cases left out, by reason."""
    missed: int
    """Targets no model could know; each counts as a miss in every mean."""

    @property
    def cases(self) -> int:
        """How many cases the means are over."""
        return len(self.ranks) + self.missed


def evaluate(
    scorer: Scorer,
    cases: Cases,
    *,
    exclude_seen: bool,
    ks: Sequence[int] = (5, 10, 20),
    ties: Ties = "half",
    counts_V: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Ranks each target among the whole catalogue. ``counts_V`` (events of each item in training) adds popularity and
    novelty of the lists. The intervals' resamples come from a generator seeded 0: equal ranks, equal intervals."""
    dropped = dict(cases.dropped)
    if exclude_seen:
        ok_N = answerable(cases.histories, cases.targets)
        if not ok_N.all():
            dropped["target already seen"] = int((~ok_N).sum())
            cases = cases.take(ok_N)
    if len(cases) == 0:
        raise ValueError(f"There is no case to judge by; left out: {dropped or 'none'}.")
    block = max(1, BLOCK_BYTES // (4 * scorer.size))
    every = max(1, -(-len(cases) // LISTED_CASES))
    ranks, lists = [], []
    for start in range(0, len(cases), block):
        part = cases.take(slice(start, start + block))
        seen = part.histories if exclude_seen else None
        scores_BV = scorer.scores(part.histories)
        ranks.append(target_ranks(scores_BV, part.targets, exclude=seen, ties=ties))
        listed = np.flatnonzero((np.arange(start, start + len(part)) % every) == 0)
        shown = None if seen is None else seen.take(listed)
        lists.append(top_k(scores_BV[listed], max(ks), exclude=shown)[0])
        if progress is not None:
            progress(min(start + block, len(cases)), len(cases))
    means, intervals = _means(np.concatenate(ranks), cases, ks, np.random.default_rng(0))
    return Evaluation(
        {**means, **_of_lists(np.concatenate(lists), scorer.size, ks, counts_V)},
        intervals,
        np.concatenate(ranks),
        cases.groups,
        ties,
        exclude_seen,
        dropped,
        cases.missed,
    )


def _means(
    ranks_N: np.ndarray, cases: Cases, ks: Sequence[int], rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Each metric's mean and interval; a target outside the catalogue is a case of its own that nobody can win."""
    names = [(name, k) for k in ks for name in BY_RANK]
    all_ranks = np.concatenate([ranks_N, np.full(cases.missed, np.inf)])
    all_groups = np.concatenate([cases.groups, -1 - np.arange(cases.missed)])
    values_MN = np.stack([BY_RANK[name](all_ranks, k) for name, k in names])
    bounds = bootstrap_intervals(values_MN, all_groups, rng)
    keys = [f"{name}@{k}" for name, k in names]
    means = dict(zip(keys, values_MN.mean(axis=1).tolist(), strict=True))
    return means, {key: (float(low), float(high)) for key, (low, high) in zip(keys, bounds, strict=True)}


def _of_lists(lists_NK: np.ndarray, size: int, ks: Sequence[int], counts_V: np.ndarray | None) -> dict[str, float]:
    """What the lists show, whether it was right or not."""
    metrics = {}
    for k in ks:
        metrics[f"coverage@{k}"] = coverage(lists_NK[:, :k], size)
        if counts_V is not None:
            metrics[f"popularity@{k}"] = popularity_percentile(lists_NK[:, :k], counts_V)
            metrics[f"novelty@{k}"] = novelty(lists_NK[:, :k], counts_V)
    return metrics
