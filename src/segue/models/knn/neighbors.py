"""Base of the nearest-neighbor models over sessions and users, and the selection of neighbors.

Shape letters as in ``segue.models.knn.session_index``.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from segue.data.sequences import Sequences
from segue.models.knn.session_index import NeighborMatches, NeighborQueries, SessionIndex, positions_in_row

WEIGHTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda age, length: np.ones(len(age)),
    "linear": lambda age, length: 1.0 - age / length,
    "quadratic": lambda age, length: (1.0 - age / length) ** 2,
    "log": lambda age, length: 1.0 / np.log2(age + 2.0),
    "harmonic": lambda age, length: 1.0 / (age + 1.0),
}
"""Decay functions: (age in events, length of the history) -> weight of an item, 1 for the newest."""


class NeighborModel:
    """Base of the models that score with a ``SessionIndex``; a subclass implements ``votes``.

    ``config`` has ``max_length``, the number of newest events of a history that are used, and ``sample_size``, the
    number of sessions with a common item among which neighbors are searched.
    """

    def __init__(self, index: SessionIndex, config: Any) -> None:
        self.index = index
        self.config = config

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: Any) -> Self:
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(SessionIndex(arrays), config)

    @property
    def size(self) -> int:
        return self.index.size

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return self.index.arrays()

    def scores(self, histories: Sequences) -> np.ndarray:
        """Score as ``Scorer.scores``: the best item of a history has 1, items without votes are below 0."""
        known = histories.drop_unknown().tail(self.config.max_length)
        out_BV = np.empty((len(known), self.size), dtype=np.float32)
        for queries in self.index.blocks(known, self.config.sample_size):
            rows = slice(queries.start, queries.start + len(queries))
            out_BV[rows] = self.votes(queries, known.take(rows))
        return out_BV

    @abstractmethod
    def votes(self, queries: NeighborQueries, histories: Sequences) -> np.ndarray:
        """Score one block of histories with ``SessionIndex.scores``.

        Args:
            queries: the distinct items of the block.
            histories: the histories of the block.

        Returns:
            float32 [B, V].
        """


def nearest(matches: NeighborMatches, similarity_C: np.ndarray, count: int) -> np.ndarray:
    """Select the most similar sessions of each history.

    Args:
        matches: pairs of a history and a session.
        similarity_C: similarity of each pair.
        count: number of sessions of each history; ties: the earlier match.

    Returns:
        bool [C].
    """
    batch = int(matches.row_C.max(initial=-1)) + 1
    chosen: np.ndarray = np.bincount(matches.row_C, minlength=batch)[matches.row_C] <= count
    crowded = np.flatnonzero(~chosen)
    if not len(crowded):
        return chosen
    _, row = np.unique(matches.row_C[crowded], return_inverse=True)
    rows, position, similarity = int(row[-1]) + 1, positions_in_row(row), similarity_C[crowded]
    table_BC = np.full((rows, int(position.max()) + 1), -np.inf)
    table_BC[row, position] = similarity
    threshold = np.partition(table_BC, -count, axis=1)[:, -count][row]
    above, equal = similarity > threshold, np.flatnonzero(similarity == threshold)
    left_B = count - np.bincount(row[above], minlength=rows)
    chosen[crowded[above]] = True
    chosen[crowded[equal[positions_in_row(row[equal]) < left_B[row[equal]]]]] = True
    return chosen
