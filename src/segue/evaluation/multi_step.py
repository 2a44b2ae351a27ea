"""Evaluation of generated lists against the next S events: as a set, step by step, and by horizon.

Shape letters: N cases, K list length, S held-out steps.

>>> from segue.data.sequences import Sequences
>>> histories, futures = Sequences.from_lists([[1, 2], [3]]), Sequences.from_lists([[3, 4], [4, 5]])
>>> cases = EvaluationCases(histories, np.array([3, 4]), np.arange(2), None, {}, futures=futures)
>>> def constant(histories, k):
...     return np.tile(np.array([4, 3, 5], dtype=np.int32)[:k], (len(histories), 1))
>>> result = evaluate_multi_step(constant, cases, exclude_seen=False, k=2)
>>> result.metrics["recall@2"], result.metrics["exact@2"], result.curve
(0.75, 0.25, [1.0, 0.5])
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.bootstrap import bootstrap_intervals, paired_difference
from segue.evaluation.expected_set_metrics import expected_set_metrics, joint_ranks, position_probability
from segue.evaluation.metrics import recall
from segue.models.scorer import Scorer

GenerateLists = Callable[[Sequences, int], np.ndarray]
"""(histories, K) -> item indices int32 [N, K], best or first one first, PAD where there are fewer."""


@dataclass(frozen=True)
class MultiStepEvaluation:
    """Metrics of lists of K items against the next S events, and the protocol that they depend on."""

    k: int
    """Length of the lists, K."""
    steps: int
    """Largest number of held-out events, S."""
    metrics: dict[str, float]
    """Means over cases of recall@K, ndcg@K, map@K (against the set of future items), and of exact@K (the share of the
    first K steps whose item has that position in the list)."""
    intervals: dict[str, tuple[float, float]]
    """95 % bootstrap interval of each metric, over users."""
    curve: list[float]
    """At index h - 1: share of cases whose event h steps ahead is in the list (its mean over equal scores)."""
    exact: list[float]
    """At index h - 1: share of cases whose event h steps ahead has position h in the list; at most K entries."""
    cases: int
    """Number of evaluated cases."""
    dropped: dict[str, int]
    """Number of cases and of single events that were not evaluated, by reason."""
    exclude_seen: bool
    """True: items of the history were not relevant and must not be listed."""
    tie_rule: str
    """Statement about ties, for reports."""
    hits_NS: np.ndarray = field(repr=False, compare=False)
    """float64: 1 for an event of that step in the list (its probability with equal scores), NaN for one that does not
    count; not saved."""
    values: dict[str, np.ndarray] = field(repr=False, compare=False)
    """Each metric by case, float64 [N], to compare two evaluations; not saved."""
    groups: np.ndarray = field(repr=False, compare=False)
    """User or session of each case; not saved."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        names = ("k", "steps", "metrics", "curve", "exact", "cases", "dropped", "exclude_seen", "tie_rule")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "intervals": {name: list(bounds) for name, bounds in self.intervals.items()}}


def evaluate_multi_step(
    generate: GenerateLists | Scorer,
    cases: EvaluationCases,
    *,
    exclude_seen: bool,
    k: int = 10,
    batch_size: int = 1024,
) -> MultiStepEvaluation:
    """Evaluate generated lists, or the ranking of a scorer, on the ``futures`` of cases.

    The set of a case's future items is relevant. With ``exclude_seen`` items of the history leave this set, and a case
    without any other is dropped; both are counted in ``dropped``. An item that occurs twice counts once in the set, and
    at each of its steps in the curve. Filler is never relevant. A list has one order, whatever ties its generator has
    broken. The ranking of a scorer may have equal scores: every metric is then its exact mean over their orders.

    Args:
        generate: returns the lists of histories; or a scorer, whose k best items are evaluated.
        cases: histories with ``futures``.
        exclude_seen: items of the history must not be listed and are not relevant.
        k: length of the lists.
        batch_size: number of histories per call of ``generate``.

    Raises:
        ValueError: cases without futures, no case left, a list of another length, with a repeated item, or with a seen
            one where these are excluded. Such a list would be evaluated as too good or too bad.
    """
    if cases.futures is None:
        raise ValueError(
            "These cases hold one target each: cut the log with leave-last-n-out to evaluate several steps."
        )
    future_NS = cases.futures.padded(align="left")
    counts_NS = future_NS != PAD
    dropped = dict(cases.dropped)
    if exclude_seen:
        seen_NS = _seen(cases.histories, future_NS) & counts_NS
        if seen_NS.any():
            dropped["events already seen"] = int(seen_NS.sum())
        counts_NS &= ~seen_NS
    is_evaluated_N = counts_NS.any(axis=1)
    if not is_evaluated_N.all():
        dropped["cases with nothing new ahead"] = int((~is_evaluated_N).sum())
    if not is_evaluated_N.any():
        raise ValueError(f"There is no case to evaluate; dropped: {dropped or 'none'}.")
    histories, groups = cases.histories.take(is_evaluated_N), cases.groups[is_evaluated_N]
    future, counts = future_NS[is_evaluated_N], counts_NS[is_evaluated_N]
    blocks = []
    for start in range(0, len(histories), batch_size):
        rows = slice(start, start + batch_size)
        blocks.append(_match_block(generate, histories.take(rows), future[rows], counts[rows], k, exclude_seen))
    tie_rule = "none: a list has one order" if callable(generate) else "expected"
    return _evaluation(_Matches.joined(blocks), counts, groups, k, (exclude_seen, dropped, tie_rule))


