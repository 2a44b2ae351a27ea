"""User-kNN: people who took the same items vote for what else they took (Herlocker et al. 1999, on sets of items).

Shape letters as in ``segue.models.knn.neighbors``.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from segue.data.sequences import Sequences
from segue.models.knn.neighbors import NeighborModel, NeighborQueries, SessionIndex, nearest


@dataclass(frozen=True)
class UserKNNConfig:
    """Whom is asked, and what makes two people alike."""

    num_neighbors: int = 200
    """The most alike people that vote."""
    sample_size: int = 5000
    """They are looked for among this many people who share an item, drawn at random, whenever they were there."""
    max_length: int = 200
    """The newest events of the person who is to be answered."""
    similarity: Literal["cosine", "jaccard"] = "cosine"
    """How the overlap of two people's items is measured."""
    decay: float = 0.8
    """Each step back into the history multiplies an item's weight by this; 1: plain sets."""

    def __post_init__(self) -> None:
        for name in ("num_neighbors", "sample_size", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")


class UserKNN(NeighborModel):
    """score(j) = sum over the most similar people n with j of similarity(n), where with w = decay ** age
    cosine = sum of w of the shared items / sqrt(sum of w ** 2 * items of n), and
    jaccard = sum of w of the shared items / (sum of w of the others of the history + items of n).

    The history need not be of anybody who was there at training; one who was is his own first neighbor.
    """

    name: ClassVar[str] = "user-knn"

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: UserKNNConfig) -> "UserKNN":
        """Remembers everybody's items, in an order drawn once (seed 0): a sample favors nobody."""
        return cls(SessionIndex.fit(sequences, size, shuffle=np.random.default_rng(0)), config)

    def votes(self, asked: NeighborQueries, histories: Sequences) -> np.ndarray:
        memory, config = self.memory, self.config
        weight_Q = config.decay**asked.age_Q
        found = memory.find(asked, weight_Q, config.sample_size)
        held_C = memory.length_S[found.held_C]
        if config.similarity == "cosine":
            norm_B = np.bincount(asked.row_Q, weights=weight_Q**2, minlength=len(asked))
            alike_C = found.shared_C / np.sqrt(norm_B[found.row_C] * held_C)
        else:
            mass_B = np.bincount(asked.row_Q, weights=weight_Q, minlength=len(asked))
            alike_C = found.shared_C / (mass_B[found.row_C] - found.shared_C + held_C)
        chosen = nearest(found, alike_C, config.num_neighbors)
        which, items, _ = memory.add_votes(found.take(chosen))
        return memory.scores(found.row_C[chosen][which], items, alike_C[chosen][which], len(asked))
