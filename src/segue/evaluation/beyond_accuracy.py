"""Metrics of recommended lists besides accuracy: diversity, unexpectedness, serendipity, exposure, calibration.

Coverage and novelty are in ``metrics.py``. Shape letters: N cases, K list length, G categories, D embedding size, V
catalog size with PAD.

>>> lists = np.array([[1, 2], [1, 3]])
>>> colors = np.array([-1, 0, 0, 1])
>>> distinct_share(lists, colors).tolist()
[0.5, 1.0]
>>> round(gini(lists, size=4), 4)
0.1667
"""

import numpy as np

from segue.data.catalog import PAD


def intra_list_diversity(lists_NK: np.ndarray, vectors_VD: np.ndarray) -> np.ndarray:
    """Return the diversity of each list, float64 [N]: the mean of 1 - cosine over its pairs of items.

    Ziegler et al. 2005, eq. 5; differs: a mean instead of a sum. 0 for a list of fewer than two items.

    Args:
        lists_NK: item indices; PAD fills short lists.
        vectors_VD: item embeddings, of any length; a zero row has similarity 0 to all.

    >>> embeddings = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> intra_list_diversity(np.array([[1, 2], [1, 3], [2, 0]]), embeddings).tolist()
    [1.0, 0.0, 0.0]
    """
    length_V = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    unit_VD = vectors_VD / np.where(length_V > 0, length_V, 1.0)
    is_item_NK = (lists_NK != PAD).astype(np.float64)
    total_ND = np.einsum("nk,nkd->nd", is_item_NK, unit_VD[lists_NK])
    count_N = is_item_NK.sum(axis=1)
    # The sum over ordered pairs is the square of the sum without each item's product with itself.
    self_N = (is_item_NK * (unit_VD[lists_NK] ** 2).sum(axis=2)).sum(axis=1)
    pairs_N = count_N * (count_N - 1)
    return np.where(pairs_N > 0, 1.0 - ((total_ND**2).sum(axis=1) - self_N) / np.maximum(pairs_N, 1.0), 0.0)


def distinct_share(lists_NK: np.ndarray, codes_V: np.ndarray) -> np.ndarray:
    """Return the share of distinct values among the items of each list, float64 [N]; 0 for a list without known values.

    Args:
        lists_NK: item indices; PAD fills short lists.
        codes_V: value of each item as a code, such as its category; below 0: unknown.

    >>> distinct_share(np.array([[1, 2, 3], [3, 0, 0]]), np.array([-1, 5, 5, 7])).round(4).tolist()
    [0.6667, 1.0]
    """
    out = []
    for row in lists_NK:
        codes = codes_V[row[row != PAD]]
        codes = codes[codes >= 0]
        out.append(len(np.unique(codes)) / len(codes) if len(codes) else 0.0)
    return np.array(out, dtype=np.float64)


def unexpectedness(lists_NK: np.ndarray, expected_NK: np.ndarray) -> np.ndarray:
    """Return the share of each list that a baseline list does not hold, float64 [N].

    Args:
        lists_NK: item indices; PAD fills short lists.
        expected_NK: items of the baseline for the same cases, such as the most popular ones.

    >>> unexpectedness(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 1]])).tolist()
    [0.0, 0.5]
    """
    is_new_NK = (lists_NK != PAD) & ~(lists_NK[:, :, None] == expected_NK[:, None, :]).any(axis=2)
    return is_new_NK.sum(axis=1) / np.maximum((lists_NK != PAD).sum(axis=1), 1)


def serendipity(lists_NK: np.ndarray, targets_N: np.ndarray, expected_NK: np.ndarray) -> np.ndarray:
    """Return 1 for each list that holds its target while a baseline list does not, else 0, float64 [N].

    Ge, Delgado-Battenfeld & Jannach 2010.

    Args:
        lists_NK: item indices; PAD fills short lists.
        targets_N: item index of each target.
        expected_NK: items of the baseline for the same cases, such as the most popular ones.

    >>> serendipity(np.array([[1, 2], [3, 4]]), np.array([2, 3]), np.array([[1, 5], [3, 1]])).tolist()
    [1.0, 0.0]
    """
    hit_N = ((lists_NK == targets_N[:, None]) & (lists_NK != PAD)).any(axis=1)
    return (hit_N & ~(expected_NK == targets_N[:, None]).any(axis=1)).astype(np.float64)


def gini(lists_NK: np.ndarray, size: int) -> float:
    """Return the Gini coefficient of the items' exposure (Gini 1912): 0 for equal exposure, towards 1 for a single
    item.

    Args:
        lists_NK: item indices; PAD fills short lists.
        size: catalog size with PAD.

    >>> gini(np.array([[1, 2], [3, 4]]), size=5), gini(np.array([[1], [1]]), size=5)
    (0.0, 0.75)
    """
    exposure_V = np.sort(np.bincount(lists_NK[lists_NK != PAD], minlength=size)[PAD + 1 :]).astype(np.float64)
    if exposure_V.sum() == 0:
        return 0.0
    positions_V = np.arange(1, len(exposure_V) + 1)
    return float(((2 * positions_V - len(exposure_V) - 1) * exposure_V).sum() / (len(exposure_V) * exposure_V.sum()))


def miscalibration(target_NG: np.ndarray, shself_NG: np.ndarray, *, smoothing: float = 0.01) -> np.ndarray:
    """Return KL(target || list) of the category distributions, float64 [N] (Steck 2018).

    The list's distribution is smoothed with a share of the target's, so that the divergence stays finite.

    Args:
        target_NG: distribution of the categories in each user's history, rows sum to 1.
        shself_NG: distribution in each recommended list, rows sum to 1.
        smoothing: share of the target, in [0, 1).

    >>> history, lists = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.5, 0.5], [1.0, 0.0]])
    >>> miscalibration(history, lists).round(3).tolist()
    [0.0, 1.959]
    """
    smooth_NG = (1 - smoothing) * shself_NG + smoothing * target_NG
    ratio_NG = np.where(target_NG > 0, target_NG / np.where(smooth_NG > 0, smooth_NG, 1.0), 1.0)
    return (target_NG * np.log(ratio_NG)).sum(axis=1)
