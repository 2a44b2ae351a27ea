"""GRU4Rec: a recurrent state that each event steps (Hidasi et al. 2016; Hidasi & Karatzoglou 2018), without torch.

Shape letters: B batch, D hidden size, V catalog size with PAD, L layers, N events, S what is kept of one layer (D, or
2 D of an LSTM).
"""

from collections.abc import Mapping

import numpy as np

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.shared import CellName
from segue.models.neural.gru_onnx import OnnxGRU
from segue.models.neural.recurrent_cells import CELLS


class NumpyGRU:
    """The trained recurrent layers, of any cell, as plain arrays; the equations stand in ``recurrent_cells.py``.

    A layer without ``input`` takes what enters as it is: there an item is a row of the input matrix itself.
    """

    timed = False

    def __init__(
        self, layers: list[dict[str, np.ndarray]], length: int, cell: CellName = "gru", inputs: int = 0
    ) -> None:
        self.inputs = inputs
        self.layers = layers
        self.length = length
        self.cell = CELLS[cell]
        self.dim = layers[0]["state"].shape[1]
        self._reader: OnnxGRU | None = None
        self._graphic = cell == "gru" and all("input" in layer for layer in layers)
        """Whether histories may be read by a graph, where onnxruntime is installed."""

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: GRU4RecConfig) -> "NumpyGRU":
        """From the names that ``arrays`` gives."""
        layers: list[dict[str, np.ndarray]] = [{} for _ in range(config.num_layers)]
        for key, value in arrays.items():
            if key.startswith("gru."):
                _, layer, name = key.split(".")
                layers[int(layer)][name] = value
        return cls(layers, config.max_length, config.cell, config.inputs)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {f"gru.{i}.{name}": value for i, layer in enumerate(self.layers) for name, value in layer.items()}

    def initial_state(self, count: int) -> np.ndarray:
        """The state of nobody who has done nothing: zeros, float32 [L, B, S]."""
        return np.zeros((len(self.layers), count, self.cell.parts * self.dim), dtype=np.float32)

    def hidden(self, state_LBS: np.ndarray) -> np.ndarray:
        """float32 [B, D]: what a state says, to be compared with the items."""
        top_BD: np.ndarray = state_LBS[-1, :, : self.dim]
        return top_BD

    def step(self, state_LBS: np.ndarray, vectors_BE: np.ndarray) -> np.ndarray:
        """The states after one more event each; the given ones are left as they are."""
        out_LBS = np.empty_like(state_LBS)
        below = vectors_BE
        for i, layer in enumerate(self.layers):
            out_LBS[i] = self.cell.step(layer, _enter(layer, below), state_LBS[i])
            below = out_LBS[i, :, : self.dim]
        return out_LBS

    def encode(self, histories: Sequences, vectors_NE: np.ndarray) -> np.ndarray:
        """float32 [B, D]: the top state after each whole history. ``vectors_NE`` are the histories' events in order."""
        lengths = histories.lengths
        if self._graphic and self._reader is None:
            try:
                self._reader = OnnxGRU(self.layers)
            except ImportError:
                self._graphic = False
        if self._reader is not None:
            return self._reader.encode(lengths, vectors_NE)
        return self._stepped(lengths, vectors_NE)

    def _stepped(self, lengths: np.ndarray, vectors_NE: np.ndarray) -> np.ndarray:
        """As ``encode``, in numpy. Rows are stepped together, the longest first, so that rows that have ended simply
        fall off the end: nothing is padded and no row ever sees another's state."""
        order = np.argsort(-lengths, kind="stable")
        first_B = (np.cumsum(lengths) - lengths)[order]
        step_T1 = np.arange(int(lengths.max(initial=0)))[:, None]
        active_TB = step_T1 < lengths[order]
        below = vectors_NE[(first_B + step_T1)[active_TB]]  # step by step: what is read together lies together
        ends = np.cumsum(active_TB.sum(axis=1)).tolist()
        state_BS = self.initial_state(len(lengths))[0]
        for number, layer in enumerate(self.layers, start=1):
            entered_NG = _enter(layer, below)
            state_BS = np.zeros_like(state_BS)
            below = np.empty((len(below) if number < len(self.layers) else 0, self.dim), dtype=np.float32)
            begin = 0
            for end in ends:
                count = end - begin
                state_BS[:count] = self.cell.step(layer, entered_NG[begin:end], state_BS[:count])
                if len(below):
                    below[begin:end] = state_BS[:count, : self.dim]
                begin = end
        out_BD = np.empty((len(lengths), self.dim), dtype=np.float32)
        out_BD[order] = state_BS[:, : self.dim]
        return out_BD


def _enter(layer: Mapping[str, np.ndarray], vectors_BE: np.ndarray) -> np.ndarray:
    """[B, G]: what an input adds to the gates."""
    entered_BG: np.ndarray = vectors_BE @ layer["input"].T if "input" in layer else vectors_BE
    return entered_BG + layer["input_bias"]
