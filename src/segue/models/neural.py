"""A trained network as a scorer: history -> query vector -> one product with the item table, plus the co-visit prior.

Shape letters: B batch, D hidden size, V catalogue size with PAD, N events.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.covisit import CoVisit, CoVisitConfig
from segue.models.graph import GraphEncoder
from segue.models.gru4rec import GRU4RecConfig, GruArrays

PRIOR_FLOOR = 1e-4
"""Added to a co-visit score before its logarithm: what an item is worth that was never seen near the history."""


class Encoder(Protocol):
    """What differs between networks: ``encode(histories, vectors_ND) -> [B, D]`` for histories that are not empty."""

    length: int

    def encode(self, histories: Sequences, vectors_ND: np.ndarray) -> np.ndarray: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


class NeuralScorer:
    """score(j) = query . key_j (+ bias_j) + prior weight * log(co-visit score(j) + 1e-4).

    With a temperature, query and keys have unit length and the product is divided by it. An empty history has no
    query: it is answered by ``start_V``, the log-frequency of items in training.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        table_VD: np.ndarray,
        start_V: np.ndarray,
        *,
        temperature: float | None,
        prior: CoVisit | None,
        weight: float,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.start_V = start_V
        self.temperature = temperature
        self.prior = prior
        self.weight = weight
        self.bias_V: np.ndarray | None = None
        if temperature is None:
            self.vectors_VD, self.bias_V = table_VD[:, :-1], table_VD[:, -1]
            self.keys_VD = np.ascontiguousarray(self.vectors_VD)
        else:
            self.vectors_VD = table_VD
            lengths_V1 = np.linalg.norm(table_VD, axis=1, keepdims=True)
            self.keys_VD = table_VD / np.maximum(lengths_V1, 1e-12)
        self._table_VD = table_VD

    @property
    def size(self) -> int:
        return len(self.keys_VD)

    def queries(self, histories: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """(bool [B]: which rows have anything to encode, float32 [of those, D]: what to multiply with the keys)."""
        newest = histories.known().tail(self.encoder.length)
        filled_B = newest.lengths > 0
        newest = newest.take(filled_B)
        _, where = newest.positions()
        hidden_BD = self.encoder.encode(newest, self.vectors_VD[newest.items[where]])
        if self.temperature is not None:
            lengths_B1 = np.linalg.norm(hidden_BD, axis=1, keepdims=True)
            hidden_BD = hidden_BD / (np.maximum(lengths_B1, 1e-12) * self.temperature)
        return filled_B, hidden_BD.astype(np.float32)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        filled_B, query_BD = self.queries(histories)
        scores_BV = np.empty((len(histories), self.size), dtype=np.float32)
        scores_BV[~filled_B] = self.start_V
        if filled_B.any():
            product_BV = query_BD @ self.keys_VD.T
            if self.bias_V is not None:
                product_BV += self.bias_V
            if self.prior is not None and self.weight > 0:
                near_BV = self.prior.scores(histories.take(filled_B))
                product_BV += self.weight * np.log(np.maximum(near_BV, 0.0) + PRIOR_FLOOR)
            scores_BV[filled_B] = product_BV
        scores_BV[:, PAD] = -np.inf
        return scores_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """The table, the encoder, and the prior if there is one, by name."""
        prior = {}
        if self.prior is not None:
            prior = {f"prior.{key}": value for key, value in self.prior.arrays().items()}
            prior["prior_decay"] = np.array([self.prior.decay])
        weight = np.array([self.weight], dtype=np.float32)
        own = {"table": self._table_VD, "start": self.start_V, "prior_weight": weight}
        return {**own, **self.encoder.arrays(), **prior}


def restore_neural(name: str, arrays: Mapping[str, np.ndarray], config: Any) -> NeuralScorer:
    """What ``NeuralScorer.arrays`` saved."""
    encoder: Encoder
    if isinstance(config, GRU4RecConfig):
        encoder = GruArrays.restore(arrays, config)
    else:
        encoder = GraphEncoder(arrays["encoder.onnx"].tobytes(), config.length)
    own = {key.removeprefix("prior."): value for key, value in arrays.items() if key.startswith("prior.")}
    return NeuralScorer(
        name,
        encoder,
        arrays["table"],
        arrays["start"],
        temperature=config.temperature,
        prior=CoVisit.restore(own, CoVisitConfig(decay=float(arrays["prior_decay"][0]))) if own else None,
        weight=float(arrays["prior_weight"][0]),
    )
