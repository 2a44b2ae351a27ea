"""Functions shared by the factorization models: user-item matrix, fold-in of users, scores of empty histories.

Shape letters: B batch, U users of the log, V catalog size with PAD, D dimensions, T events of one history.
"""

from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.sparse_rows import effective_length

RIDGE = 1e-3
"""Ridge of ``fit_fold_in`` as a share of the mean square of its inputs, so that it is always solvable."""


def user_item_matrix(sequences: Sequences, size: int) -> Any:
    """Build the user-item matrix: 1 where a user interacted with an item, once or more.

    Args:
        sequences: item indices of each user; users without a known item are left out.
        size: V, catalog size with PAD.

    Returns:
        scipy ``csr_matrix`` float32 [U, V]. The implicit library converts any other type, with a warning.
    """
    from scipy import sparse

    known = sequences.drop_unknown()
    known = known.take(known.lengths > 0)
    row_N, position_N = known.positions()
    ones_N = np.ones(len(row_N), dtype=np.float32)
    user_items = sparse.coo_matrix((ones_N, (row_N, known.items[position_N])), shape=(len(known), size)).tocsr()
    user_items.data[:] = 1.0
    return user_items


def recency_weights(length: int, decay: float) -> np.ndarray:
    """Return the weight of each event of a history: decay ** age, 1 for the newest.

    Args:
        length: T, number of events.
        decay: factor per step back, above 0 and at most 1.

    Returns:
        float32 [T], the oldest event first.
    """
    return (decay ** np.arange(length - 1, -1, -1.0)).astype(np.float32)


def weighted_mean_embedding(histories: Sequences, items_VD: np.ndarray, decay: float) -> np.ndarray:
    """Return the mean of each history's item embeddings, weighted by recency.

    Args:
        histories: B histories; unknown items are skipped.
        items_VD: item embeddings.
        decay: factor on the weight per step back, above 0 and at most 1.

    Returns:
        float32 [B, D]; zeros for an empty history.
    """
    means_BD = np.zeros((len(histories), items_VD.shape[1]), dtype=np.float32)
    for b, row_T in enumerate(histories.drop_unknown().tail(effective_length(decay))):
        if len(row_T):
            weights_T = recency_weights(len(row_T), decay)
            means_BD[b] = weights_T @ items_VD[row_T] / weights_T.sum()
    return means_BD


def fit_fold_in(means_UD: np.ndarray, users_UD: np.ndarray) -> np.ndarray:
    """Fit the ridge regression from the means of users' item embeddings to the trained user embeddings.

    A new user gets the embedding of users with a similar history, in direction and norm. The plain mean has another
    norm than the trained embeddings, so that the item biases would weigh too much or too little.

    Args:
        means_UD: mean item embedding of each user.
        users_UD: trained embedding of each user.

    Returns:
        float32 [D, D].
    """
    means = means_UD.astype(np.float64)
    square_DD = means.T @ means
    square_DD.flat[:: len(square_DD) + 1] += RIDGE * np.trace(square_DD) / len(square_DD) + 1e-12
    solved: np.ndarray = np.linalg.solve(square_DD, means.T @ users_UD)
    return solved.astype(np.float32)


def fill_empty_histories(scores_BV: np.ndarray, histories: Sequences, popularity_V: np.ndarray) -> np.ndarray:
    """Complete the scores of a factorization in place: popularity breaks ties and scores empty histories.

    Items without events come last, because their embeddings are arbitrary.

    Args:
        scores_BV: scores, float32 [B, V].
        histories: B histories.
        popularity_V: a ``tie_breaker``, 0 only for items without events.

    Returns:
        ``scores_BV``.
    """
    scores_BV += popularity_V
    scores_BV[histories.drop_unknown().lengths == 0] = popularity_V
    is_unseen_V = popularity_V == 0
    is_unseen_V[PAD] = True
    scores_BV[:, is_unseen_V] = scores_BV.min(axis=1, keepdims=True) - 1.0
    return scores_BV
