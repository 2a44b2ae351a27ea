"""VSTAN: sessions like this one vote, and five decays say how far to trust them (Ludewig, Mauro, Latifi, Jannach 2020).

It is STAN (Garg et al. 2019, equations 1 to 5) with VS-kNN's position of the shared item and its rare items. Shape
letters as in ``segue.models.knn.neighbors``.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import NO_TIME, Sequences
from segue.models.knn.neighbors import NeighborModel, NeighborQueries, SessionIndex, nearest

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class VSTANConfig:
    """Whom is asked, and the decays; 'none' turns a decay off."""

    num_neighbors: int = 500
    """The most alike sessions that vote."""
    sample_size: int = 2500
    """They are looked for among this many sessions that share an item, the most recent ones."""
    max_length: int = 30
    """The newest events of the session that is to go on."""
    max_stored_events: int = 100
    """Of each known session or person this many newest events are remembered."""
    lambda_spw: float | None = 2.0
    """So many events back an item of the session weighs 1 / e in the similarity."""
    lambda_snh: float | None = 30.0
    """A session so many days older counts 1 / e; without effect where the log has no times."""
    lambda_inh: float | None = 4.0
    """So many places away from the newest shared item a neighbor's vote has fallen to 1 / e."""
    lambda_ipw: float | None = 1.0
    """A neighbor whose newest shared item lies so many events back in the session counts 1 / e."""
    lambda_idf: float = 1.0
    """Votes are multiplied by 1 + this * log(sessions / sessions with the item); 0: rare items count no more."""
    before_weight: float = 0.5
    """What items before the shared one count, compared with those behind it; 1 in the papers."""

    def __post_init__(self) -> None:
        for name in ("num_neighbors", "sample_size", "max_length", "max_stored_events"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("lambda_spw", "lambda_snh", "lambda_inh", "lambda_ipw"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}; 'none' turns it off.")
        for name in ("lambda_idf", "before_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")


class VSTAN(NeighborModel):
    """similarity(n) = sum over shared items of exp(-age / spw) / sqrt(items of n) * exp(-days since n / snh);
    score(j) = (1 + idf * log(sessions / sessions with j)) * sum over the most similar n with j of
    similarity(n) * exp(-age of the newest shared item / ipw) * exp(-places between that item and j in n / inh).

    The days of a neighbor are counted from its last event to the newest one of the session; where the session has no
    times, to the newest event that was learnt from. The session's own length divides all similarities alike and is
    left out.
    """

    name: ClassVar[str] = "vstan"

    def __init__(self, memory: SessionIndex, config: VSTANConfig) -> None:
        super().__init__(memory, config)
        self._rare_V = 1.0 + config.lambda_idf * memory.idf()

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: VSTANConfig) -> "VSTAN":
        """Remembers the sessions in order of their last event (of their row where there are no times)."""
        return cls(SessionIndex.fit(sequences, size, stored=config.max_stored_events), config)

    def _now(self, known: Sequences) -> np.ndarray | None:
        """Each session's own time, int64 [B]; None where nothing depends on it."""
        times_S = self.memory.times_S
        if times_S is None or self.config.lambda_snh is None:
            return None
        now_B = np.full(len(known), times_S.max(initial=0))
        if known.times is not None:
            some = np.flatnonzero(known.lengths > 0)
            newest = known.times[known.stops[some] - 1]
            told = newest != NO_TIME
            now_B[some[told]] = newest[told]
        return now_B

    def votes(self, asked: NeighborQueries, histories: Sequences) -> np.ndarray:
        config, memory, now_B = self.config, self.memory, self._now(histories)
        found = memory.find(asked, _fall(asked.age_Q, config.lambda_spw), config.sample_size)
        alike_C = found.shared_C / np.sqrt(memory.length_S[found.held_C])
        if now_B is not None and memory.times_S is not None:
            old_C = np.maximum(now_B[found.row_C] - memory.times_S[found.held_C], 0)
            alike_C = alike_C * _fall(old_C / DAY_US, config.lambda_snh)
        chosen = nearest(found, alike_C, config.num_neighbors)
        found, alike_C = found.take(chosen), alike_C[chosen]
        which, items, distance = memory.add_votes(found)
        votes = (alike_C * _fall(found.age_C, config.lambda_ipw))[which] * _fall(np.abs(distance), config.lambda_inh)
        votes[distance < 0] *= config.before_weight
        return memory.scores(found.row_C[which], items, votes * self._rare_V[items], len(asked))


def _fall(distance: np.ndarray, scale: float | None) -> np.ndarray:
    """exp(-distance / scale); 1 everywhere without a scale."""
    return np.ones(len(distance)) if scale is None else np.exp(-distance / scale)
