"""VS-kNN: sessions like this one vote, and the newest events say which are alike (Ludewig & Jannach 2018, section 3.1).

Shape letters as in ``segue.models.knn.neighbors``.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from segue.data.sequences import Sequences
from segue.models.knn.neighbors import WEIGHTS, NeighborModel, NeighborQueries, SessionIndex, nearest

Decay = Literal["none", "linear", "quadratic", "log", "harmonic"]


@dataclass(frozen=True)
class VSKNNConfig:
    """Whom is asked, and how votes weigh."""

    num_neighbors: int = 500
    """The most alike sessions that vote."""
    sample_size: int = 2500
    """They are looked for among this many sessions that share an item, the most recent ones."""
    max_length: int = 30
    """The newest events of the session that is to go on."""
    max_stored_events: int = 100
    """Of each known session or person this many newest events are remembered."""
    weighting: Decay = "quadratic"
    """How an item's weight in the similarity falls with its age in the session."""
    scoring: Decay = "quadratic"
    """How a neighbor's vote falls with the age of the newest item it shares."""
    idf: float = 1.0
    """Votes are multiplied by 1 + this * log(sessions / sessions with the item); 0: rare items count no more."""

    def __post_init__(self) -> None:
        for name in ("num_neighbors", "sample_size", "max_length", "max_stored_events"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.idf < 0:
            raise ValueError(f"idf must not be negative, got {self.idf}.")


class VSKNN(NeighborModel):
    """similarity(n) = sum of the weights of the items that session n shares (the dot product of the weighted session
    with the set of n's items);
    score(j) = (1 + idf * log(sessions / sessions with j)) * sum over the most similar n with j of
    similarity(n) * weight of the newest shared item."""

    name: ClassVar[str] = "vsknn"

    def __init__(self, memory: SessionIndex, config: VSKNNConfig) -> None:
        super().__init__(memory, config)
        self._rare_V = 1.0 + config.idf * memory.idf()

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: VSKNNConfig) -> "VSKNN":
        """Remembers the sessions in order of their last event (of their row where there are no times)."""
        return cls(SessionIndex.fit(sequences, size, stored=config.max_stored_events), config)

    def votes(self, asked: NeighborQueries, histories: Sequences) -> np.ndarray:
        memory, config = self.memory, self.config
        weight_Q = WEIGHTS[config.weighting](asked.age_Q, asked.length_B[asked.row_Q])
        found = memory.find(asked, weight_Q, config.sample_size)
        found = found.take(nearest(found, found.shared_C, config.num_neighbors))
        vote_C = found.shared_C * WEIGHTS[config.scoring](found.age_C, asked.length_B[found.row_C])
        which, items, _ = memory.add_votes(found)
        return memory.scores(found.row_C[which], items, vote_C[which] * self._rare_V[items], len(asked))
