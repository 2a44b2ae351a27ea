"""Rank of the target among the whole catalog, with a named rule for ties.

Shape letters: B cases, V catalog size with PAD.
"""

from typing import Literal, get_args

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.top_k import TargetRanks, rank_with_ties

TieRule = Literal["expected", "half", "conservative", "optimistic"]
TIED_SHARES = {"expected": 0.5, "half": 0.5, "conservative": 1.0, "optimistic": 0.0}
"""Share of the equal scores that count as above the target, by tie rule."""


def target_ranks(
    scores_BV: np.ndarray, targets_B: np.ndarray, *, exclude: Sequences | None = None, ties: TieRule = "expected"
) -> TargetRanks:
    """Return the rank of each target, and the number of items that share it.

    Args:
        scores_BV: scores of all items; PAD is ignored.
        targets_B: item index of each target.
        exclude: items that are not ranked, row b for row b; None: none.
        ties: "expected" keeps the number of equal scores, so that a metric is its mean over their random orders
            (McSherry & Najork 2008). The others give one certain rank: "half" counts half of the equal scores before
            the target, "conservative" all (the rule of GRU4Rec: number of scores >= the target's), "optimistic" none.
            The last flatters a constant model and exists for tests.

    Raises:
        ValueError: an unknown tie rule, a NaN, a target with an infinite score (comparisons would favor it), or a
            target among the excluded items.
    """
    if ties not in get_args(TieRule):
        raise ValueError(f"The tie rule must be one of {', '.join(get_args(TieRule))}, got {ties!r}.")
    target_scores_B1 = np.take_along_axis(scores_BV, targets_B[:, None].astype(np.int64), axis=1)
    if np.isnan(scores_BV).any() or not np.isfinite(target_scores_B1).all():
        raise ValueError("A score is NaN, or a target's score is not finite: the model is broken and gets no rank.")
    above_B, equal_B = _compare(scores_BV, target_scores_B1)
    pad_B1 = scores_BV[:, PAD, None]
    above_B -= (pad_B1 > target_scores_B1)[:, 0]
    equal_B -= (pad_B1 == target_scores_B1)[:, 0]
    if exclude is not None:
        row, items = _distinct(exclude, scores_BV.shape[1])
        if (items == targets_B[row]).any():
            raise ValueError("A target is among the excluded items, so it has no rank: drop that case first.")
        values = scores_BV[row, items]
        above_B -= np.bincount(row[values > target_scores_B1[row, 0]], minlength=len(targets_B))
        equal_B -= np.bincount(row[values == target_scores_B1[row, 0]], minlength=len(targets_B))
    ranks_B = rank_with_ties(above_B, equal_B, TIED_SHARES[ties])
    return TargetRanks(ranks_B, equal_B if ties == "expected" else np.ones_like(equal_B))


def _compare(scores_BV: np.ndarray, target_scores_B1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (number of scores above the target's, number of scores equal to it with its own), int64 [B]; no sort is
    needed."""
    above_B = np.count_nonzero(scores_BV > target_scores_B1, axis=1)
    return above_B, np.count_nonzero(scores_BV >= target_scores_B1, axis=1) - above_B


def _distinct(exclude: Sequences, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's excluded items once, without PAD: (row int64 [M], item int64 [M]).

    Every event writes its number into the slot of its row and item; the last one stands for its equals. A sort of the
    slots instead took nine tenths of an evaluation of long histories.
    """
    row, positions = exclude.positions()
    items = exclude.items[positions].astype(np.int64)
    slots, numbers = row * size + items, np.arange(len(row), dtype=np.int32)
    last = np.empty(len(exclude) * size, dtype=np.int32)
    last[slots] = numbers
    keep = (last[slots] == numbers) & (items != PAD)
    return row[keep], items[keep]


def has_rankable_target(histories: Sequences, targets_B: np.ndarray) -> np.ndarray:
    """Return the mask of cases whose target is not in its own history, bool [B]; only they can be ranked without seen
    items.

    Args:
        histories: B histories.
        targets_B: item index of each target.
    """
    row, positions = histories.positions()
    repeated = row[histories.items[positions] == targets_B[row]]
    ok = np.ones(len(targets_B), dtype=bool)
    ok[repeated] = False
    return ok
