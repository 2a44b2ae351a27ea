"""People and items as vectors: what the factor models share when they are fitted and when they answer.

Shape letters: B batch, U people of the log, V catalog size with PAD, D dimensions, T events of one history.
"""

from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.sparse_rows import effective_length

RIDGE = 1e-3
"""Pulls the map of ``fold_in_map`` towards nothing, as a share of its inputs' mean square: it is always solvable."""


def user_item_matrix(sequences: Sequences, size: int) -> Any:
    """scipy CSR float32 [U, V]: 1 where a person took an item, however often; people with no known item are left out.

    A ``csr_matrix``, not an array: the implicit library converts anything else, with a warning.
    """
    from scipy import sparse

    known = sequences.drop_unknown()
    known = known.take(known.lengths > 0)
    row_N, where_N = known.positions()
    ones_N = np.ones(len(row_N), dtype=np.float32)
    taken = sparse.coo_matrix((ones_N, (row_N, known.items[where_N])), shape=(len(known), size)).tocsr()
    taken.data[:] = 1.0
    return taken


def recency_weights(length: int, decay: float) -> np.ndarray:
    """What each event of a history weighs, float32 [T]: 1 for the newest, ``decay`` times that for each step back."""
    return (decay ** np.arange(length - 1, -1, -1.0)).astype(np.float32)


def weighted_mean_embedding(histories: Sequences, items_VD: np.ndarray, decay: float) -> np.ndarray:
    """float32 [B, D]: the mean of each history's item vectors, weighted by recency; zeros for an empty history."""
    means_BD = np.zeros((len(histories), items_VD.shape[1]), dtype=np.float32)
    for b, row_T in enumerate(histories.drop_unknown().tail(effective_length(decay))):
        if len(row_T):
            weights_T = recency_weights(len(row_T), decay)
            means_BD[b] = weights_T @ items_VD[row_T] / weights_T.sum()
    return means_BD


def fold_in_map(means_UD: np.ndarray, people_UD: np.ndarray) -> np.ndarray:
    """float32 [D, D]: the ridge regression from the means of people's item vectors to their trained vectors.

    It gives a person whom training never saw the vector that people with such a history got, direction and length;
    the bare mean has another length than the trained vectors, and the items' biases then say too much or too little.
    """
    means = means_UD.astype(np.float64)
    square_DD = means.T @ means
    square_DD.flat[:: len(square_DD) + 1] += RIDGE * np.trace(square_DD) / len(square_DD) + 1e-12
    solved: np.ndarray = np.linalg.solve(square_DD, means.T @ people_UD)
    return solved.astype(np.float32)


def fill_empty_histories(scores_BV: np.ndarray, histories: Sequences, popularity_V: np.ndarray) -> np.ndarray:
    """The same scores, in place: popularity breaks ties and answers where nothing is known, and an item that nobody
    took comes last, because a vector of nothing says nothing.

    ``popularity_V`` is a ``tie_breaker``: 0 only where an item never occurred.
    """
    scores_BV += popularity_V
    scores_BV[histories.drop_unknown().lengths == 0] = popularity_V
    never_V = popularity_V == 0
    never_V[PAD] = True
    scores_BV[:, never_V] = scores_BV.min(axis=1, keepdims=True) - 1.0
    return scores_BV
