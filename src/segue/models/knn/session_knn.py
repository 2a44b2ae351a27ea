"""Session-kNN: sessions like this one, recent ones first, vote for what stands near the shared items.

The rule is VS-kNN (Ludewig & Jannach 2018, section 3.1) with the neighbor's order taken into account as in STAN
(Garg et al. 2019, section 3.3). Shape letters as in ``segue.models.knn.neighbors``.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from segue.data.sequences import Sequences
from segue.models.knn.neighbors import WEIGHTS, NeighborModel, NeighborQueries, SessionIndex, nearest


@dataclass(frozen=True)
class SessionKNNConfig:
    """Whom is asked, and how votes weigh."""

    num_neighbors: int = 500
    """The most alike sessions that vote."""
    sample_size: int = 2000
    """They are looked for among this many sessions that share an item, the most recent ones."""
    max_length: int = 20
    """The newest events of the session that is to go on."""
    max_stored_events: int = 100
    """Of each known session or person this many newest events are remembered."""
    weighting: Literal["none", "linear", "quadratic", "log", "harmonic"] = "log"
    """How fast an item's weight in the similarity falls with its age in the session."""
    spread: float | None = 4.0
    """So many items away from the shared item a vote has fallen to 1 / e; 'none': votes are equal everywhere."""
    before_weight: float = 0.5
    """What items before the shared one count, compared with those behind it."""
    idf: bool = True
    """Rare items count more, by log(sessions / sessions with the item)."""

    def __post_init__(self) -> None:
        for name in ("num_neighbors", "sample_size", "max_length", "max_stored_events"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.spread is not None and self.spread <= 0:
            raise ValueError(f"spread must be above 0, got {self.spread}.")
        if self.before_weight < 0:
            raise ValueError(f"before_weight must not be negative, got {self.before_weight}.")


class SessionKNN(NeighborModel):
    """similarity(n) = sum of the weights of the items that session n shares;
    score(j) = idf(j) * sum over neighbors n with j of similarity(n) / (1 + age of the newest shared item)
    * exp(-distance of j from that item in n / spread), times ``before`` where j stands before it.
    """

    name: ClassVar[str] = "session-knn"

    def __init__(self, memory: SessionIndex, config: SessionKNNConfig) -> None:
        super().__init__(memory, config)
        # An item of every session may still be voted for.
        self._rare_V = np.maximum(memory.idf(), 1e-3) if config.idf else np.ones(memory.size)

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: SessionKNNConfig) -> "SessionKNN":
        """Remembers the sessions in order of their last event (of their row where there are no times)."""
        return cls(SessionIndex.fit(sequences, size, stored=config.max_stored_events), config)

    def votes(self, asked: NeighborQueries, histories: Sequences) -> np.ndarray:
        memory, config = self.memory, self.config
        weight_Q = WEIGHTS[config.weighting](asked.age_Q, asked.length_B[asked.row_Q])
        found = memory.find(asked, weight_Q, config.sample_size)
        found = found.take(nearest(found, found.shared_C, config.num_neighbors))
        which, items, distance = memory.add_votes(found)
        votes = (found.shared_C / (1.0 + found.age_C))[which]
        votes[distance < 0] *= config.before_weight
        if config.spread is not None:
            votes *= np.exp(-np.abs(distance) / config.spread)
        return memory.scores(found.row_C[which], items, votes * self._rare_V[items], len(asked))
