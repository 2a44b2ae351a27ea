"""A trained network as a scorer: history -> query vector -> one product with the item table. No torch.

Shape letters: B batch, D hidden size, V catalog size with PAD, N events.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.onnx_encoder import OnnxEncoder
from segue.models.neural.seq2seq_numpy import NumpySeq2Seq
from segue.models.neural.side_information import SideInformation
from segue.models.scorer import Scorer


class Encoder(Protocol):
    """What differs between networks: ``encode(histories, vectors_ND) -> [B, D]`` for histories that are not empty."""

    @property
    def length(self) -> int:
        """The newest events that are read."""
        ...

    @property
    def inputs(self) -> int:
        """So many of the table's first columns are what an item enters by; 0: it enters by its own vector."""
        ...

    @property
    def timed(self) -> bool:
        """Whether it looks at the times of events."""
        ...

    def encode(self, histories: Sequences, vectors_ND: np.ndarray) -> np.ndarray: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


class NeuralScorer:
    """score(j) = query . key_j (+ bias_j).

    With a temperature, query and keys have unit length and the product is divided by it; without one, the table's
    last column is the bias. An empty history has no query: it is answered by ``start_V``, how often an item occurs.
    The encoder's first ``inputs`` columns, where it has any, are what an item enters by and no part of its key.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        table_VD: np.ndarray,
        start_V: np.ndarray,
        *,
        temperature: float | None,
        sides: SideInformation | None = None,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.start_V = start_V
        self.temperature = temperature
        self.sides = sides or SideInformation()
        self.table_VD = table_VD
        """As it was learned: what enters, the keys before they are scaled, the bias."""
        self.bias_V: np.ndarray | None = None
        inputs = encoder.inputs
        own_VD = table_VD[:, inputs:]
        if temperature is None:
            own_VD, self.bias_V = own_VD[:, :-1], own_VD[:, -1]
            self.keys_VD = np.ascontiguousarray(own_VD)
        else:
            self.keys_VD = normalize_rows(own_VD)
        self.vectors_VD = table_VD[:, :inputs] if inputs else own_VD

    @property
    def size(self) -> int:
        return len(self.keys_VD)

    def encode(self, histories: Sequences) -> tuple[Sequences, np.ndarray]:
        """(the newest events of each history, as many as the encoder reads; their vectors, float32 [N, D]): what it
        takes."""
        long = histories.lengths.max(initial=0) > self.encoder.length
        newest = histories.tail(self.encoder.length) if long else histories
        items_N = newest.items if newest.is_contiguous else newest.items[newest.positions()[1]]
        return newest, self.sides.add(self.vectors_VD[items_N], newest)

    def input_embeddings(self, items_R: np.ndarray) -> np.ndarray:
        """float32 [R, D]: the vectors of events that are only imagined, behind a history: they have no time."""
        vectors_RD, clock = self.vectors_VD[items_R], self.sides.time_embedding
        return vectors_RD if clock is None else vectors_RD + clock.timeless_D

    def logits(self, hidden_BD: np.ndarray) -> np.ndarray:
        """float32 [B, V]: what the encoder's states say of every item."""
        product_BV: np.ndarray = self.query(hidden_BD) @ self.keys_VD.T
        if self.bias_V is not None:
            product_BV += self.bias_V
        product_BV[:, PAD] = 0.0
        return product_BV

    def queries(self, histories: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """(float32 [B, D], float32 [V, D]) whose products are the scores: for whoever searches the nearest items. An
        empty history's query is zero: all items are equal to it."""
        known = histories.drop_unknown()
        filled_B = known.lengths > 0
        bias = self.bias_V is not None
        query_BD = np.zeros((len(known), self.keys_VD.shape[1] + bias), dtype=np.float32)
        if filled_B.any():
            hidden_BD = self.encoder.encode(*self.encode(known.take(filled_B)))
            query_BD[filled_B, : self.keys_VD.shape[1]] = self.query(hidden_BD)
            query_BD[filled_B, self.keys_VD.shape[1] :] = 1.0
        return query_BD, self.table_VD[:, self.encoder.inputs :] if bias else self.keys_VD

    def query(self, hidden_BD: np.ndarray) -> np.ndarray:
        """float32 [B, D]: what the keys are multiplied with, for the encoder's states."""
        return hidden_BD if self.temperature is None else normalize_rows(hidden_BD) / np.float32(self.temperature)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        known = histories.drop_unknown()
        filled_B = known.lengths > 0
        scores_BV = np.empty((len(histories), self.size), dtype=np.float32)
        scores_BV[~filled_B] = self.start_V
        if filled_B.any():
            scores_BV[filled_B] = self.logits(self.encoder.encode(*self.encode(known.take(filled_B))))
        scores_BV[:, PAD] = 0.0
        return scores_BV

    def with_rows(self, rows_ND: np.ndarray) -> "NeuralScorer":
        """The same network with N more items behind its own."""
        return self.with_table(np.concatenate([self.table_VD, rows_ND]), self.sides)

    def with_table(self, table_VD: np.ndarray, sides: SideInformation) -> "NeuralScorer":
        """The same network with another table, as long as its own or longer, and what else it knows."""
        more = np.zeros(len(table_VD) - self.size, dtype=np.float32)
        start_V = np.concatenate([self.start_V, more])
        return NeuralScorer(self.name, self.encoder, table_VD, start_V, temperature=self.temperature, sides=sides)

    def arrays(self) -> dict[str, np.ndarray]:
        """The table, the answer to an empty history, the encoder, and the vectors of facts and times, by name."""
        return {"table": self.table_VD, "start": self.start_V, **self.sides.arrays(), **self.encoder.arrays()}


def normalize_rows(vectors_ND: np.ndarray) -> np.ndarray:
    """Rows divided by their length; a zero row stays zero."""
    lengths_N1 = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))[:, None]
    divided: np.ndarray = vectors_ND / np.maximum(lengths_N1, np.float32(1e-12))
    return divided


def restore_neural(name: str, arrays: Mapping[str, np.ndarray], config: Any) -> Scorer:
    """What ``NeuralScorer.arrays`` saved, with the co-visit prior around it where there was one."""
    encoder: Encoder
    if isinstance(config, GRU4RecConfig):
        encoder = NumpyGRU.restore(arrays, config)
    elif isinstance(config, Seq2SeqConfig):
        encoder = NumpySeq2Seq.restore(arrays, config)
    else:
        weights = {key.removeprefix("net."): value for key, value in arrays.items() if key.startswith("net.")}
        encoder = OnnxEncoder(arrays["encoder.onnx"].tobytes(), config.max_length, weights)
    sides = SideInformation.restore(arrays, config)
    scorer = NeuralScorer(name, encoder, arrays["table"], arrays["start"], temperature=config.temperature, sides=sides)
    return WithCovisitationPrior.restore(scorer, arrays) if "prior.weight" in arrays else scorer
