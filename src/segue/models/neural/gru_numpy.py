"""Recurrent encoder of GRU4Rec in numpy (Hidasi et al. 2016; Hidasi & Karatzoglou 2018).

Shape letters: B batch, D hidden size, E input size, G gates side by side, L layers, N events, R lists, S state size of
one layer (D, or 2 D of an LSTM).
"""

from collections.abc import Mapping

import numpy as np

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.shared import CellName
from segue.models.neural.gru_onnx import OnnxGRU
from segue.models.neural.recurrent_cells import CELLS


class NumpyGRU:
    """Trained recurrent layers of any cell; the equations are in ``recurrent_cells.py``.

    A layer without ``input`` takes its input as gate inputs: with one-hot input, the item row is a row of the input
    matrix. Implements ``IncrementalEncoder``.
    """

    uses_times = False

    def __init__(
        self,
        layers: list[dict[str, np.ndarray]],
        max_length: int,
        cell: CellName = "gru",
        num_input_columns: int = 0,
    ) -> None:
        self.num_input_columns = num_input_columns
        self.layers = layers
        self.max_length = max_length
        self.cell = CELLS[cell]
        self.dim = layers[0]["state"].shape[1]
        self._onnx: OnnxGRU | None = None
        self._may_use_onnx = cell == "gru" and all("input" in layer for layer in layers)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: GRU4RecConfig) -> "NumpyGRU":
        """Restore the encoder of an artifact.

        Args:
            arrays: tensors of the artifact, ``gru.{layer}.{name}`` among them.
            config: settings of the model.
        """
        layers: list[dict[str, np.ndarray]] = [{} for _ in range(config.num_layers)]
        for key, value in arrays.items():
            if key.startswith("gru."):
                _, position, name = key.split(".")
                layers[int(position)][name] = value
        cell = CELLS[config.cell]
        width = layers[0]["input"].shape[1] if "input" in layers[0] else 0
        for number, layer in enumerate(layers):
            gates, dim = layer["state"].shape
            shapes = {"state": (cell.gates * dim, dim), "input_bias": (gates,), "state_bias": (gates,)}
            if number or width:
                shapes["input"] = (gates, dim if number else width)
            if {name: value.shape for name, value in layer.items()} != shapes or dim != layers[0]["state"].shape[1]:
                raise ValueError(f"The tensors of layer {number} of the GRU do not fit each other.")
        return cls(layers, config.max_length, config.cell, config.num_input_columns)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``gru.{layer}.{name}``."""
        return {f"gru.{i}.{name}": value for i, layer in enumerate(self.layers) for name, value in layer.items()}

    def initial_state(self, count: int) -> np.ndarray:
        """Return the state of ``count`` empty histories: zeros, float32 [L, B, S]."""
        return np.zeros((len(self.layers), count, self.cell.parts * self.dim), dtype=np.float32)

    def step(self, state_LBS: np.ndarray, inputs_BE: np.ndarray) -> np.ndarray:
        """Return the states after one more event in each row.

        Args:
            state_LBS: float32 [L, B, S], not written to.
            inputs_BE: float32 [B, E], input embeddings of the events.

        Returns:
            float32 [L, B, S].
        """
        out_LBS = np.empty_like(state_LBS)
        below = inputs_BE
        for i, layer in enumerate(self.layers):
            out_LBS[i] = self.cell.step(layer, _gate_inputs(layer, below), state_LBS[i])
            below = out_LBS[i, :, : self.dim]
        return out_LBS

    def begin(self, histories: Sequences, inputs_NE: np.ndarray) -> np.ndarray:
        """Return the state after each history, stepped from its oldest event on.

        Args:
            histories: B histories.
            inputs_NE: float32 [N, E], input embeddings of their events in order.

        Returns:
            float32 [L, B, S].
        """
        ends_B = np.cumsum(histories.lengths)
        state_LBS = self.initial_state(len(histories))
        for left in range(int(histories.lengths.max()), 0, -1):
            row = np.flatnonzero(histories.lengths >= left)
            state_LBS[:, row] = self.step(state_LBS[:, row], inputs_NE[ends_B[row] - left])
        return state_LBS

    def extend(self, state_LBS: np.ndarray, parents_R: np.ndarray, inputs_RE: np.ndarray) -> np.ndarray:
        """See ``IncrementalEncoder.extend``; events beyond ``max_length`` are not forgotten."""
        return self.step(state_LBS[:, parents_R], inputs_RE)

    def hidden(self, state_LBS: np.ndarray) -> np.ndarray:
        """Return the hidden states of the top layer, float32 [B, D]."""
        top_BD: np.ndarray = state_LBS[-1, :, : self.dim]
        return top_BD

    def encode(self, histories: Sequences, inputs_NE: np.ndarray) -> np.ndarray:
        """See ``Encoder.encode``. Runs in onnxruntime where it is installed and the cell is a GRU."""
        lengths = histories.lengths
        if self._may_use_onnx and self._onnx is None:
            try:
                self._onnx = OnnxGRU(self.layers)
            except ImportError:
                self._may_use_onnx = False
        if self._onnx is not None:
            return self._onnx.encode(lengths, inputs_NE)
        return self._encode_in_numpy(lengths, inputs_NE)

    def _encode_in_numpy(self, lengths: np.ndarray, inputs_NE: np.ndarray) -> np.ndarray:
        """Return the same as ``encode``. Rows are stepped together, longest first, and leave the batch at its end.

        So nothing is padded, and no row depends on another row.
        """
        order = np.argsort(-lengths, kind="stable")
        first_B = (np.cumsum(lengths) - lengths)[order]
        step_T1 = np.arange(int(lengths.max(initial=0)))[:, None]
        is_active_TB = step_T1 < lengths[order]
        below = inputs_NE[(first_B + step_T1)[is_active_TB]]  # events of one step are adjacent in memory
        stops = np.cumsum(is_active_TB.sum(axis=1)).tolist()
        state_BS = self.initial_state(len(lengths))[0]
        for number, layer in enumerate(self.layers, start=1):
            gate_inputs_NG = _gate_inputs(layer, below)
            state_BS = np.zeros_like(state_BS)
            below = np.empty((len(below) if number < len(self.layers) else 0, self.dim), dtype=np.float32)
            start = 0
            for stop in stops:
                count = stop - start
                state_BS[:count] = self.cell.step(layer, gate_inputs_NG[start:stop], state_BS[:count])
                if len(below):
                    below[start:stop] = state_BS[:count, : self.dim]
                start = stop
        out_BD = np.empty((len(lengths), self.dim), dtype=np.float32)
        out_BD[order] = state_BS[:, : self.dim]
        return out_BD


def _gate_inputs(layer: Mapping[str, np.ndarray], inputs_BE: np.ndarray) -> np.ndarray:
    """Return the input's part of the gates, W x + b: [B, G]."""
    gate_inputs_BG: np.ndarray = inputs_BE @ layer["input"].T if "input" in layer else inputs_BE
    return gate_inputs_BG + layer["input_bias"]
