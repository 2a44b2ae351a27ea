"""VS-kNN: similar sessions vote; newer events weigh more in the similarity (Ludewig & Jannach 2018, section 3.1).

Shape letters as in ``segue.models.knn.session_index``.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.knn.neighbors import WEIGHTS, NeighborModel, nearest
from segue.models.knn.session_index import NeighborQueries, SessionIndex

Decay = Literal["none", "linear", "quadratic", "log", "harmonic"]


@dataclass(frozen=True)
class VSKNNConfig:
    """Neighbor search and the weights of votes."""

    num_neighbors: Annotated[int, Range(ge=1)] = 500
    """Number of most similar sessions that vote."""
    sample_size: Annotated[int, Range(ge=1)] = 2500
    """Number of most recent sessions with a common item in which neighbors are searched."""
    max_length: Annotated[int, Range(ge=1)] = 30
    """Number of newest events of the scored session that are used."""
    max_stored_events: Annotated[int, Range(ge=1)] = 100
    """Number of newest events that are stored of each session or user of the log."""
    weighting: Decay = "quadratic"
    """How an item's weight in the similarity falls with its age in the session."""
    scoring: Decay = "quadratic"
    """Decay of a neighbor's vote with the age of the newest shared item."""
    idf: Annotated[float, Range(ge=0)] = 1.0
    """Factor w in 1 + w * log(sessions / sessions with the item), which multiplies votes; 0: no idf weight."""

    def __post_init__(self) -> None:
        check_ranges(self)


class VSKNN(NeighborModel):
    """VS-kNN model: score(j) = (1 + idf * log(sessions / sessions with j)) * sum of the votes of neighbors with j.

    vote = similarity(n) * weight of the newest shared item. similarity(n) = sum of the weights of the items that n
    shares: the dot product of the weighted session with the set of n's items.
    """

    name: ClassVar[str] = "vsknn"

    def __init__(self, index: SessionIndex, config: VSKNNConfig) -> None:
        super().__init__(index, config)
        self._idf_weight_V = 1.0 + config.idf * index.idf()

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: VSKNNConfig) -> "VSKNN":
        """Store the sessions in order of their last event, or of their row where the log has no times.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        return cls(SessionIndex.fit(sequences, size, max_events=config.max_stored_events), config)

    def votes(self, queries: NeighborQueries, histories: Sequences) -> np.ndarray:
        """See ``NeighborModel.votes``."""
        index, config = self.index, self.config
        weight_Q = WEIGHTS[config.weighting](queries.age_Q, queries.length_B[queries.row_Q])
        matches = index.find(queries, weight_Q, config.sample_size)
        matches = matches.take(nearest(matches, matches.shared_C, config.num_neighbors))
        vote_C = matches.shared_C * WEIGHTS[config.scoring](matches.age_C, queries.length_B[matches.row_C])
        match, items, _ = index.neighbor_items(matches)
        return index.scores(matches.row_C[match], items, vote_C[match] * self._idf_weight_V[items], len(queries))
