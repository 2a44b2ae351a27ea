"""The contract every model keeps, and the one top-k: ties, exclusion and filler are decided here and nowhere else."""

from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences


class Scorer(Protocol):
    """Scores every item for what may come next; higher is better.

    ``scores`` takes B raw histories (known, new or anonymous people alike; an empty one too), skips PAD entries in
    them, never writes to them, and returns float32 [B, V]. Column PAD is ignored by every caller. A row does not
    depend on the other rows of its batch. ``arrays`` and ``restore`` are the way to disk and back.
    """

    @property
    def name(self) -> str:
        """The model's name in the zoo."""
        ...

    @property
    def size(self) -> int:
        """V: catalogue size with PAD."""
        ...

    def scores(self, histories: Sequences) -> np.ndarray: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


def top_k(
    scores_BV: np.ndarray,
    k: int,
    *,
    exclude: Sequences | None = None,
    allowed_V: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of each row, best first: (items int32 [B, k], scores float32 [B, k]).

    Equal scores: the smaller index first, so that an answer is reproducible. Items of ``exclude`` (row b for row b)
    and items whose ``allowed_V`` (bool [V]) is False never appear. Where fewer than k items are left, the rest is
    PAD with score -inf. A NaN score is refused: a broken model must not look like a good one.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if np.isnan(scores_BV).any():
        raise ValueError("A score is NaN: the model is broken, its list would be arbitrary.")
    scores = np.array(scores_BV, dtype=np.float32)
    scores[:, PAD] = -np.inf
    if allowed_V is not None:
        scores[:, ~allowed_V] = -np.inf
    if exclude is not None:
        row, where = exclude.positions()
        scores[row, exclude.items[where]] = -np.inf
    width = min(k, scores.shape[1])
    items, best = _best(scores, width)
    items = np.where(np.isneginf(best), PAD, items)
    if width < k:
        items = np.pad(items, ((0, 0), (0, k - width)), constant_values=PAD)
        best = np.pad(best, ((0, 0), (0, k - width)), constant_values=-np.inf)
    return items.astype(np.int32), best


def _best(scores_BV: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact top-k with the tie rule: a partition finds the k-th score, and only what reaches it is sorted."""
    if k < scores_BV.shape[1]:
        kth_B1 = np.partition(scores_BV, -k, axis=1)[:, -k, None]
    else:
        kth_B1 = np.full((len(scores_BV), 1), -np.inf, dtype=np.float32)
    items = np.empty((len(scores_BV), k), dtype=np.int64)
    for b, row in enumerate(scores_BV):
        reach = np.flatnonzero(row >= kth_B1[b, 0])
        items[b] = reach[np.argsort(-row[reach], kind="stable")[:k]]
    return items, np.take_along_axis(scores_BV, items, axis=1)
