"""Whether lists show people something else: variety within a list, surprise, and how exposure is shared out.

How much of the catalog is shown and how little known it is, ``metrics.coverage`` and ``metrics.novelty`` say. Shape
letters: N cases, K list length, G categories, D vector size, V catalog size with PAD.
"""

import numpy as np

from segue.data.catalog import PAD


def intra_list_diversity(lists_NK: np.ndarray, vectors_VD: np.ndarray) -> np.ndarray:
    """How unlike a list's items are, float64 [N]: the mean of 1 - cosine over its pairs (Ziegler et al. 2005, eq. 5,
    as a mean). 0 for a list of fewer than two items."""
    length_V = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    unit_VD = vectors_VD / np.where(length_V > 0, length_V, 1.0)
    shown_NK = (lists_NK != PAD).astype(np.float64)
    total_ND = np.einsum("nk,nkd->nd", shown_NK, unit_VD[lists_NK])
    count_N = shown_NK.sum(axis=1)
    # The sum over ordered pairs is the square of the sum without each item's product with itself.
    own_N = (shown_NK * (unit_VD[lists_NK] ** 2).sum(axis=2)).sum(axis=1)
    pairs_N = count_N * (count_N - 1)
    return np.where(pairs_N > 0, 1.0 - ((total_ND**2).sum(axis=1) - own_N) / np.maximum(pairs_N, 1.0), 0.0)


def distinct_share(lists_NK: np.ndarray, codes_V: np.ndarray) -> np.ndarray:
    """Different values (of ``codes_V``, below 0: unknown) a list shows, as a share of its known items, float64 [N]."""
    out = []
    for row in lists_NK:
        codes = codes_V[row[row != PAD]]
        codes = codes[codes >= 0]
        out.append(len(np.unique(codes)) / len(codes) if len(codes) else 0.0)
    return np.array(out, dtype=np.float64)


def unexpectedness(lists_NK: np.ndarray, expected_NK: np.ndarray) -> np.ndarray:
    """The share of a list that the obvious list (the most popular, the co-visit rule) does not show, float64 [N]."""
    new_NK = (lists_NK != PAD) & ~(lists_NK[:, :, None] == expected_NK[:, None, :]).any(axis=2)
    return new_NK.sum(axis=1) / np.maximum((lists_NK != PAD).sum(axis=1), 1)


def serendipity(lists_NK: np.ndarray, targets_N: np.ndarray, expected_NK: np.ndarray) -> np.ndarray:
    """1 where the list shows what was wanted and the obvious list does not (Ge, Delgado-Battenfeld & Jannach 2010),
    float64 [N]."""
    hit_N = ((lists_NK == targets_N[:, None]) & (lists_NK != PAD)).any(axis=1)
    return (hit_N & ~(expected_NK == targets_N[:, None]).any(axis=1)).astype(np.float64)


def gini(lists_NK: np.ndarray, size: int) -> float:
    """How unevenly the catalog is shown: 0, every item as often; towards 1, one item always (Gini 1912)."""
    shown_V = np.sort(np.bincount(lists_NK[lists_NK != PAD], minlength=size)[PAD + 1 :]).astype(np.float64)
    if shown_V.sum() == 0:
        return 0.0
    place_V = np.arange(1, len(shown_V) + 1)
    return float(((2 * place_V - len(shown_V) - 1) * shown_V).sum() / (len(shown_V) * shown_V.sum()))


def miscalibration(target_NG: np.ndarray, shown_NG: np.ndarray, *, smoothing: float = 0.01) -> np.ndarray:
    """KL(wanted || shown) of categories, float64 [N], the shown mixed with a little of the wanted (Steck 2018)."""
    smooth_NG = (1 - smoothing) * shown_NG + smoothing * target_NG
    ratio_NG = np.where(target_NG > 0, target_NG / np.where(smooth_NG > 0, smooth_NG, 1.0), 1.0)
    return (target_NG * np.log(ratio_NG)).sum(axis=1)
