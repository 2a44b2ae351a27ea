"""Ranking of items by score: the only module that decides order, ties, exclusion and filler.

Order: the higher score first, then the smaller index. Filler: PAD with score -inf.

Shape letters: B batch, V catalog size with PAD, N entries, X columns, C candidates of one case.
"""

from typing import Literal, NamedTuple

import numpy as np

from segue.config.purchase_events import is_event_of
from segue.data.catalog import PAD
from segue.data.sequences import Sequences

_LOWEST = np.finfo(np.float32).min


class TargetRanks(NamedTuple):
    """Ranks of targets, and the number of items that share them."""

    ranks_N: np.ndarray
    """float64: mean of the ranks that a random order of equal scores gives the target; 1 is the best."""
    ties_N: np.ndarray
    """int64: number of items with the target's score, itself among them; 1: the rank is certain."""


def top_k(
    scores_BV: np.ndarray,
    k: int,
    *,
    exclude: Sequences | None = None,
    allowed_V: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best items of each row, best first.

    Equal scores: the smaller index first, so that a list is reproducible. Where fewer than k items are left, the rest
    is PAD with score -inf.

    Args:
        scores_BV: scores, float [B, V]; column PAD is ignored. Not changed.
        k: length of each list, at least 1.
        exclude: items that row b must not contain, row b for row b; None: no exclusion.
        allowed_V: bool [V], the items that may appear; None: all of them.

    Returns:
        (items int32 [B, k], scores float32 [B, k]).

    Raises:
        ValueError: k is below 1, or a score is NaN: a broken model must not look like a good one.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if np.isnan(scores_BV).any():
        raise ValueError("A score is NaN: the model is broken, its list would be arbitrary.")
    scores = np.array(scores_BV, dtype=np.float32)
    fill_excluded(scores, -np.inf, exclude, allowed_V)
    items = _top_items(scores, k)
    return items, np.take_along_axis(scores, items, axis=1)


def fill_excluded(
    array_BV: np.ndarray, value: float | bool, exclude: Sequences | None, allowed_V: np.ndarray | None
) -> None:
    """Write ``value`` in place at every item that must not appear: PAD, excluded items, items that are not allowed.

    Args:
        array_BV: scores (``value`` -inf) or a mask (``value`` True), [B, V].
        value: the value to write.
        exclude: items that row b must not contain, row b for row b; None: no exclusion.
        allowed_V: bool [V], the items that may appear; None: all of them.
    """
    array_BV[:, PAD] = value
    if allowed_V is not None:
        array_BV[:, ~allowed_V] = value
    if exclude is not None:
        row_N, position_N = exclude.positions()
        array_BV[row_N, exclude.items[position_N]] = value


def order_by_score_then_index(
    scores: np.ndarray, items_N: np.ndarray | None = None, *, rows_N: np.ndarray | None = None
) -> np.ndarray:
    """Return the permutation that sorts entries by (-score, item index).

    Args:
        scores: float [N]; or [..., N] without the other two, then every row is sorted on its own.
        items_N: item index of each entry, which breaks ties; None: the entries lie in ascending item order.
        rows_N: row of each entry; entries are sorted by row first. None: one row.

    Returns:
        int64, the shape of ``scores``.
    """
    if items_N is None and rows_N is None:
        return np.argsort(-scores, axis=-1, kind="stable")
    keys = [key for key in (items_N, -scores, rows_N) if key is not None]
    return np.lexsort(keys)


def best_indices(scores_V: np.ndarray, indices: np.ndarray, count: int) -> np.ndarray:
    """Return the best of some indices, best first; ties: the smaller index.

    Args:
        scores_V: float [V].
        indices: the indices to choose from, ascending.
        count: length of the result, shorter where there are fewer indices.

    Returns:
        int64 [at most ``count``].
    """
    if len(indices) > 4 * count:
        kth_score = np.partition(scores_V[indices], -count)[-count]
        indices = indices[scores_V[indices] >= kth_score]
    best: np.ndarray = indices[order_by_score_then_index(scores_V[indices])[:count]]
    return best


def best_columns(scores_BX: np.ndarray, count: int) -> np.ndarray:
    """Return the best columns of each row, best first; ties: the smaller column.

    Args:
        scores_BX: float [B, X].
        count: number of columns, at most X are returned.

    Returns:
        int64 [B, min(count, X)].
    """
    count = min(count, scores_BX.shape[1])
    kth_B1 = np.partition(scores_BX, -count, axis=1)[:, -count, None]
    best_BC = np.empty((len(scores_BX), count), dtype=np.int64)
    for b, (row, kth) in enumerate(zip(scores_BX, kth_B1, strict=True)):
        best_BC[b] = best_indices(row, np.flatnonzero(row >= kth), count)
    return best_BC


def rank_with_ties(above_B: np.ndarray, equal_B: np.ndarray, tied_share: float = 0.5) -> np.ndarray:
    """Return the rank of a target, 1 for the best: 1 + above + tied_share * (equal - 1).

    Args:
        above_B: number of scores above the target's.
        equal_B: number of scores equal to the target's, its own among them.
        tied_share: share of the equal scores that count as above; 0.5 is the mean over random orders.

    Returns:
        float64 [B].
    """
    ranks: np.ndarray = 1.0 + above_B + tied_share * (equal_B - 1)
    return ranks


def column_ranks(scores_BC: np.ndarray, target_B: np.ndarray) -> TargetRanks:
    """Return the rank of each row's target column, with the number of equal scores.

    Args:
        scores_BC: float [B, C]; -inf where there is no candidate.
        target_B: column of the target, int [B].
    """
    own_B1 = np.take_along_axis(scores_BC, target_B[:, None], axis=1)
    equal_B = (scores_BC == own_B1).sum(axis=1)
    return TargetRanks(rank_with_ties((scores_BC > own_B1).sum(axis=1), equal_B), equal_B)


def _top_items(scores_BV: np.ndarray, k: int) -> np.ndarray:
    """Return the exact top k, int32 [B, k]: only scores above a lower bound of the k-th score are sorted."""
    items_BK = np.full((len(scores_BV), k), PAD, dtype=np.int32)
    for b, (row, bound) in enumerate(zip(scores_BV, _kth_score(scores_BV, k), strict=True)):
        best = best_indices(row, np.flatnonzero(row >= bound), k)
        items_BK[b, : len(best)] = best
    return items_BK


def _kth_score(scores_BV: np.ndarray, k: int) -> np.ndarray:
    """Return a finite lower bound of each row's k-th best score, float32 [B].

    The k-th best of the maxima of any disjoint groups is such a bound. Groups are taken across the catalog, not along
    it, because catalogs tend to be in the order of popularity. Partitioning whole rows took nine tenths of the time of
    a request: nearly sorted rows are its slow case.
    """
    groups = 8 * k
    width = scores_BV.shape[1] // groups * groups
    if width < 2 * groups:
        return np.full(len(scores_BV), _LOWEST)
    maxima_BG = scores_BV[:, :width].reshape(len(scores_BV), width // groups, groups).max(axis=1)
    return np.maximum(np.partition(maxima_BG, -k, axis=1)[:, -k], _LOWEST)


SeenRule = bool | Literal["last"] | tuple[str, ...]
"""Items of a history that its list leaves out. True: all, "last": the last known one, False: none, event types: those
with an event of these types, and the last known one."""


def default_seen_rule(excluded_in_evaluation: bool) -> SeenRule:
    """Return the rule of a request that states none: seen items as in the evaluation, and never the last one."""
    return True if excluded_in_evaluation else "last"


def seen_items(histories: Sequences, rule: SeenRule) -> Sequences | None:
    """Return the items of each history that its list must not contain, row b for row b; None for no items.

    Args:
        histories: B histories.
        rule: items to leave out; an event of unknown type is of none of the types.
    """
    if rule is False:
        return None
    known = histories.drop_unknown()
    if rule is True:
        return known
    if not isinstance(rule, tuple) or known.event_types is None:
        return known.tail(1)
    row_N, position_N = known.positions()
    types_N = known.event_types[position_N]
    matching = [name for name in set(types_N.tolist()) if name is not None and is_event_of(name, rule)]
    is_seen_N = np.isin(types_N, matching) | (position_N == known.stops[row_N] - 1)
    counts_B = np.bincount(row_N[is_seen_N], minlength=len(known))
    return Sequences.from_offsets(known.items[position_N[is_seen_N]], np.concatenate([[0], np.cumsum(counts_B)]))
