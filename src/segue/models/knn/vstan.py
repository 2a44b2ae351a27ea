"""VSTAN: similar sessions vote, weighted by five decays (Ludewig, Mauro, Latifi & Jannach 2020).

STAN (Garg et al. 2019, equations 1 to 5) with the position of the shared item and the idf weight of VS-kNN. Shape
letters as in ``segue.models.knn.session_index``.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import NO_TIME, Sequences
from segue.data.time_units import DAY_US
from segue.models.knn.neighbors import NeighborModel, nearest
from segue.models.knn.session_index import NeighborQueries, SessionIndex


@dataclass(frozen=True)
class VSTANConfig:
    """Neighbor search and decays; 'none' turns a decay off."""

    num_neighbors: Annotated[int, Range(ge=1)] = 500
    """Number of most similar sessions that vote."""
    sample_size: Annotated[int, Range(ge=1)] = 2500
    """Number of most recent sessions with a common item in which neighbors are searched."""
    max_length: Annotated[int, Range(ge=1)] = 30
    """Number of newest events of the scored session that are used."""
    max_stored_events: Annotated[int, Range(ge=1)] = 100
    """Number of newest events that are stored of each session or user of the log."""
    lambda_spw: Annotated[float | None, Range(gt=0)] = 2.0
    """Age in events at which an item of the session weighs 1 / e in the similarity."""
    lambda_snh: Annotated[float | None, Range(gt=0)] = 30.0
    """Age in days at which a neighbor session weighs 1 / e; without effect where the log has no times."""
    lambda_inh: Annotated[float | None, Range(gt=0)] = 4.0
    """Distance from the newest shared item, in items, at which a neighbor's vote has fallen to 1 / e."""
    lambda_ipw: Annotated[float | None, Range(gt=0)] = 1.0
    """Age in events of the newest shared item at which a neighbor weighs 1 / e."""
    lambda_idf: Annotated[float, Range(ge=0)] = 1.0
    """Factor w in 1 + w * log(sessions / sessions with the item), which multiplies votes; 0: no idf weight."""
    before_weight: Annotated[float, Range(ge=0)] = 0.5
    """Weight of items before the shared one, relative to those after it; 1 in the papers."""

    def __post_init__(self) -> None:
        check_ranges(self)


class VSTAN(NeighborModel):
    """VSTAN model: score(j) = (1 + idf * log(sessions / sessions with j)) * sum of the votes of neighbors with j.

    similarity(n) = sum over shared items of exp(-age / spw) / sqrt(items of n) * exp(-days since n / snh);
    vote = similarity(n) * exp(-age of the newest shared item / ipw) * exp(-distance of j from that item in n / inh).

    Days since n: from its last event to the newest event of the session, or of the training log where the session has
    no times. Differs: the length of the scored session is left out, because it divides all similarities alike.
    """

    name: ClassVar[str] = "vstan"

    def __init__(self, index: SessionIndex, config: VSTANConfig) -> None:
        super().__init__(index, config)
        self._idf_weight_V = 1.0 + config.lambda_idf * index.idf()

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: VSTANConfig) -> "VSTAN":
        """Store the sessions in order of their last event, or of their row where the log has no times.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        return cls(SessionIndex.fit(sequences, size, max_events=config.max_stored_events), config)

    def _session_times(self, known: Sequences) -> np.ndarray | None:
        """Return the time of each session in microseconds, int64 [B]; None if scores do not depend on it."""
        times_S = self.index.times_S
        if times_S is None or self.config.lambda_snh is None:
            return None
        time_B = np.full(len(known), times_S.max(initial=0))
        if known.times is not None:
            filled_rows = np.flatnonzero(known.lengths > 0)
            newest = known.times[known.stops[filled_rows] - 1]
            has_time = newest != NO_TIME
            time_B[filled_rows[has_time]] = newest[has_time]
        return time_B

    def votes(self, queries: NeighborQueries, histories: Sequences) -> np.ndarray:
        """See ``NeighborModel.votes``."""
        config, index, time_B = self.config, self.index, self._session_times(histories)
        matches = index.find(queries, _decay(queries.age_Q, config.lambda_spw), config.sample_size)
        similarity_C = matches.shared_C / np.sqrt(index.length_S[matches.session_C])
        if time_B is not None and index.times_S is not None:
            age_C = np.maximum(time_B[matches.row_C] - index.times_S[matches.session_C], 0)
            similarity_C = similarity_C * _decay(age_C / DAY_US, config.lambda_snh)
        chosen = nearest(matches, similarity_C, config.num_neighbors)
        matches, similarity_C = matches.take(chosen), similarity_C[chosen]
        match, items, distance = index.neighbor_items(matches)
        votes = (similarity_C * _decay(matches.age_C, config.lambda_ipw))[match] * _decay(
            np.abs(distance), config.lambda_inh
        )
        votes[distance < 0] *= config.before_weight
        return index.scores(matches.row_C[match], items, votes * self._idf_weight_V[items], len(queries))


def _decay(distance: np.ndarray, scale: float | None) -> np.ndarray:
    """Return exp(-distance / scale); 1 everywhere for scale None."""
    return np.ones(len(distance)) if scale is None else np.exp(-distance / scale)
