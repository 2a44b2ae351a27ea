"""Three ways to choose k of C candidates that are good and not all alike; each returns their order.

Every one is greedy, and each step costs one product with the newest choice. Candidates stand best first; the first
``kept`` of them stay where they are, and what comes behind is chosen to go with them. Shape letters: C candidates,
D vector size, G categories.
"""

import numpy as np

from segue.models.top_k import order_by_score_then_index

SELF_SIMILARITY_SHARE = 0.1
"""The part of an item's likeness to itself that no other item has, in the determinantal choice: without it, no set
could hold more items than there are categories."""
SMOOTHING = 0.01
"""So much of the wanted distribution is mixed into the list's, so that a category that is still absent costs much but
not infinitely (Steck 2018, eq. 3)."""
MIN_GAIN = 1e-10
"""A determinant that grows by less adds nothing."""


def mmr_greedy(
    relevance_C: np.ndarray, vectors_CD: np.ndarray, k: int, strength: float, num_fixed: int = 0
) -> np.ndarray:
    """Maximal marginal relevance (Carbonell & Goldstein 1998): the next item has the highest
    (1 - strength) * relevance - strength * (its likeness to the most alike of those chosen). Places int64 [k]."""
    score_C = (1.0 - strength) * relevance_C
    nearest_C = np.full(len(relevance_C), -np.inf)
    chosen = [0 if num_fixed else int(np.argmax(relevance_C))]
    free_C = np.ones(len(relevance_C), dtype=bool)
    for step in range(1, min(k, len(relevance_C))):
        free_C[chosen[-1]] = False
        np.maximum(nearest_C, vectors_CD @ vectors_CD[chosen[-1]], out=nearest_C)
        best = int(np.argmax(np.where(free_C, score_C - strength * nearest_C, -np.inf)))
        chosen.append(step if step < num_fixed else best)
    return np.array(chosen[:k], dtype=np.int64)


def determinantal_greedy(
    relevance_C: np.ndarray, vectors_CD: np.ndarray, k: int, strength: float, num_fixed: int = 0
) -> np.ndarray:
    """Greedy maximum of the determinant of the chosen items' kernel (Chen, Zhang & Zhou 2018, algorithm 1).

    The kernel is q_i S_ij q_j with q = exp(a * relevance), a = theta / (2 (1 - theta)), theta = 1 - strength (their
    section 4), and S_ij = (1 + cosine) / 2, of which we keep the part OWN for an item itself. Instead of determinants,
    the rows of a Cholesky factor are kept: the determinant with i added grows by the factor d_i^2. Places int64 [k];
    where no item adds anything, the rest is by relevance.
    """
    theta = 1.0 - strength
    log_q_C = theta / (2.0 * max(strength, 1e-9)) * (relevance_C - relevance_C.max())
    gain_C = np.ones(len(relevance_C))
    factor_kC = np.zeros((min(k, len(relevance_C)), len(relevance_C)))
    free_C = np.ones(len(relevance_C), dtype=bool)
    chosen: list[int] = []
    for step in range(len(factor_kC)):
        open_C = free_C & (gain_C > MIN_GAIN)
        if step >= num_fixed and not open_C.any():
            rest = np.flatnonzero(free_C)
            chosen += rest[order_by_score_then_index(relevance_C[rest])][: len(factor_kC) - step].tolist()
            break
        log_gain_C = np.log(np.maximum(gain_C, MIN_GAIN)) + 2.0 * log_q_C
        best = step if step < num_fixed else int(np.argmax(np.where(open_C, log_gain_C, -np.inf)))
        chosen.append(best)
        free_C[best] = False
        alike_C = (1.0 - SELF_SIMILARITY_SHARE) * 0.5 * (1.0 + vectors_CD @ vectors_CD[best])
        alike_C[best] = 1.0
        row_C = (alike_C - factor_kC[:step].T @ factor_kC[:step, best]) / np.sqrt(max(gain_C[best], MIN_GAIN))
        factor_kC[step] = row_C
        gain_C = gain_C - row_C**2
    return np.array(chosen, dtype=np.int64)


def calibrated_greedy(
    relevance_C: np.ndarray, share_CG: np.ndarray, target_G: np.ndarray, k: int, strength: float, num_fixed: int = 0
) -> np.ndarray:
    """The list whose categories are spread like the person's (Steck 2018, eq. 7): the next item has the highest
    (1 - strength) * (sum of relevance) - strength * KL(wanted || the list's). Places int64 [k]."""
    free_C = np.ones(len(relevance_C), dtype=bool)
    sum_G = np.zeros(len(target_G))
    chosen: list[int] = []
    for step in range(min(k, len(relevance_C))):
        list_CG = (sum_G + share_CG) / (step + 1)
        score_C = (1.0 - strength) * relevance_C - strength * smoothed_kl_divergence(target_G, list_CG)
        chosen.append(step if step < num_fixed else int(np.argmax(np.where(free_C, score_C, -np.inf))))
        free_C[chosen[-1]] = False
        sum_G = sum_G + share_CG[chosen[-1]]
    return np.array(chosen, dtype=np.int64)


def smoothed_kl_divergence(target_G: np.ndarray, list_CG: np.ndarray) -> np.ndarray:
    """KL(wanted || smoothed list) for each row, float64 [C]; 0 where they agree."""
    smooth_CG = (1.0 - SMOOTHING) * list_CG + SMOOTHING * target_G
    there = target_G > 0
    return (target_G[there] * np.log(target_G[there] / smooth_CG[:, there])).sum(axis=1)