@dataclass(frozen=True)
class _Matches:
    """Matches of rankings with the next events, by case."""

    hits_NS: np.ndarray
    """float64: probability that the event of a step is among the first K."""
    exact_NS: np.ndarray
    """float64: probability that the event of a step has that position; min(K, S) steps."""
    values: dict[str, np.ndarray]
    """Set metrics, float64 [N] by name@K."""

    @classmethod
    def joined(cls, blocks: list["_Matches"]) -> "_Matches":
        return cls(
            np.concatenate([block.hits_NS for block in blocks]),
            np.concatenate([block.exact_NS for block in blocks]),
            {name: np.concatenate([block.values[name] for block in blocks]) for name in blocks[0].values},
        )


def _match_block(
    generate: GenerateLists | Scorer,
    histories: Sequences,
    future_NS: np.ndarray,
    counts_NS: np.ndarray,
    k: int,
    exclude_seen: bool,
) -> _Matches:
    if callable(generate):
        return _list_matches(_checked(generate(histories, k), histories, k, exclude_seen), future_NS, counts_NS)
    seen = histories.drop_unknown() if exclude_seen else None
    return _expected_matches(generate.scores(histories), future_NS, counts_NS, seen, k)


def _list_matches(lists_NK: np.ndarray, future_NS: np.ndarray, counts_NS: np.ndarray) -> _Matches:
    match_NKS = (lists_NK[:, :, None] == future_NS[:, None, :]) & counts_NS[:, None, :]
    values = set_metrics(match_NKS.any(axis=2), _is_first(future_NS, counts_NS).sum(axis=1))
    hits_NS, exact_NS = match_NKS.any(axis=1), np.diagonal(match_NKS, axis1=1, axis2=2)
    return _Matches(hits_NS.astype(np.float64), exact_NS.astype(np.float64), values)


def _expected_matches(
    scores_NV: np.ndarray, future_NS: np.ndarray, counts_NS: np.ndarray, seen: Sequences | None, k: int
) -> _Matches:
    above_NS, ties_NS = joint_ranks(scores_NV, future_NS, counts_NS, seen)
    hits_NS = recall(above_NS + (ties_NS + 1) / 2, k, ties_NS) * counts_NS
    exact_NS = (position_probability(above_NS, ties_NS) * counts_NS)[:, :k]
    return _Matches(hits_NS, exact_NS, expected_set_metrics(above_NS, ties_NS, _is_first(future_NS, counts_NS), k))


def _evaluation(
    matches: _Matches, counts_NS: np.ndarray, groups: np.ndarray, k: int, protocol: tuple[bool, dict[str, int], str]
) -> MultiStepEvaluation:
    hits_NS, exact_NS = matches.hits_NS, matches.exact_NS
    position = np.arange(exact_NS.shape[1])
    num_steps_N = counts_NS[:, position].sum(axis=1)
    values = matches.values | {f"exact@{k}": exact_NS.sum(axis=1) / np.maximum(num_steps_N, 1)}
    bounds = bootstrap_intervals(np.stack(list(values.values())), groups, np.random.default_rng(0))
    exclude_seen, dropped, tie_rule = protocol
    return MultiStepEvaluation(
        k=k,
        steps=counts_NS.shape[1],
        metrics={name: float(value.mean()) for name, value in values.items()},
        intervals={name: (float(low), float(high)) for name, (low, high) in zip(values, bounds, strict=True)},
        curve=_means(hits_NS, counts_NS),
        exact=_means(exact_NS, counts_NS[:, position]),
        cases=len(counts_NS),
        dropped=dropped,
        exclude_seen=exclude_seen,
        tie_rule=tie_rule,
        hits_NS=np.where(counts_NS, hits_NS, np.nan),
        values=values,
        groups=groups,
    )


