"""Scorer of a trained network: history -> query embedding -> inner products with the item embeddings.

Shape letters: B batch, D hidden size, V catalog size with PAD, N events, R lists in generation.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.onnx_checks import check_graph
from segue.models.neural.onnx_encoder import OnnxEncoder
from segue.models.neural.seq2seq_numpy import NumpySeq2Seq
from segue.models.neural.side_information import SideInformation
from segue.models.numpy_layers import normalize_rows
from segue.models.scorer import Scorer


class Encoder(Protocol):
    """The part of a network that differs between models: embedded history in, hidden state out."""

    @property
    def max_length(self) -> int:
        """Number of newest events that are read."""
        ...

    @property
    def num_input_columns(self) -> int:
        """Number of leading columns of the item table that are input only; 0: the item embedding is the input."""
        ...

    @property
    def uses_times(self) -> bool:
        """True if the encoder reads the times of events."""
        ...

    def encode(self, histories: Sequences, inputs_ND: np.ndarray) -> np.ndarray:
        """Return the hidden state after each whole history.

        Args:
            histories: B histories, none of them empty, at most ``max_length`` events each.
            inputs_ND: float32 [N, D], input embeddings of their events in order.

        Returns:
            float32 [B, D]. A row does not depend on the other rows.
        """
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact."""
        ...


@runtime_checkable
class IncrementalEncoder(Protocol):
    """An encoder that can extend a history by one event at the cost of one event."""

    def begin(self, histories: Sequences, inputs_ND: np.ndarray) -> Any:
        """Return the state after each history; arguments as in ``Encoder.encode``."""
        ...

    def extend(self, state: Any, parents_R: np.ndarray, inputs_RD: np.ndarray) -> Any:
        """Return the state of new lists.

        Args:
            state: state of the lists so far, not changed.
            parents_R: int [R], the list that each new list extends.
            inputs_RD: float32 [R, D], input embeddings of the appended events.
        """
        ...

    def hidden(self, state: Any) -> np.ndarray:
        """Return the hidden state of each list, float32 [R, D]."""
        ...


class NeuralScorer:
    """score(j) = query . key_j (+ bias_j).

    With a temperature, query and keys have unit length and the product is divided by the temperature. Without one, the
    last column of the item table is the bias. An empty history has no query: its scores are ``start_V``, the number of
    events of each item. The encoder's ``num_input_columns`` leading columns are input only and no part of a key.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        table_VD: np.ndarray,
        start_V: np.ndarray,
        *,
        temperature: float | None,
        side_information: SideInformation | None = None,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.start_V = start_V
        self.temperature = temperature
        self.side_information = side_information or SideInformation()
        self.table_VD = table_VD
        """Trained item table: input-only columns, keys before normalization, bias."""
        self.bias_V: np.ndarray | None = None
        num_input_columns = encoder.num_input_columns
        own_VD = table_VD[:, num_input_columns:]
        if temperature is None:
            own_VD, self.bias_V = own_VD[:, :-1], own_VD[:, -1]
            self.keys_VD = np.ascontiguousarray(own_VD)
        else:
            self.keys_VD = normalize_rows(own_VD)
        self.input_embeddings_VD = table_VD[:, :num_input_columns] if num_input_columns else own_VD

    @property
    def size(self) -> int:
        return len(self.keys_VD)

    @property
    def item_embeddings(self) -> np.ndarray:
        """See ``EmbeddingScorer``: the keys."""
        return self.keys_VD

    @property
    def scores_cold_items(self) -> bool:
        """See ``ColdItemScorer``: True if the network was trained on item features."""
        return self.side_information.features is not None

    def encode(self, histories: Sequences) -> tuple[Sequences, np.ndarray]:
        """Return the arguments of ``Encoder.encode``.

        Returns:
            (the newest events of each history, at most ``max_length``; their input embeddings float32 [N, D]).
        """
        is_long = histories.lengths.max(initial=0) > self.encoder.max_length
        newest = histories.tail(self.encoder.max_length) if is_long else histories
        items_N = newest.items if newest.is_contiguous else newest.items[newest.positions()[1]]
        return newest, self.side_information.add(self.input_embeddings_VD[items_N], newest)

    def input_embeddings(self, items_R: np.ndarray) -> np.ndarray:
        """Return the input embeddings of generated items, which have no timestamp: float32 [R, D]."""
        inputs_RD, time_embedding = self.input_embeddings_VD[items_R], self.side_information.time_embedding
        return inputs_RD if time_embedding is None else inputs_RD + time_embedding.timeless_D

    def logits(self, hidden_BD: np.ndarray) -> np.ndarray:
        """Return the scores of all items for hidden states of the encoder: float32 [B, V]."""
        product_BV: np.ndarray = self.query(hidden_BD) @ self.keys_VD.T
        if self.bias_V is not None:
            product_BV += self.bias_V
        product_BV[:, PAD] = 0.0
        return product_BV

    def queries(self, histories: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """See ``VectorScorer.queries``. With a bias, both have one more column."""
        known = histories.drop_unknown()
        has_events_B = known.lengths > 0
        has_bias = self.bias_V is not None
        query_BD = np.zeros((len(known), self.keys_VD.shape[1] + has_bias), dtype=np.float32)
        if has_events_B.any():
            hidden_BD = self.encoder.encode(*self.encode(known.take(has_events_B)))
            query_BD[has_events_B, : self.keys_VD.shape[1]] = self.query(hidden_BD)
            query_BD[has_events_B, self.keys_VD.shape[1] :] = 1.0
        return query_BD, self.table_VD[:, self.encoder.num_input_columns :] if has_bias else self.keys_VD

    def query(self, hidden_BD: np.ndarray) -> np.ndarray:
        """Return the query embeddings of hidden states, without the column of the bias: float32 [B, D]."""
        return hidden_BD if self.temperature is None else normalize_rows(hidden_BD) / np.float32(self.temperature)

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        known = histories.drop_unknown()
        has_events_B = known.lengths > 0
        scores_BV = np.empty((len(histories), self.size), dtype=np.float32)
        scores_BV[~has_events_B] = self.start_V
        if has_events_B.any():
            scores_BV[has_events_B] = self.logits(self.encoder.encode(*self.encode(known.take(has_events_B))))
        scores_BV[:, PAD] = 0.0
        return scores_BV

    def decoder_state(self, histories: Sequences) -> "NetworkState | None":
        """See ``IncrementalScorer.decoder_state``; None unless the encoder is an ``IncrementalEncoder``."""
        if not isinstance(self.encoder, IncrementalEncoder):
            return None
        return NetworkState(self, self.encoder, self.encoder.begin(*self.encode(histories)))

    def with_rows(self, rows_ND: np.ndarray) -> "NeuralScorer":
        """Return the network with N more items behind its own; their rows of the item table are float32 [N, D]."""
        return self.with_table(np.concatenate([self.table_VD, rows_ND]), self.side_information)

    def with_table(self, table_VD: np.ndarray, side_information: SideInformation) -> "NeuralScorer":
        """Return the network with another item table and side information.

        Args:
            table_VD: float32 [V, D], as long as the present table or longer.
            sides: embeddings besides those of items.
        """
        more = np.zeros(len(table_VD) - self.size, dtype=np.float32)
        start_V = np.concatenate([self.start_V, more])
        return NeuralScorer(
            self.name,
            self.encoder,
            table_VD,
            start_V,
            temperature=self.temperature,
            side_information=side_information,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``table``, ``start``, those of the side information and the encoder."""
        table = {"table": self.table_VD, "start": self.start_V}
        return {**table, **self.side_information.arrays(), **self.encoder.arrays()}


