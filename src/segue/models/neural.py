"""A trained network as a scorer: history -> query vector -> one product with the item table. No torch.

Shape letters: B batch, D hidden size, V catalogue size with PAD, N events.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.clock import Clock, TimeConfig
from segue.models.graph import GraphEncoder
from segue.models.gru4rec import GRU4RecConfig, GruArrays
from segue.models.prior import WithPrior
from segue.models.scorer import Scorer
from segue.models.seq2seq import Seq2SeqArrays, Seq2SeqConfig


class Encoder(Protocol):
    """What differs between networks: ``encode(histories, vectors_ND) -> [B, D]`` for histories that are not empty."""

    @property
    def length(self) -> int:
        """The newest events that are read."""
        ...

    def encode(self, histories: Sequences, vectors_ND: np.ndarray) -> np.ndarray: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


class NeuralScorer:
    """score(j) = query . key_j (+ bias_j).

    With a temperature, query and keys have unit length and the product is divided by it; without one, the table's
    last column is the bias. An empty history has no query: it is answered by ``start_V``, how often an item occurs.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        table_VD: np.ndarray,
        start_V: np.ndarray,
        *,
        temperature: float | None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.clock = clock
        """What is added to an event's vector for its time; None where the network looks at items alone."""
        self.start_V = start_V
        self.temperature = temperature
        self._table_VD = table_VD
        self.bias_V: np.ndarray | None = None
        if temperature is None:
            self.vectors_VD, self.bias_V = table_VD[:, :-1], table_VD[:, -1]
            self.keys_VD = np.ascontiguousarray(self.vectors_VD)
        else:
            self.vectors_VD = table_VD
            self.keys_VD = unit(table_VD)

    @property
    def size(self) -> int:
        return len(self.keys_VD)

    def read(self, histories: Sequences) -> tuple[Sequences, np.ndarray]:
        """(the newest events of each history, as many as the encoder reads; their vectors, float32 [N, D]): what it
        takes."""
        newest = histories.tail(self.encoder.length)
        _, where_N = newest.positions()
        vectors_ND = self.vectors_VD[newest.items[where_N]]
        return newest, vectors_ND if self.clock is None else vectors_ND + self.clock.vectors(newest)

    def written(self, items_R: np.ndarray) -> np.ndarray:
        """float32 [R, D]: the vectors of events that are only imagined, behind a history: they have no time."""
        vectors_RD = self.vectors_VD[items_R]
        return vectors_RD if self.clock is None else vectors_RD + self.clock.timeless_D

    def logits(self, hidden_BD: np.ndarray) -> np.ndarray:
        """float32 [B, V]: what the encoder's states say of every item."""
        product_BV: np.ndarray = self._query(hidden_BD) @ self.keys_VD.T
        if self.bias_V is not None:
            product_BV += self.bias_V
        product_BV[:, PAD] = 0.0
        return product_BV

    def _query(self, hidden_BD: np.ndarray) -> np.ndarray:
        return hidden_BD if self.temperature is None else unit(hidden_BD) / np.float32(self.temperature)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        known = histories.known()
        filled_B = known.lengths > 0
        scores_BV = np.empty((len(histories), self.size), dtype=np.float32)
        scores_BV[~filled_B] = self.start_V
        if filled_B.any():
            scores_BV[filled_B] = self.logits(self.encoder.encode(*self.read(known.take(filled_B))))
        scores_BV[:, PAD] = 0.0
        return scores_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """The table, the answer to an empty history, the times' vectors and the encoder, by name."""
        clock = {} if self.clock is None else self.clock.arrays()
        return {"table": self._table_VD, "start": self.start_V, **clock, **self.encoder.arrays()}


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Rows divided by their length; a zero row stays zero."""
    lengths_N1 = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))[:, None]
    divided: np.ndarray = vectors_ND / np.maximum(lengths_N1, np.float32(1e-12))
    return divided


def restore_neural(name: str, arrays: Mapping[str, np.ndarray], config: Any) -> Scorer:
    """What ``NeuralScorer.arrays`` saved, with the co-visit prior around it where there was one."""
    encoder: Encoder
    if isinstance(config, GRU4RecConfig):
        encoder = GruArrays.restore(arrays, config)
    elif isinstance(config, Seq2SeqConfig):
        encoder = Seq2SeqArrays.restore(arrays, config)
    else:
        weights = {key.removeprefix("net."): value for key, value in arrays.items() if key.startswith("net.")}
        encoder = GraphEncoder(arrays["encoder.onnx"].tobytes(), config.length, weights)
    clock = Clock.restore(arrays, config) if isinstance(config, TimeConfig) else None
    scorer = NeuralScorer(name, encoder, arrays["table"], arrays["start"], temperature=config.temperature, clock=clock)
    return WithPrior.restore(scorer, arrays) if "prior.weight" in arrays else scorer
