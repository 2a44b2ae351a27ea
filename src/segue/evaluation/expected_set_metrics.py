"""Exact means of set metrics over the orders of equal scores, for cases with several targets.

Shape letters: N cases, S targets of a case, V catalog size with PAD.

>>> scores, targets = np.array([[0.0, 1.0, 1.0, 1.0, 1.0]]), np.array([[2, 4]])
>>> above, ties = joint_ranks(scores, targets, np.array([[True, True]]))
>>> values = expected_set_metrics(above, ties, np.array([[True, True]]), 2)
>>> {name: round(float(value[0]), 4) for name, value in values.items()}  # of four equal items two are relevant
{'recall@2': 0.5, 'ndcg@2': 0.5, 'map@2': 0.4167}
"""

import numpy as np

from segue.data.sequences import Sequences
from segue.evaluation.metrics import ndcg, recall
from segue.evaluation.ranks import target_ranks


def joint_ranks(
    scores_NV: np.ndarray, targets_NS: np.ndarray, counts_NS: np.ndarray, exclude: Sequences | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of better scores and of equal scores of each target.

    Args:
        scores_NV: scores of all items; PAD is ignored.
        targets_NS: item indices of the targets.
        counts_NS: bool, targets that count, at least one in each row; the others may be PAD or excluded.
        exclude: items that are not ranked, row n for row n; None: none.

    Returns:
        (scores above the target's, scores equal to it with its own), int64 [N, S]; arbitrary where a target does not
        count.

    Raises:
        ValueError: as ``target_ranks``.
    """
    first_N = np.take_along_axis(targets_NS, counts_NS.argmax(axis=1)[:, None], axis=1)[:, 0]
    above_NS, ties_NS = np.zeros((2, *targets_NS.shape), dtype=np.int64)
    for s in range(targets_NS.shape[1]):
        targets_N = np.where(counts_NS[:, s], targets_NS[:, s], first_N)
        ranks = target_ranks(scores_NV, targets_N, exclude=exclude)
        ties_NS[:, s] = ranks.ties_N
        above_NS[:, s] = np.rint(ranks.ranks_N - (ranks.ties_N + 1) / 2)
    return above_NS, ties_NS


def expected_set_metrics(
    above_NS: np.ndarray, ties_NS: np.ndarray, relevant_NS: np.ndarray, k: int
) -> dict[str, np.ndarray]:
    """Return the means of ``set_metrics`` over all orders of equal scores, float64 [N], by name@k.

    Recall and NDCG are sums over the targets, and so are their means. The precision at a target depends on the other
    targets: those above it, and those of its own score. At the p-th of m equally likely places, each of the r - 1
    other targets of that score lies before it with probability (p - 1) / (m - 1).

    Args:
        above_NS: number of scores above each target's.
        ties_NS: number of scores equal to it, its own among them.
        relevant_NS: bool, the distinct targets of each row, at least one.
        k: cutoff.
    """
    ranks_NS = above_NS + (ties_NS + 1) / 2
    discount_K = 1.0 / np.log2(np.arange(2.0, k + 2.0))
    best_N = np.minimum(k, relevant_NS.sum(axis=1))
    num_relevant_N = relevant_NS.sum(axis=1)
    better_NSS = (above_NS[:, None, :] < above_NS[:, :, None]) & relevant_NS[:, None, :]
    equal_NSS = (above_NS[:, None, :] == above_NS[:, :, None]) & relevant_NS[:, None, :]
    share_NS = (equal_NSS.sum(axis=2) - 1) / np.maximum(ties_NS - 1, 1)
    harmonic_K = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1.0, k + 1.0))])
    first_NS, last_NS = np.minimum(above_NS, k), np.minimum(above_NS + ties_NS, k)
    # The sum over places p of (1 + better + (p - above - 1) * share) / p, by partial sums of 1 / p.
    weight_NS = better_NSS.sum(axis=2) + 1 - (above_NS + 1) * share_NS
    sums_NS = weight_NS * (harmonic_K[last_NS] - harmonic_K[first_NS]) + share_NS * (last_NS - first_NS)
    return {
        f"recall@{k}": (recall(ranks_NS, k, ties_NS) * relevant_NS).sum(axis=1) / num_relevant_N,
        f"ndcg@{k}": (ndcg(ranks_NS, k, ties_NS) * relevant_NS).sum(axis=1) / np.cumsum(discount_K)[best_N - 1],
        f"map@{k}": (sums_NS / ties_NS * relevant_NS).sum(axis=1) / best_N,
    }


def position_probability(above_NS: np.ndarray, ties_NS: np.ndarray) -> np.ndarray:
    """Return the probability that target s has position s + 1 of the ranking, float64 [N, S].

    Args:
        above_NS: number of scores above each target's.
        ties_NS: number of scores equal to it, its own among them.
    """
    position_S = np.arange(1, above_NS.shape[1] + 1)
    probability_NS: np.ndarray = ((position_S > above_NS) & (position_S <= above_NS + ties_NS)) / ties_NS
    return probability_NS