class NetworkState:
    """Decoder state of a network whose encoder is incremental."""

    def __init__(self, scorer: NeuralScorer, encoder: IncrementalEncoder, state: Any) -> None:
        self.scorer = scorer
        self.encoder = encoder
        self.state = state

    def scores(self) -> np.ndarray:
        """See ``DecoderState.scores``."""
        return self.scorer.logits(self.encoder.hidden(self.state))

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "NetworkState":
        """See ``DecoderState.extend``."""
        inputs_RD = self.scorer.input_embeddings(items_R)
        return NetworkState(self.scorer, self.encoder, self.encoder.extend(self.state, parents_R, inputs_RD))


def find_network(scorer: Scorer) -> NeuralScorer | None:
    """Return the network of a scorer, also where a co-visitation model is added to it; None for other models."""
    inner = scorer.inner if isinstance(scorer, WithCovisitationPrior) else scorer
    return inner if isinstance(inner, NeuralScorer) else None


def restore_neural(name: str, arrays: Mapping[str, np.ndarray], config: Any) -> Scorer:
    """Restore the network of an artifact, with its co-visitation model if it has one.

    Args:
        name: name of the model in the zoo.
        arrays: tensors of the artifact.
        config: settings of the model.
    """
    encoder: Encoder
    if isinstance(config, GRU4RecConfig):
        encoder = NumpyGRU.restore(arrays, config)
    elif isinstance(config, Seq2SeqConfig):
        encoder = NumpySeq2Seq.restore(arrays, config)
    else:
        weights = {key.removeprefix("net."): value for key, value in arrays.items() if key.startswith("net.")}
        graph = arrays["encoder.onnx"].tobytes()
        check_graph(graph)
        encoder = OnnxEncoder(graph, config.max_length, weights)
    scorer = NeuralScorer(
        name,
        encoder,
        arrays["table"],
        arrays["start"],
        temperature=config.temperature,
        side_information=SideInformation.restore(arrays, config),
    )
    if scorer.size > 1:
        scorer.scores(Sequences.from_lists([[1]]))  # a tensor may be missing, or have another shape than its neighbor
    return WithCovisitationPrior.restore(scorer, arrays) if "prior.weight" in arrays else scorer
