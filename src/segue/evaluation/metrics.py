"""Ranking metrics as functions of the target's rank, and metrics of recommended lists.

With one relevant item per case recall equals the hit rate. A metric of a target with equally scored items is the exact
mean over their random orders, so that an arbitrary order is neither rewarded nor punished (McSherry & Najork 2008).

Shape letters: N cases, V catalog size with PAD, K list length.

>>> ranks = np.array([1.0, 3.0, 11.0])
>>> float(recall(ranks, 10).mean()), round(float(ndcg(ranks, 10).mean()), 4)
(0.6666666666666666, 0.5)

Nineteen equal scores have the ranks 1 to 19, their mean is 10:

>>> tied = np.array([10.0]), 10, np.array([19])
>>> [round(float(metric(*tied)[0]), 3) for metric in (recall, ndcg, mrr)]
[0.526, 0.239, 0.154]
"""

from collections.abc import Callable

import numpy as np

from segue.data.catalog import PAD


def recall(ranks_N: np.ndarray, k: int, ties_N: np.ndarray | None = None) -> np.ndarray:
    """Return recall@k of each case, float64 [N]: 1 for a rank of at most k, else 0.

    Args:
        ranks_N: rank of each target, from 1; with ties the mean of its possible ranks.
        k: cutoff.
        ties_N: number of equal scores of each target, its own among them; None: no ties.
    """
    return _expected(np.ones_like, ranks_N, k, ties_N)


def precision(ranks_N: np.ndarray, k: int, ties_N: np.ndarray | None = None) -> np.ndarray:
    """Return precision@k of each case, float64 [N]: recall / k.

    Args:
        ranks_N: rank of each target, from 1; with ties the mean of its possible ranks.
        k: cutoff.
        ties_N: number of equal scores of each target, its own among them; None: no ties.
    """
    return recall(ranks_N, k, ties_N) / k


def ndcg(ranks_N: np.ndarray, k: int, ties_N: np.ndarray | None = None) -> np.ndarray:
    """Return NDCG@k of each case, float64 [N]: 1 / log2(rank + 1) for a rank of at most k, else 0 (Jarvelin &
    Kekalainen 2002; the ideal list's gain is 1).

    Args:
        ranks_N: rank of each target, from 1; with ties the mean of its possible ranks.
        k: cutoff.
        ties_N: number of equal scores of each target, its own among them; None: no ties.
    """
    return _expected(lambda ranks: 1.0 / np.log2(ranks + 1.0), ranks_N, k, ties_N)


def mrr(ranks_N: np.ndarray, k: int, ties_N: np.ndarray | None = None) -> np.ndarray:
    """Return the reciprocal rank of each case, float64 [N]; 0 for a rank above k (Voorhees 1999).

    Args:
        ranks_N: rank of each target, from 1; with ties the mean of its possible ranks.
        k: cutoff.
        ties_N: number of equal scores of each target, its own among them; None: no ties.
    """
    return _expected(lambda ranks: 1.0 / ranks, ranks_N, k, ties_N)


def _expected(
    gain: Callable[[np.ndarray], np.ndarray], ranks_N: np.ndarray, k: int, ties_N: np.ndarray | None
) -> np.ndarray:
    """Return the mean gain over the ranks that a target may have, float64 [N]; a rank above k gains 0.

    A target of mean rank r with m equal scores has each of the ranks r - (m - 1) / 2 to r + (m - 1) / 2 with
    probability 1 / m. The sum of their gains is a difference of two partial sums.
    """
    values_N = np.where(ranks_N <= k, gain(np.asarray(ranks_N, dtype=np.float64)), 0.0)
    if ties_N is None:
        return values_N
    tied_N = ties_N > 1
    count = ties_N[tied_N]
    above = np.rint(ranks_N[tied_N] - (count + 1) / 2).astype(np.int64)
    summed = np.concatenate([[0.0], np.cumsum(gain(np.arange(1.0, k + 1.0)))])
    values_N[tied_N] = (summed[np.minimum(above + count, k)] - summed[np.minimum(above, k)]) / count
    return values_N


BY_RANK: dict[str, Callable[[np.ndarray, int, np.ndarray | None], np.ndarray]] = {
    "recall": recall,
    "ndcg": ndcg,
    "mrr": mrr,
    "precision": precision,
    "map": mrr,
}
"""Metric by name. With one relevant item average precision is the reciprocal rank: "map" equals "mrr"."""


def coverage(lists_NK: np.ndarray, size: int) -> float:
    """Return the share of the catalog that occurs in at least one list.

    Args:
        lists_NK: item indices; PAD fills short lists.
        size: catalog size with PAD.
    """
    items = np.unique(lists_NK)
    return float((items != PAD).sum() / (size - 1))


def popularity_percentile(lists_NK: np.ndarray, counts_V: np.ndarray) -> float:
    """Return the mean popularity percentile of the recommended items.

    An item's percentile is the share of training events of less popular items, ties half. Lists drawn from training
    events have about 0.5.

    Args:
        lists_NK: item indices; PAD fills short lists.
        counts_V: number of training events of each item.
    """
    counts = counts_V.astype(np.float64).copy()
    counts[PAD] = 0.0
    order = np.sort(counts)
    mass = np.concatenate([[0.0], np.cumsum(order)])
    below_V = mass[np.searchsorted(order, counts, side="left")]
    upto_V = mass[np.searchsorted(order, counts, side="right")]
    percentile_V = 0.5 * (below_V + upto_V) / max(mass[-1], 1.0)
    items = lists_NK[lists_NK != PAD]
    return float(percentile_V[items].mean()) if len(items) else 0.0


def novelty(lists_NK: np.ndarray, counts_V: np.ndarray) -> float:
    """Return the mean self-information of the recommended items in bits, -log2(share of events) (Zhou et al. 2010).

    Items without events count as if they had one.

    Args:
        lists_NK: item indices; PAD fills short lists.
        counts_V: number of training events of each item.
    """
    share_V = np.maximum(counts_V, 1) / max(float(counts_V.sum()), 1.0)
    items = lists_NK[lists_NK != PAD]
    return float(-np.log2(share_V[items]).mean()) if len(items) else 0.0
