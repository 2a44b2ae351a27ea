"""Evaluation of a scorer on cases: metrics with confidence intervals, over the whole catalog."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from segue.data.evaluation_cases import EvaluationCases
from segue.evaluation.bootstrap import bootstrap_intervals
from segue.evaluation.metrics import BY_RANK, coverage, novelty, popularity_percentile
from segue.evaluation.ranks import TieRule, has_rankable_target, target_ranks
from segue.models.scorer import Scorer
from segue.models.top_k import TargetRanks, top_k

BLOCK_BYTES = 64 << 20
"""Approximate memory of the scores and histories that are held at once."""
EVENT_BYTES = 64
"""Memory of one event of a history while its row is ranked: a few integers for its position."""
MAX_LISTED_CASES = 5000
"""Largest number of cases, evenly spaced, for coverage, popularity and novelty. To sort every list would cost more than
all ranks together."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a scorer with intervals, and the protocol that they depend on."""

    metrics: dict[str, float]
    """Metric with cutoff -> value: "recall@10", "ndcg@10", "mrr@20", "coverage@10", ..."""
    intervals: dict[str, tuple[float, float]]
    """95 % bootstrap interval of each metric that is a mean over cases."""
    ranks: np.ndarray
    """float64 [evaluated cases]: rank of each target; with ties the mean of its possible ranks."""
    ties: np.ndarray
    """int64 [evaluated cases]: number of equal scores of each target, its own among them; 1 for every tie rule but
    "expected"."""
    groups: np.ndarray
    """int64 [evaluated cases]: user or session of each case."""
    tie_rule: str
    """Rule for equal scores, see ``target_ranks``."""
    exclude_seen: bool
    """True: items of the history were not ranked."""
    dropped: dict[str, int]
    """Number of cases that were not evaluated, by reason."""
    missed: int
    """Number of targets outside the catalog; each counts as a miss in every mean."""
    time_aware: bool = False
    """True: the scorer received the time of each query. Such results are reported apart."""

    @property
    def cases(self) -> int:
        """Number of cases in the means."""
        return len(self.ranks) + self.missed

    def values(self, metric: str, k: int) -> np.ndarray:
        """Return a metric of each evaluated case, float64; targets outside the catalog are not among them.

        Args:
            metric: name in ``BY_RANK``.
            k: cutoff.
        """
        return BY_RANK[metric](self.ranks, k, self.ties)


def evaluate(
    scorer: Scorer,
    cases: EvaluationCases,
    *,
    exclude_seen: bool,
    ks: Sequence[int] = (5, 10, 20),
    ties: TieRule = "expected",
    counts_V: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Rank each target among the whole catalog and compute metrics.

    Args:
        scorer: the model.
        cases: histories and targets.
        exclude_seen: do not rank items of the history; cases with a seen target are dropped.
        ks: cutoffs of the metrics.
        ties: rule for equal scores, see ``target_ranks``.
        counts_V: number of training events of each item, for popularity and novelty; None: without these two.
        progress: called with (evaluated cases, all cases); None: no reports.

    Returns:
        The evaluation. Intervals are resampled with a generator of seed 0: equal ranks have equal intervals.

    Raises:
        ValueError: no case remains.
    """
    ranks, groups, lists = _rank_targets(scorer, cases, exclude_seen, max(ks), ties, progress)
    ranks_N = np.concatenate([np.empty(0), *(part.ranks_N for part in ranks)])
    ties_N = np.concatenate([np.empty(0, np.int64), *(part.ties_N for part in ranks)])
    groups_N = np.concatenate([np.empty(0, np.int64), *groups])
    dropped = dict(cases.dropped)
    if len(ranks_N) < len(cases):
        dropped["target already seen"] = len(cases) - len(ranks_N)
    if len(ranks_N) == 0:
        raise ValueError(f"There is no case to evaluate; dropped: {dropped or 'none'}.")
    means, intervals = _means(TargetRanks(ranks_N, ties_N), groups_N, cases.missed, ks)
    return Evaluation(
        metrics={**means, **_of_lists(np.concatenate(lists), scorer.size, ks, counts_V)},
        intervals=intervals,
        ranks=ranks_N,
        ties=ties_N,
        groups=groups_N,
        tie_rule=ties,
        exclude_seen=exclude_seen,
        dropped=dropped,
        missed=cases.missed,
        time_aware=cases.histories.query_times is not None,
    )


def _rank_targets(
    scorer: Scorer,
    cases: EvaluationCases,
    exclude_seen: bool,
    list_length: int,
    ties: TieRule,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[TargetRanks], list[np.ndarray], list[np.ndarray]]:
    """Return the ranks and groups of the rankable cases and the lists of some of them, block by block."""
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
        lists.append(top_k(scores_BV[listed], list_length, exclude=None if seen is None else seen.take(listed))[0])
    if progress is not None:
        progress(len(cases), len(cases))
    return ranks, groups, lists


def _blocks(cases: EvaluationCases, size: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of cases whose score rows and histories fit into BLOCK_BYTES; a single case always does."""
    cost_N = 4 * size + EVENT_BYTES * cases.histories.lengths
    block_N = np.cumsum(cost_N) // BLOCK_BYTES
    edges = [0, *(np.flatnonzero(np.diff(block_N)) + 1).tolist(), len(cases)]
    yield from ((start, stop) for start, stop in pairwise(edges) if stop > start)


def _means(
    ranks: TargetRanks, groups_N: np.ndarray, missed: int, ks: Sequence[int]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return each metric's mean and interval; a target outside the catalog is a case of its own group with a rank of
    infinity."""
    names = [(name, k) for k in ks for name in BY_RANK]
    all_ranks = np.concatenate([ranks.ranks_N, np.full(missed, np.inf)])
    all_ties = np.concatenate([ranks.ties_N, np.ones(missed, dtype=np.int64)])
    all_groups = np.concatenate([groups_N, -1 - np.arange(missed)])
    values_MN = np.stack([BY_RANK[name](all_ranks, k, all_ties) for name, k in names])
    bounds = bootstrap_intervals(values_MN, all_groups, np.random.default_rng(0))
    keys = [f"{name}@{k}" for name, k in names]
    means = dict(zip(keys, values_MN.mean(axis=1).tolist(), strict=True))
    return means, {key: (float(low), float(high)) for key, (low, high) in zip(keys, bounds, strict=True)}


def _of_lists(lists_NK: np.ndarray, size: int, ks: Sequence[int], counts_V: np.ndarray | None) -> dict[str, float]:
    """Return the metrics of the recommended lists."""
    metrics = {}
    for k in ks:
        metrics[f"coverage@{k}"] = coverage(lists_NK[:, :k], size)
        if counts_V is not None:
            metrics[f"popularity@{k}"] = popularity_percentile(lists_NK[:, :k], counts_V)
            metrics[f"novelty@{k}"] = novelty(lists_NK[:, :k], counts_V)
    return metrics
