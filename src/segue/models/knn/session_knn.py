"""Session-kNN: the most similar recent sessions vote for their items near the shared items.

VS-kNN (Ludewig & Jannach 2018, section 3.1); differs: votes fall with the distance in the neighbor session, as in STAN
(Garg et al. 2019, section 3.3). Shape letters as in ``segue.models.knn.session_index``.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.knn.neighbors import WEIGHTS, NeighborModel, nearest
from segue.models.knn.session_index import NeighborQueries, SessionIndex


@dataclass(frozen=True)
class SessionKNNConfig:
    """Neighbor search and the weights of votes."""

    num_neighbors: Annotated[int, Range(ge=1)] = 500
    """Number of most similar sessions that vote."""
    sample_size: Annotated[int, Range(ge=1)] = 2000
    """Number of most recent sessions with a common item in which neighbors are searched."""
    max_length: Annotated[int, Range(ge=1)] = 20
    """Number of newest events of the scored session that are used."""
    max_stored_events: Annotated[int, Range(ge=1)] = 100
    """Number of newest events that are stored of each session or user of the log."""
    weighting: Literal["none", "linear", "quadratic", "log", "harmonic"] = "log"
    """Decay of an item's weight in the similarity with its age in the session."""
    spread: Annotated[float | None, Range(gt=0)] = 4.0
    """Distance from the shared item, in items, at which a vote has fallen to 1 / e; 'none': no decay with distance."""
    before_weight: Annotated[float, Range(ge=0)] = 0.5
    """Weight of items before the shared one, relative to those after it."""
    idf: bool = True
    """Weight votes by log(sessions / sessions with the item), so that rare items count more."""

    def __post_init__(self) -> None:
        check_ranges(self)


class SessionKNN(NeighborModel):
    """Session-kNN model: score(j) = idf(j) * sum over the neighbors n that contain j of the vote of n for j.

    vote = similarity(n) / (1 + age of the newest shared item) * exp(-distance of j from that item in n / spread), times
    ``before_weight`` where j stands before it. similarity(n) = sum of the weights of the items that session n shares.
    """

    name: ClassVar[str] = "session-knn"

    def __init__(self, index: SessionIndex, config: SessionKNNConfig) -> None:
        super().__init__(index, config)
        # An item of every session has idf 0 and may still get votes.
        self._idf_weight_V = np.maximum(index.idf(), 1e-3) if config.idf else np.ones(index.size)

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: SessionKNNConfig) -> "SessionKNN":
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
        match, items, distance = index.neighbor_items(matches)
        votes = (matches.shared_C / (1.0 + matches.age_C))[match]
        votes[distance < 0] *= config.before_weight
        if config.spread is not None:
            votes *= np.exp(-np.abs(distance) / config.spread)
        return index.scores(matches.row_C[match], items, votes * self._idf_weight_V[items], len(queries))
