"""Lists of what comes in the next n steps, judged against what really came: as a set, step by step, and by horizon.

Shape letters: N cases, K list length, S steps that were held out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.bootstrap import bootstrap_intervals, paired_difference

GenerateLists = Callable[[Sequences, int], np.ndarray]
"""(histories, K) -> items int32 [N, K], best (or first) first, PAD where nothing is left."""


@dataclass(frozen=True)
class MultiStepEvaluation:
    """Numbers for lists of K items against the next S events, and what must be said beside them."""

    k: int
    steps: int
    metrics: dict[str, float]
    """Means over cases of recall@K, ndcg@K, map@K (against the set of what came) and exact@K (the share of the first K
    steps whose very item stands at that place of the list)."""
    intervals: dict[str, tuple[float, float]]
    """95 % bootstrap interval of each, by resampling people."""
    curve: list[float]
    """At place h - 1: the share of cases whose event h steps ahead is anywhere in the list."""
    exact: list[float]
    """At place h - 1: the share of cases whose event h steps ahead stands at place h of the list; K of them at most."""
    cases: int
    dropped: dict[str, int]
    """Cases, and single events, left out, by reason."""
    exclude_seen: bool
    tie_rule: str
    hits_NS: np.ndarray = field(repr=False, compare=False)
    """float64: 1 where the event at that step is in the list, NaN where it does not count; kept in memory only."""
    values: dict[str, np.ndarray] = field(repr=False, compare=False)
    """Each metric case by case, float64 [N], so that two evaluations can be compared; kept in memory only."""
    groups: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        names = ("k", "steps", "metrics", "curve", "exact", "cases", "dropped", "exclude_seen", "tie_rule")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "intervals": {name: list(bounds) for name, bounds in self.intervals.items()}}


def evaluate_multi_step(
    generate: GenerateLists, cases: EvaluationCases, *, exclude_seen: bool, k: int = 10, batch_size: int = 1024
) -> MultiStepEvaluation:
    """Judges ``write`` on the ``futures`` of cases.

    What counts as relevant is the set of a case's future items. With ``exclude_seen`` the histories' items cannot be
    recommended: they leave the set, and a case without any other is left out, both counted in ``dropped``. An item
    that comes twice counts once in the set, and at each of its steps in the curve. A list's filler is never right. A
    list has an order of its own, so there are no ties to break here: whoever writes it has broken them.

    ValueError for cases without futures, and for lists that repeat an item or hold a seen one where they must not:
    such a list would be judged too well or too badly.
    """
    if cases.futures is None:
        raise ValueError("These cases hold one target each: cut the log with leave-last-n-out to judge several steps.")
    lists_NK = [np.empty((0, k), dtype=np.int32)]
    for start in range(0, len(cases), batch_size):
        part = cases.histories.take(slice(start, start + batch_size))
        lists_NK.append(_checked(generate(part, k), part, k, exclude_seen))
    future_NS = cases.futures.padded(align="left")
    counts_NS = future_NS != PAD
    dropped = dict(cases.dropped)
    if exclude_seen:
        seen_NS = _seen(cases.histories, future_NS) & counts_NS
        if seen_NS.any():
            dropped["events already seen"] = int(seen_NS.sum())
        counts_NS &= ~seen_NS
    judged = counts_NS.any(axis=1)
    if not judged.all():
        dropped["cases with nothing new ahead"] = int((~judged).sum())
    if not judged.any():
        raise ValueError(f"There is no case to judge by; left out: {dropped or 'none'}.")
    future, counts = future_NS[judged], counts_NS[judged]
    return _evaluate_lists(
        np.concatenate(lists_NK)[judged], future, counts, cases.groups[judged], (exclude_seen, dropped)
    )


def _evaluate_lists(
    lists_NK: np.ndarray,
    future_NS: np.ndarray,
    counts_NS: np.ndarray,
    groups: np.ndarray,
    about: tuple[bool, dict[str, int]],
) -> MultiStepEvaluation:
    k = lists_NK.shape[1]
    match_NKS = (lists_NK[:, :, None] == future_NS[:, None, :]) & counts_NS[:, None, :]
    right_NK, hits_NS = match_NKS.any(axis=2), match_NKS.any(axis=1)
    exact_NS = np.diagonal(match_NKS, axis1=1, axis2=2)
    place = np.arange(exact_NS.shape[1])
    values = set_metrics(right_NK, _distinct(future_NS, counts_NS))
    asked_N = counts_NS[:, place].sum(axis=1)
    values[f"exact@{k}"] = exact_NS.sum(axis=1) / np.maximum(asked_N, 1)
    bounds = bootstrap_intervals(np.stack(list(values.values())), groups, np.random.default_rng(0))
    exclude_seen, dropped = about
    return MultiStepEvaluation(
        k=k,
        steps=future_NS.shape[1],
        metrics={name: float(value.mean()) for name, value in values.items()},
        intervals={name: (float(low), float(high)) for name, (low, high) in zip(values, bounds, strict=True)},
        curve=_means(hits_NS, counts_NS),
        exact=_means(exact_NS, counts_NS[:, place]),
        cases=len(lists_NK),
        dropped=dropped,
        exclude_seen=exclude_seen,
        tie_rule="none: a list has one order, its writer's",
        hits_NS=np.where(counts_NS, hits_NS, np.nan),
        values=values,
        groups=groups,
    )


def set_metrics(is_relevant_NK: np.ndarray, num_relevant_N: np.ndarray) -> dict[str, np.ndarray]:
    """Recall, NDCG and average precision of each list, float64 [N], by name@K.

    ``right_NK``: which places hold a relevant item; ``relevant_N``: how many relevant items there are, at least 1.
    recall = right / relevant; ndcg has gain 1 and discount 1 / log2(place + 1), divided by the best that K places allow
    (Jarvelin & Kekalainen 2002); map = the sum of the precisions at the right places / min(K, relevant).

    >>> {name: round(float(v[0]), 4) for name, v in set_metrics(np.array([[True, False, True]]), np.array([4])).items()}
    {'recall@3': 0.5, 'ndcg@3': 0.7039, 'map@3': 0.5556}
    """
    k = is_relevant_NK.shape[1]
    place_K = np.arange(1, k + 1)
    discount_K = 1.0 / np.log2(place_K + 1.0)
    best_N = np.minimum(k, num_relevant_N)
    found_NK = np.cumsum(is_relevant_NK, axis=1)
    return {
        f"recall@{k}": found_NK[:, -1] / num_relevant_N,
        f"ndcg@{k}": (is_relevant_NK * discount_K).sum(axis=1) / np.cumsum(discount_K)[best_N - 1],
        f"map@{k}": (is_relevant_NK * found_NK / place_K).sum(axis=1) / best_N,
    }


def multi_step_difference(
    first: MultiStepEvaluation, second: MultiStepEvaluation, horizons: range, rng: np.random.Generator
) -> dict[str, Any]:
    """How much more often the first's lists hold what came at these horizons (counted from 1): both shares, their
    difference with its 95 % interval over people, and the first as a multiple of the second."""
    columns = np.array(horizons) - 1
    with np.errstate(invalid="ignore"):
        counted_NS = ~np.isnan(first.hits_NS[:, columns])
    kept = counted_NS.any(axis=1)
    one, two = (np.nanmean(e.hits_NS[kept][:, columns], axis=1) for e in (first, second))
    difference, low, high = paired_difference(one, two, first.groups[kept], rng)
    return {
        "horizons": [horizons[0], horizons[-1]],
        "first": float(one.mean()),
        "second": float(two.mean()),
        "difference": difference,
        "interval": [low, high],
        "ratio": float(one.mean() / two.mean()) if two.any() else None,
    }


def _checked(lists_NK: np.ndarray, histories: Sequences, k: int, exclude_seen: bool) -> np.ndarray:
    if lists_NK.shape != (len(histories), k):
        raise ValueError(f"{len(histories)} histories need lists of shape {(len(histories), k)}, got {lists_NK.shape}.")
    ordered = np.sort(lists_NK, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD)).any():
        raise ValueError("A list holds an item twice: write it without repeats to judge it.")
    if exclude_seen and (_seen(histories, lists_NK) & (lists_NK != PAD)).any():
        raise ValueError("A list holds an item of its history, which this protocol excludes.")
    return lists_NK


def _seen(histories: Sequences, items_NK: np.ndarray) -> np.ndarray:
    """bool [N, K]: whether an item is in its row's history."""
    row, where = histories.positions()
    size = 1 + max(int(items_NK.max(initial=0)), int(histories.items[where].max(initial=0)))
    slots = np.unique(row * size + histories.items[where])
    asked = np.arange(len(items_NK))[:, None] * size + items_NK
    return np.isin(asked, slots)


def _distinct(future_NS: np.ndarray, counts_NS: np.ndarray) -> np.ndarray:
    """How many different items count in each row, int64 [N]."""
    ordered = np.sort(np.where(counts_NS, future_NS, PAD), axis=1)
    new = np.concatenate([ordered[:, :1] != PAD, (ordered[:, 1:] != ordered[:, :-1])], axis=1)
    return new.sum(axis=1)


def _means(hits_NS: np.ndarray, counts_NS: np.ndarray) -> list[float]:
    return (hits_NS.sum(axis=0) / np.maximum(counts_NS.sum(axis=0), 1)).tolist()
