"""One model on one set of cases -> numbers with intervals, and everything that must be said beside them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from segue.data.evaluation_cases import EvaluationCases
from segue.evaluation.bootstrap import bootstrap_intervals
from segue.evaluation.metrics import BY_RANK, coverage, novelty, popularity_percentile
from segue.evaluation.ranks import TieRule, has_rankable_target, target_ranks
from segue.models.scorer import Scorer
from segue.models.top_k import top_k

BLOCK_BYTES = 64 << 20
"""About so many bytes of scores and histories are held at once."""
EVENT_BYTES = 64
"""What an event of a history costs while its row is ranked: a few integers that say where it lies."""
MAX_LISTED_CASES = 5000
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
    time_aware: bool = False
    """Whether the model was told the moment of each question: such numbers are reported apart."""

    @property
    def cases(self) -> int:
        """How many cases the means are over."""
        return len(self.ranks) + self.missed


def evaluate(
    scorer: Scorer,
    cases: EvaluationCases,
    *,
    exclude_seen: bool,
    ks: Sequence[int] = (5, 10, 20),
    ties: TieRule = "half",
    counts_V: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Ranks each target among the whole catalog. ``counts_V`` (events of each item in training) adds popularity and
    novelty of the lists. The intervals' resamples come from a generator seeded 0: equal ranks, equal intervals."""
    every = max(1, -(-len(cases) // MAX_LISTED_CASES))
    ranks, groups, lists = [], [], []
    for start, stop in _blocks(cases, scorer.size):
        part, listed = cases.take(slice(start, stop)), np.arange(start, stop) % every == 0
        if exclude_seen:
            ok_B = has_rankable_target(part.histories, part.targets)
            part, listed = part.take(ok_B), listed[ok_B]
        if progress is not None:
            progress(start, len(cases))
        if len(part) == 0:
            continue
        seen = part.histories if exclude_seen else None
        scores_BV = scorer.scores(part.histories)
        ranks.append(target_ranks(scores_BV, part.targets, exclude=seen, ties=ties))
        groups.append(part.groups)
        shown = None if seen is None else seen.take(listed)
        lists.append(top_k(scores_BV[listed], max(ks), exclude=shown)[0])
    if progress is not None:
        progress(len(cases), len(cases))
    ranks_N, groups_N = np.concatenate([np.empty(0), *ranks]), np.concatenate([np.empty(0, np.int64), *groups])
    dropped = dict(cases.dropped)
    if len(ranks_N) < len(cases):
        dropped["target already seen"] = len(cases) - len(ranks_N)
    if len(ranks_N) == 0:
        raise ValueError(f"There is no case to judge by; left out: {dropped or 'none'}.")
    means, intervals = _means(ranks_N, groups_N, cases.missed, ks)
    return Evaluation(
        metrics={**means, **_of_lists(np.concatenate(lists), scorer.size, ks, counts_V)},
        intervals=intervals,
        ranks=ranks_N,
        groups=groups_N,
        tie_rule=ties,
        exclude_seen=exclude_seen,
        dropped=dropped,
        missed=cases.missed,
        time_aware=cases.histories.query_times is not None,
    )


def _blocks(cases: EvaluationCases, size: int) -> Iterator[tuple[int, int]]:
    """Neighboring cases whose score rows and histories fit into BLOCK_BYTES together; a case alone always may."""
    cost_N = 4 * size + EVENT_BYTES * cases.histories.lengths
    block_N = np.cumsum(cost_N) // BLOCK_BYTES
    edges = [0, *(np.flatnonzero(np.diff(block_N)) + 1).tolist(), len(cases)]
    yield from ((start, stop) for start, stop in pairwise(edges) if stop > start)


def _means(
    ranks_N: np.ndarray, groups_N: np.ndarray, missed: int, ks: Sequence[int]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Each metric's mean and interval; a target outside the catalog is a case of its own that nobody can win."""
    names = [(name, k) for k in ks for name in BY_RANK]
    all_ranks = np.concatenate([ranks_N, np.full(missed, np.inf)])
    all_groups = np.concatenate([groups_N, -1 - np.arange(missed)])
    values_MN = np.stack([BY_RANK[name](all_ranks, k) for name, k in names])
    bounds = bootstrap_intervals(values_MN, all_groups, np.random.default_rng(0))
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