def set_metrics(is_relevant_NK: np.ndarray, num_relevant_N: np.ndarray) -> dict[str, np.ndarray]:
    """Return recall, NDCG and average precision of each list against a set of relevant items, float64 [N], by name@K.

    recall = relevant items in the list / relevant items. NDCG has gain 1 and discount 1 / log2(position + 1), divided
    by the best value that K positions allow (Jarvelin & Kekalainen 2002). MAP = sum of the precisions at relevant
    positions / min(K, relevant items).

    Args:
        is_relevant_NK: bool, positions with a relevant item.
        num_relevant_N: number of relevant items, at least 1.

    >>> {name: round(float(v[0]), 4) for name, v in set_metrics(np.array([[True, False, True]]), np.array([4])).items()}
    {'recall@3': 0.5, 'ndcg@3': 0.7039, 'map@3': 0.5556}
    """
    k = is_relevant_NK.shape[1]
    positions_K = np.arange(1, k + 1)
    discount_K = 1.0 / np.log2(positions_K + 1.0)
    best_N = np.minimum(k, num_relevant_N)
    num_found_NK = np.cumsum(is_relevant_NK, axis=1)
    return {
        f"recall@{k}": num_found_NK[:, -1] / num_relevant_N,
        f"ndcg@{k}": (is_relevant_NK * discount_K).sum(axis=1) / np.cumsum(discount_K)[best_N - 1],
        f"map@{k}": (is_relevant_NK * num_found_NK / positions_K).sum(axis=1) / best_N,
    }


def multi_step_difference(
    first: MultiStepEvaluation, second: MultiStepEvaluation, horizons: range, rng: np.random.Generator
) -> dict[str, Any]:
    """Compare two evaluations by the share of events at given horizons that their lists hold.

    Args:
        first: evaluation of the first model.
        second: evaluation of the second model on the same cases.
        horizons: numbers of steps ahead, from 1.
        rng: generator of the bootstrap.

    Returns:
        Both shares, their difference with its 95 % interval over users, and the ratio first / second (None for 0).
    """
    columns = np.array(horizons) - 1
    with np.errstate(invalid="ignore"):
        counted_NS = ~np.isnan(first.hits_NS[:, columns])
    has_steps = counted_NS.any(axis=1)
    first_N, second_N = (np.nanmean(e.hits_NS[has_steps][:, columns], axis=1) for e in (first, second))
    difference, low, high = paired_difference(first_N, second_N, first.groups[has_steps], rng)
    return {
        "horizons": [horizons[0], horizons[-1]],
        "first": float(first_N.mean()),
        "second": float(second_N.mean()),
        "difference": difference,
        "interval": [low, high],
        "ratio": float(first_N.mean() / second_N.mean()) if second_N.any() else None,
    }


def _checked(lists_NK: np.ndarray, histories: Sequences, k: int, exclude_seen: bool) -> np.ndarray:
    if lists_NK.shape != (len(histories), k):
        raise ValueError(f"{len(histories)} histories need lists of shape {(len(histories), k)}, got {lists_NK.shape}.")
    ordered = np.sort(lists_NK, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD)).any():
        raise ValueError("A list holds an item twice: generate it without repeats to evaluate it.")
    if exclude_seen and (_seen(histories, lists_NK) & (lists_NK != PAD)).any():
        raise ValueError("A list holds an item of its history, which this protocol excludes.")
    return lists_NK


def _seen(histories: Sequences, items_NK: np.ndarray) -> np.ndarray:
    """Return the mask of items in their row's history, bool [N, K]."""
    row, positions = histories.positions()
    size = 1 + max(int(items_NK.max(initial=0)), int(histories.items[positions].max(initial=0)))
    slots = np.unique(row * size + histories.items[positions])
    keys_NK = np.arange(len(items_NK))[:, None] * size + items_NK
    return np.isin(keys_NK, slots)


def _is_first(future_NS: np.ndarray, counts_NS: np.ndarray) -> np.ndarray:
    """Return the mask of the first event of each distinct item among the events that count, bool [N, S]."""
    equal_NSS = (future_NS[:, :, None] == future_NS[:, None, :]) & counts_NS[:, None, :]
    is_first_NS: np.ndarray = counts_NS & (equal_NSS.argmax(axis=2) == np.arange(future_NS.shape[1]))
    return is_first_NS


def _means(hits_NS: np.ndarray, counts_NS: np.ndarray) -> list[float]:
    return (hits_NS.sum(axis=0) / np.maximum(counts_NS.sum(axis=0), 1)).tolist()
