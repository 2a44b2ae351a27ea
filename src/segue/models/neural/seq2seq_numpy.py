"""Encoder-decoder of Seq2SeqRec in numpy: the encoder reads the history, the decoder generates the next items.

Shape letters: B histories, T time step, D hidden size, N events, R lists in generation, equally many for each history
and side by side.
"""

from collections.abc import Mapping

import numpy as np

from segue.data.sequences import Sequences
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.neural.decoders_numpy import NumpyDecoderState, NumpyGRUDecoder, NumpyTransformerDecoder
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.transformer_numpy import causal_states
from segue.models.numpy_layers import check_biases

MAX_BATCH_EVENTS = 16384
"""Events of one batch, padding included."""


class NumpySeq2Seq:
    """Trained encoder and decoder. Its hidden state is the decoder's first output.

    Implements ``IncrementalEncoder``. In the artifact the encoder's parameters begin with ``net.reader.``, the
    decoder's with ``net.writer.``.
    """

    num_input_columns = 0
    uses_times = False

    def __init__(self, weights: Mapping[str, np.ndarray], config: Seq2SeqConfig) -> None:
        self.weights = dict(weights)
        self.config = config
        self.max_length = config.max_length
        decoder_weights = {name.removeprefix("writer."): v for name, v in weights.items() if name.startswith("writer.")}
        self.decoder: NumpyGRUDecoder | NumpyTransformerDecoder
        if config.decoder_type == "gru":
            self.decoder = NumpyGRUDecoder(decoder_weights, config.num_layers)
        else:
            self.decoder = NumpyTransformerDecoder(decoder_weights, config.num_layers, config.num_heads)
        self._encoder_weights = {n.removeprefix("reader."): v for n, v in weights.items() if n.startswith("reader.")}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: Seq2SeqConfig) -> "NumpySeq2Seq":
        """Restore the network of an artifact.

        Args:
            arrays: tensors of the artifact, ``net.{name}`` among them.
            config: settings of the model.
        """
        weights = {name.removeprefix("net."): value for name, value in arrays.items() if name.startswith("net.")}
        check_biases(weights, {"writer.match"})
        return cls(weights, config)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``net.{name}``."""
        return {f"net.{name}": value for name, value in self.weights.items()}

    def encode(self, histories: Sequences, inputs_ND: np.ndarray) -> np.ndarray:
        """See ``Encoder.encode``. Rows of similar length share a batch."""
        lengths = histories.lengths
        offsets = np.cumsum(lengths) - lengths
        order = np.argsort(-lengths, kind="stable")
        out_BD = np.empty((len(lengths), inputs_ND.shape[1]), dtype=np.float32)
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, MAX_BATCH_EVENTS // int(lengths[order[start]]))]
            part = histories.take(rows)
            row_N, position_N = part.positions()
            input_N = offsets[rows][row_N] + position_N - part.starts[row_N]
            out_BD[rows] = self.begin(part, inputs_ND[input_N]).output_RD
            start += len(rows)
        return out_BD

    def begin(self, histories: Sequences, inputs_ND: np.ndarray) -> NumpyDecoderState:
        """Encode histories and take the first decoding step.

        Args:
            histories: B histories, none of them empty.
            inputs_ND: float32 [N, D], input embeddings of their events in order.
        """
        lengths_B = histories.lengths
        row_N, position_N = histories.positions()
        x_BTD = np.zeros((len(lengths_B), int(lengths_B.max(initial=1)), inputs_ND.shape[1]), dtype=np.float32)
        x_BTD[row_N, position_N - histories.starts[row_N]] = inputs_ND
        states_BTD = self._encoder_states(x_BTD)
        return self.decoder.begin(states_BTD, lengths_B, x_BTD[np.arange(len(x_BTD)), lengths_B - 1])

    def extend(self, state: NumpyDecoderState, parents_R: np.ndarray, inputs_RD: np.ndarray) -> NumpyDecoderState:
        """See ``IncrementalEncoder.extend``: one decoding step."""
        return self.decoder.step(state, parents_R, inputs_RD)

    def hidden(self, state: NumpyDecoderState) -> np.ndarray:
        """Return the decoder's output, float32 [R, D]."""
        return state.output_RD

    def _encoder_states(self, x_BTD: np.ndarray) -> np.ndarray:
        """Return the encoder's state after each event, float32 [B, T, D]; meaningless behind a row's end."""
        if self.config.encoder_type == "transformer":
            return causal_states(self._encoder_weights, self.config.num_layers, self.config.num_heads, x_BTD)
        names = ("input", "state", "input_bias", "state_bias")
        layers = [{n: self._encoder_weights[f"layers.{i}.{n}"] for n in names} for i in range(self.config.num_layers)]
        gru = NumpyGRU(layers, self.max_length)
        states_BTD = np.empty_like(x_BTD)
        state_LBD = gru.initial_state(len(x_BTD))
        for t in range(x_BTD.shape[1]):
            state_LBD = gru.step(state_LBD, x_BTD[:, t])
            states_BTD[:, t] = state_LBD[-1]
        return states_BTD
