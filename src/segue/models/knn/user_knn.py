"""User-kNN: users with common items vote for their other items (Herlocker et al. 1999, on sets of items).

Shape letters as in ``segue.models.knn.session_index``.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.knn.neighbors import NeighborModel, nearest
from segue.models.knn.session_index import NeighborQueries, SessionIndex


@dataclass(frozen=True)
class UserKNNConfig:
    """Neighbor search and user similarity."""

    num_neighbors: Annotated[int, Range(ge=1)] = 200
    """Number of most similar users that vote."""
    sample_size: Annotated[int, Range(ge=1)] = 5000
    """Number of randomly drawn users with a common item among which neighbors are searched."""
    max_length: Annotated[int, Range(ge=1)] = 200
    """Number of newest events of the scored history that are used."""
    similarity: Literal["cosine", "jaccard"] = "cosine"
    """Similarity of two users' items."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.8
    """Factor on the weight of an item per step back in the history, above 0 and at most 1; 1: plain sets."""

    def __post_init__(self) -> None:
        check_ranges(self)


class UserKNN(NeighborModel):
    """User-kNN model: score(j) = sum over the most similar users n with item j of similarity(n).

    With w = decay ** age: cosine = sum of w of the shared items / sqrt(sum of w ** 2 * items of n), and
    jaccard = sum of w of the shared items / (sum of w of the other items of the history + items of n).

    The history may belong to a user outside the training log. A user of the log is their own nearest neighbor.
    """

    name: ClassVar[str] = "user-knn"

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: UserKNNConfig) -> "UserKNN":
        """Store the items of all users in a random order (seed 0), so that a sample is unbiased.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        return cls(SessionIndex.fit(sequences, size, shuffle=np.random.default_rng(0)), config)

    def votes(self, queries: NeighborQueries, histories: Sequences) -> np.ndarray:
        """See ``NeighborModel.votes``."""
        index, config = self.index, self.config
        weight_Q = config.decay**queries.age_Q
        matches = index.find(queries, weight_Q, config.sample_size)
        items_C = index.length_S[matches.session_C]
        if config.similarity == "cosine":
            norm_B = np.bincount(queries.row_Q, weights=weight_Q**2, minlength=len(queries))
            similarity_C = matches.shared_C / np.sqrt(norm_B[matches.row_C] * items_C)
        else:
            weight_B = np.bincount(queries.row_Q, weights=weight_Q, minlength=len(queries))
            similarity_C = matches.shared_C / (weight_B[matches.row_C] - matches.shared_C + items_C)
        chosen = nearest(matches, similarity_C, config.num_neighbors)
        matches, similarity_C = matches.take(chosen), similarity_C[chosen]
        out_BV = np.empty((len(queries), index.size), dtype=np.float32)
        for rows, part in index.row_blocks(matches, len(queries)):  # users are stored whole, robots too
            match, items, _ = index.neighbor_items(matches.take(part))
            row_M = matches.row_C[part][match] - rows.start
            out_BV[rows] = index.scores(row_M, items, similarity_C[part][match], rows.stop - rows.start)
        return out_BV
