"""Metrics as functions of ranks. One relevant item a case, so recall, hit rate and precision differ by constants only.

Shape letters: N cases, V catalog size with PAD, K list length.

>>> ranks = np.array([1.0, 3.0, 11.0])
>>> float(recall(ranks, 10).mean()), round(float(ndcg(ranks, 10).mean()), 4)
(0.6666666666666666, 0.5)
"""

from collections.abc import Callable

import numpy as np

from segue.data.catalog import PAD


def recall(ranks_N: np.ndarray, k: int) -> np.ndarray:
    """1 where the target is among the first k, else 0. With one relevant item this is also the hit rate."""
    return (ranks_N <= k).astype(np.float64)


def precision(ranks_N: np.ndarray, k: int) -> np.ndarray:
    """recall / k: the share of the list that was relevant."""
    return recall(ranks_N, k) / k


def ndcg(ranks_N: np.ndarray, k: int) -> np.ndarray:
    """1 / log2(rank + 1) within the first k (Jarvelin & Kekalainen 2002; the ideal list's gain is 1)."""
    return np.where(ranks_N <= k, 1.0 / np.log2(ranks_N + 1.0), 0.0)


def mrr(ranks_N: np.ndarray, k: int) -> np.ndarray:
    """1 / rank within the first k (Voorhees 1999)."""
    return np.where(ranks_N <= k, 1.0 / ranks_N, 0.0)


BY_RANK: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "recall": recall,
    "ndcg": ndcg,
    "mrr": mrr,
    "precision": precision,
    "map": mrr,
}
"""What a number's name means. With one relevant item, average precision is the reciprocal rank: "map" equals "mrr"."""


def coverage(lists_NK: np.ndarray, size: int) -> float:
    """The share of the catalog that occurs in at least one list."""
    shown = np.unique(lists_NK)
    return float((shown != PAD).sum() / (size - 1))


def popularity_percentile(lists_NK: np.ndarray, counts_V: np.ndarray) -> float:
    """How popular the shown items are: the mean over shown places of the share of training events that belong to
    items less popular than the shown one, ties half. About .5 would be shown by lists drawn from training events."""
    counts = counts_V.astype(np.float64).copy()
    counts[PAD] = 0.0
    order = np.sort(counts)
    mass = np.concatenate([[0.0], np.cumsum(order)])
    below_V = mass[np.searchsorted(order, counts, side="left")]
    upto_V = mass[np.searchsorted(order, counts, side="right")]
    percentile_V = 0.5 * (below_V + upto_V) / max(mass[-1], 1.0)
    shown = lists_NK[lists_NK != PAD]
    return float(percentile_V[shown].mean()) if len(shown) else 0.0


def novelty(lists_NK: np.ndarray, counts_V: np.ndarray) -> float:
    """Mean self-information of the shown items in bits, -log2(share of events) (Zhou et al. 2010); items that never
    occurred count as if they had occurred once."""
    share_V = np.maximum(counts_V, 1) / max(float(counts_V.sum()), 1.0)
    shown = lists_NK[lists_NK != PAD]
    return float(-np.log2(share_V[shown]).mean()) if len(shown) else 0.0
