"""GRU4Rec: a recurrent state that each event steps (Hidasi et al. 2016; Hidasi & Karatzoglou 2018), served by numpy.

Shape letters: B batch, D hidden size, V catalogue size with PAD, L layers, N events.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segue.data.sequences import Sequences
from segue.models.clock import TimeConfig


@dataclass(frozen=True)
class GRU4RecConfig(TimeConfig):
    """The shape of the network."""

    dim: int = 64
    """Width of item vectors and of the recurrent state."""
    layers: int = 1
    """GRU layers on top of each other."""
    length: int = 50
    """The newest events of a history that are read when it is scored from scratch, and the longest training window."""
    dropout_input: float = 0.0
    """On the embedded input."""
    dropout_hidden: float = 0.1
    """On each layer's states."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item, as published."""
    spectral_start: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    prior: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim < 1 or self.layers < 1 or self.length < 1:
            raise ValueError(
                f"dim, layers and length must be at least 1, got {self.dim}, {self.layers}, {self.length}."
            )
        for name in ("dropout_input", "dropout_hidden"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")


class GruArrays:
    """The trained recurrent layers as plain arrays; gates lie in the order reset, update, candidate.

    r = s(Wr x + Ur h), z = s(Wz x + Uz h), n = tanh(Wn x + r * (Un h)), h' = (1 - z) n + z h, with a bias beside each
    product (Cho et al. 2014, eqs. 5-8, the reset gate applied behind the product).
    """

    def __init__(self, layers: list[dict[str, np.ndarray]], length: int) -> None:
        self.layers = layers
        self.length = length

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: GRU4RecConfig) -> "GruArrays":
        """From the names that ``arrays`` gives."""
        names = ("input", "state", "input_bias", "state_bias")
        layers = [{name: arrays[f"gru.{i}.{name}"] for name in names} for i in range(config.layers)]
        return cls(layers, config.length)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {f"gru.{i}.{name}": value for i, layer in enumerate(self.layers) for name, value in layer.items()}

    def start(self, count: int) -> np.ndarray:
        """The state of nobody who has done nothing: zeros, float32 [L, B, D]."""
        return np.zeros((len(self.layers), count, self.layers[0]["state"].shape[1]), dtype=np.float32)

    def step(self, state_LBD: np.ndarray, vectors_BD: np.ndarray) -> np.ndarray:
        """The states after one more event each; the given ones are left as they are."""
        out_LBD = np.empty_like(state_LBD)
        below_BD = vectors_BD
        for i, layer in enumerate(self.layers):
            entered = below_BD @ layer["input"].T + layer["input_bias"]
            below_BD = out_LBD[i] = _cell(layer, entered, state_LBD[i])
        return out_LBD

    def encode(self, histories: Sequences, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [B, D]: the top state after each whole history. ``vectors_ND`` are the histories' events in order.

        Rows are stepped together, the longest first, so that rows that have ended simply fall off the end: nothing is
        padded and no row ever sees another's state.
        """
        lengths = histories.lengths
        order = np.argsort(-lengths, kind="stable")
        offsets = np.cumsum(lengths) - lengths
        active = [int((lengths > t).sum()) for t in range(int(lengths.max(initial=0)))]
        below_ND = vectors_ND
        state_BD = np.zeros((len(lengths), self.layers[0]["state"].shape[1]), dtype=np.float32)
        for layer in self.layers:
            entered_NG = below_ND @ layer["input"].T + layer["input_bias"]
            state_BD = np.zeros_like(state_BD)
            above_ND = np.empty((len(below_ND), state_BD.shape[1]), dtype=np.float32)
            for t, count in enumerate(active):
                where = offsets[order[:count]] + t
                state_BD[:count] = _cell(layer, entered_NG[where], state_BD[:count])
                above_ND[where] = state_BD[:count]
            below_ND = above_ND
        out_BD = np.empty_like(state_BD)
        out_BD[order] = state_BD
        return out_BD


def _cell(layer: Mapping[str, np.ndarray], entered_BG: np.ndarray, state_BD: np.ndarray) -> np.ndarray:
    dim = state_BD.shape[1]
    kept_BG = state_BD @ layer["state"].T + layer["state_bias"]
    gates = _sigmoid(entered_BG[:, : 2 * dim] + kept_BG[:, : 2 * dim])
    reset_BD, update_BD = gates[:, :dim], gates[:, dim:]
    fresh_BD = np.tanh(entered_BG[:, 2 * dim :] + reset_BD * kept_BG[:, 2 * dim :])
    moved: np.ndarray = fresh_BD + update_BD * (state_BD - fresh_BD)
    return moved


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), written with tanh, which cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5
