"""Seq2SeqRec: an encoder reads the history, a decoder with attention writes the next items; settings and served form.

Shape letters: B histories, T time step, D hidden size, L layers, N events, R lists that are written, equally many for
each history and side by side, C lists of one history.
"""

from collections.abc import Mapping

import numpy as np

from segue.data.sequences import Sequences
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.neural.decoders_numpy import NumpyDecoderState, NumpyGRUDecoder, NumpyTransformerDecoder
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.transformer_numpy import causal_states

TOKENS_AT_ONCE = 16384
"""Events that are read in one go, padding included."""


class NumpySeq2Seq:
    """The trained net as plain arrays: an ``Encoder`` whose state is what the writer says first."""

    inputs = 0
    timed = False

    def __init__(self, weights: Mapping[str, np.ndarray], config: Seq2SeqConfig) -> None:
        self.weights = dict(weights)
        self.config = config
        self.length = config.max_length
        own = {name.removeprefix("writer."): v for name, v in weights.items() if name.startswith("writer.")}
        self.writer: NumpyGRUDecoder | NumpyTransformerDecoder
        if config.writer == "gru":
            self.writer = NumpyGRUDecoder(own, config.num_layers)
        else:
            self.writer = NumpyTransformerDecoder(own, config.num_layers, config.num_heads)
        self._read_with = {n.removeprefix("reader."): v for n, v in weights.items() if n.startswith("reader.")}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: Seq2SeqConfig) -> "NumpySeq2Seq":
        """From the names that ``arrays`` gives."""
        found = {name.removeprefix("net."): value for name, value in arrays.items() if name.startswith("net.")}
        return cls(found, config)

    def arrays(self) -> dict[str, np.ndarray]:
        """Every parameter with 'net.' before its name."""
        return {f"net.{name}": value for name, value in self.weights.items()}

    def encode(self, histories: Sequences, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [B, D]: what the writer says first after each whole history; rows of like length go together."""
        lengths = histories.lengths
        offsets = np.cumsum(lengths) - lengths
        order = np.argsort(-lengths, kind="stable")
        out_BD = np.empty((len(lengths), vectors_ND.shape[1]), dtype=np.float32)
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, TOKENS_AT_ONCE // int(lengths[order[start]]))]
            part = histories.take(rows)
            row_N, where_N = part.positions()
            inside_N = offsets[rows][row_N] + where_N - part.starts[row_N]
            out_BD[rows] = self.begin(part, vectors_ND[inside_N]).output_RD
            start += len(rows)
        return out_BD

    def begin(self, histories: Sequences, vectors_ND: np.ndarray) -> NumpyDecoderState:
        """Every history read, and the first step said; none of them may be empty."""
        lengths_B = histories.lengths
        row_N, where_N = histories.positions()
        x_BTD = np.zeros((len(lengths_B), int(lengths_B.max(initial=1)), vectors_ND.shape[1]), dtype=np.float32)
        x_BTD[row_N, where_N - histories.starts[row_N]] = vectors_ND
        states_BTD = self._states(x_BTD)
        return self.writer.begin(states_BTD, lengths_B, x_BTD[np.arange(len(x_BTD)), lengths_B - 1])

    def _states(self, x_BTD: np.ndarray) -> np.ndarray:
        """float32 [B, T, D]: the reader's state after each event; what stands behind a row's end is of no use."""
        if self.config.reader == "transformer":
            return causal_states(self._read_with, self.config.num_layers, self.config.num_heads, x_BTD)
        names = ("input", "state", "input_bias", "state_bias")
        layers = [{n: self._read_with[f"layers.{i}.{n}"] for n in names} for i in range(self.config.num_layers)]
        gru = NumpyGRU(layers, self.length)
        states_BTD = np.empty_like(x_BTD)
        state_LBD = gru.initial_state(len(x_BTD))
        for t in range(x_BTD.shape[1]):
            state_LBD = gru.step(state_LBD, x_BTD[:, t])
            states_BTD[:, t] = state_LBD[-1]
        return states_BTD
