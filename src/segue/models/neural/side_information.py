"""What a network learned besides events: vectors of facts about items, of circumstances, and of times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segue.data.sequences import Sequences
from segue.models.neural.configs.shared import TimeConfig
from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.neural.time_features import TimeEmbedding


@dataclass(frozen=True)
class SideInformation:
    """None where the network learned from nothing of the kind. Shape letters: N events, D width of what enters."""

    features: FeatureEmbeddings | None = None
    """How an item is placed that nobody has taken yet."""
    contexts: FeatureEmbeddings | None = None
    """What an event's circumstances add to its vector."""
    time_embedding: TimeEmbedding | None = None
    """What an event's time adds to its vector."""

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: Any) -> "SideInformation":
        """What ``arrays`` gave."""
        return cls(
            FeatureEmbeddings.restore(arrays, "features"),
            FeatureEmbeddings.restore(arrays, "contexts"),
            TimeEmbedding.restore(arrays, config) if isinstance(config, TimeConfig) else None,
        )

    @property
    def is_empty(self) -> bool:
        """Whether an event is nothing but its item."""
        return self.contexts is None and self.time_embedding is None

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        told = {} if self.features is None else self.features.arrays("features")
        told |= {} if self.contexts is None else self.contexts.arrays("contexts")
        return told | ({} if self.time_embedding is None else self.time_embedding.arrays())

    def add(self, vectors_ND: np.ndarray, histories: Sequences) -> np.ndarray:
        """float32 [N, D]: the vectors of the histories' events in the order of ``positions()``, written to, with what
        is known of each event added."""
        if self.contexts is not None and histories.contexts is not None:
            codes_N = histories.contexts.codes[histories.positions()[1]]
            vectors_ND += self.contexts.table(histories.contexts.features)[codes_N]
        if self.time_embedding is not None:
            vectors_ND += self.time_embedding.embed(histories)
        return vectors_ND
