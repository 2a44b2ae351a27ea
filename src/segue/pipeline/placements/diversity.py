"""Three greedy selections of k of C candidates that are relevant and dissimilar; each returns their order.

Each step costs one product with the newest selection. Candidates stand best first; the first ``num_fixed`` of them
stay, and those behind are selected to go with them. Shape letters: C candidates, D embedding size, G categories.
"""

import numpy as np

SELF_SIMILARITY_SHARE = 0.1
"""Part of an item's similarity to itself that no other item has, in the determinantal selection. Without it, no set
could hold more items than there are categories."""
SMOOTHING = 0.01
"""Share of the target distribution mixed into the list's, so that a missing category has a large but finite cost (Steck
2018, eq. 3)."""
MIN_GAIN = 1e-10
"""Lower limit of a growth in logarithms and roots. A selected item has none. A free one has SELF_SIMILARITY_SHARE."""


def mmr_greedy(
    relevance_C: np.ndarray, vectors_CD: np.ndarray, k: int, strength: float, num_fixed: int = 0
) -> np.ndarray:
    """Select by maximal marginal relevance (Carbonell & Goldstein 1998).

    The next item has the highest (1 - strength) * relevance - strength * (similarity to the most similar selected
    item).

    Args:
        relevance_C: scores in [0, 1], best first.
        vectors_CD: embeddings of length 1.
        k: number of items to select.
        strength: weight of diversity, 0 to 1.
        num_fixed: number of first candidates that stay.

    Returns:
        Positions of the selected candidates, int64 [k].
    """
    score_C = (1.0 - strength) * relevance_C
    nearest_C = np.full(len(relevance_C), -np.inf)
    selected = [0 if num_fixed else int(np.argmax(relevance_C))]
    free_C = np.ones(len(relevance_C), dtype=bool)
    for step in range(1, min(k, len(relevance_C))):
        free_C[selected[-1]] = False
        np.maximum(nearest_C, vectors_CD @ vectors_CD[selected[-1]], out=nearest_C)
        best = int(np.argmax(np.where(free_C, score_C - strength * nearest_C, -np.inf)))
        selected.append(step if step < num_fixed else best)
    return np.array(selected[:k], dtype=np.int64)


def determinantal_greedy(
    relevance_C: np.ndarray, vectors_CD: np.ndarray, k: int, strength: float, num_fixed: int = 0
) -> np.ndarray:
    """Select the greedy maximum of the determinant of the items' kernel (Chen, Zhang & Zhou 2018, algorithm 1).

    The kernel is q_i S_ij q_j with q = exp(a * relevance), a = theta / (2 (1 - theta)), theta = 1 - strength (their
    section 4). S_ij = (1 + cosine) / 2; differs: SELF_SIMILARITY_SHARE of it is kept for an item itself. Rows of a
    Cholesky factor stand for the determinants: with i added, the determinant grows by the factor d_i^2.

    Args:
        relevance_C: scores in [0, 1], best first.
        vectors_CD: embeddings of length 1.
        k: number of items to select.
        strength: weight of diversity, 0 to 1.
        num_fixed: number of first candidates that stay.

    Returns:
        Positions of the selected candidates, int64 [k].
    """
    theta = 1.0 - strength
    log_q_C = theta / (2.0 * max(strength, 1e-9)) * (relevance_C - relevance_C.max())
    gain_C = np.ones(len(relevance_C))
    factor_kC = np.zeros((min(k, len(relevance_C)), len(relevance_C)))
    free_C = np.ones(len(relevance_C), dtype=bool)
    selected: list[int] = []
    for step in range(len(factor_kC)):
        log_gain_C = np.log(np.maximum(gain_C, MIN_GAIN)) + 2.0 * log_q_C
        best = step if step < num_fixed else int(np.argmax(np.where(free_C, log_gain_C, -np.inf)))
        selected.append(best)
        free_C[best] = False
        alike_C = (1.0 - SELF_SIMILARITY_SHARE) * 0.5 * (1.0 + vectors_CD @ vectors_CD[best])
        alike_C[best] = 1.0
        row_C = (alike_C - factor_kC[:step].T @ factor_kC[:step, best]) / np.sqrt(max(gain_C[best], MIN_GAIN))
        factor_kC[step] = row_C
        gain_C = gain_C - row_C**2
    return np.array(selected, dtype=np.int64)


def calibrated_greedy(
    relevance_C: np.ndarray, share_CG: np.ndarray, target_G: np.ndarray, k: int, strength: float, num_fixed: int = 0
) -> np.ndarray:
    """Select a list whose categories are distributed as the target (Steck 2018, eq. 7).

    The next item has the highest (1 - strength) * (sum of relevance) - strength * KL(target || list).

    Args:
        relevance_C: scores in [0, 1], best first.
        share_CG: share of each item in each category, 1 in all.
        target_G: target distribution of the categories.
        k: number of items to select.
        strength: weight of calibration, 0 to 1.
        num_fixed: number of first candidates that stay.

    Returns:
        Positions of the selected candidates, int64 [k].
    """
    free_C = np.ones(len(relevance_C), dtype=bool)
    sum_G = np.zeros(len(target_G))
    selected: list[int] = []
    for step in range(min(k, len(relevance_C))):
        list_CG = (sum_G + share_CG) / (step + 1)
        score_C = (1.0 - strength) * relevance_C - strength * smoothed_kl_divergence(target_G, list_CG)
        selected.append(step if step < num_fixed else int(np.argmax(np.where(free_C, score_C, -np.inf))))
        free_C[selected[-1]] = False
        sum_G = sum_G + share_CG[selected[-1]]
    return np.array(selected, dtype=np.int64)


def smoothed_kl_divergence(target_G: np.ndarray, list_CG: np.ndarray) -> np.ndarray:
    """Return KL(target || smoothed list) of each row, float64 [C]; 0 where they agree.

    Args:
        target_G: target distribution.
        list_CG: distributions to compare with it.
    """
    smooth_CG = (1.0 - SMOOTHING) * list_CG + SMOOTHING * target_G
    is_target_G = target_G > 0
    return (target_G[is_target_G] * np.log(target_G[is_target_G] / smooth_CG[:, is_target_G])).sum(axis=1)
