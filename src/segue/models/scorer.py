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
        """V: catalog size with PAD."""
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
    items = _best(scores, k)
    return items, np.take_along_axis(scores, items, axis=1)


def _best(scores_BV: np.ndarray, k: int) -> np.ndarray:
    """Exact top-k with the tie rule, int32 [B, k]: only what reaches a floor under the k-th score is sorted."""
    items_BK = np.full((len(scores_BV), k), PAD, dtype=np.int32)
    for b, (row, floor) in enumerate(zip(scores_BV, _kth_score(scores_BV, k), strict=True)):
        reach = np.flatnonzero(row >= floor)
        if len(reach) > 4 * k:
            reach = reach[row[reach] >= np.partition(row[reach], -k)[-k]]
        chosen = reach[np.argsort(-row[reach], kind="stable")[:k]]
        items_BK[b, : len(chosen)] = chosen
    return items_BK


def _kth_score(scores_BV: np.ndarray, k: int) -> np.ndarray:
    """A finite lower bound of each row's k-th best score, float32 [B].

    The k-th best of the maxima of any disjoint groups is one. Groups are taken across the catalog, not along it,
    because catalogs tend to be in the order of popularity. Partitioning whole rows instead took nine tenths of an
    answer's time: nearly sorted rows are its slow case.
    """
    groups = 8 * k
    width = scores_BV.shape[1] // groups * groups
    if width < 2 * groups:
        return np.full(len(scores_BV), _LOWEST)
    maxima_BG = scores_BV[:, :width].reshape(len(scores_BV), width // groups, groups).max(axis=1)
    return np.maximum(np.partition(maxima_BG, -k, axis=1)[:, -k], _LOWEST)


_LOWEST = np.finfo(np.float32).min
