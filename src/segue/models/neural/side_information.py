"""Trained embeddings besides those of items: item features, event contexts, event times."""

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
    """Feature, context and time embeddings of a network; None: the network was trained without them.

    Shape letters: N events, D input size.
    """

    features: FeatureEmbeddings | None = None
    """Embeddings of item features, which give a cold item its row of the item table."""
    contexts: FeatureEmbeddings | None = None
    """Embeddings of event contexts, added to the input embedding of an event."""
    time_embedding: TimeEmbedding | None = None
    """Embeddings of event times, added to the input embedding of an event."""

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: Any) -> "SideInformation":
        """Restore the embeddings of an artifact.

        Args:
            arrays: tensors of the artifact.
            config: settings of the model.
        """
        return cls(
            FeatureEmbeddings.restore(arrays, "features"),
            FeatureEmbeddings.restore(arrays, "contexts"),
            TimeEmbedding.restore(arrays, config) if isinstance(config, TimeConfig) else None,
        )

    @property
    def is_empty(self) -> bool:
        """True if the input of an event depends on its item alone."""
        return self.contexts is None and self.time_embedding is None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``features.*``, ``contexts.*``, ``time.embeddings``."""
        arrays = {} if self.features is None else self.features.arrays("features")
        arrays |= {} if self.contexts is None else self.contexts.arrays("contexts")
        return arrays | ({} if self.time_embedding is None else self.time_embedding.arrays())

    def add(self, inputs_ND: np.ndarray, histories: Sequences) -> np.ndarray:
        """Add the context and time embeddings of events to their input embeddings, in place.

        Args:
            inputs_ND: float32 [N, D], input embeddings in the order of ``Sequences.positions``; written to.
            histories: the events.

        Returns:
            ``inputs_ND``.
        """
        if self.contexts is not None and histories.contexts is not None:
            codes_N = histories.contexts.codes[histories.positions()[1]]
            inputs_ND += self.contexts.embed_table(histories.contexts.features)[codes_N]
        if self.time_embedding is not None:
            inputs_ND += self.time_embedding.embed(histories)
        return inputs_ND
