"""The recurrent cells in numpy: one event into a state. Their torch twins: ``training/nets/layers/recurrent.py``.

Shape letters: B batch, D hidden size, S what is kept of one layer between two events, G all gates side by side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from segue.models.neural.configs.shared import GATES

Layer = Mapping[str, np.ndarray]
"""The parameters of one layer: ``state`` [G, D], ``state_bias`` [G], and what lets its input enter."""


@dataclass(frozen=True)
class Cell:
    """One kind of cell."""

    gates: int
    """G / D."""
    parts: int
    """S / D: the hidden state, which is also what comes out, stands first."""
    step: Callable[[Layer, np.ndarray, np.ndarray], np.ndarray]
    """(layer, what the input adds to the gates [B, G], state [B, S]) -> the state after it, float32 [B, S]."""


def gru(layer: Layer, entered_BG: np.ndarray, state_BS: np.ndarray) -> np.ndarray:
    """r = s(Wr x + Ur h), z = s(Wz x + Uz h), n = tanh(Wn x + r * (Un h)), h' = (1 - z) n + z h, with a bias beside
    each product (Cho et al. 2014, eqs. 5-8, the reset gate applied behind the product); gates in that order."""
    # In place wherever a value is not needed again: a live event is a row of one, where making arrays is half the work.
    dim = state_BS.shape[1]
    kept_BG = state_BS @ layer["state"].T
    kept_BG += layer["state_bias"]
    gates = entered_BG[:, : 2 * dim] + kept_BG[:, : 2 * dim]
    _sigmoid(gates, out=gates)
    fresh_BD = gates[:, :dim] * kept_BG[:, 2 * dim :]
    fresh_BD += entered_BG[:, 2 * dim :]
    np.tanh(fresh_BD, out=fresh_BD)
    moved: np.ndarray = state_BS - fresh_BD
    moved *= gates[:, dim:]
    moved += fresh_BD
    return moved


def lstm(layer: Layer, entered_BG: np.ndarray, state_BS: np.ndarray) -> np.ndarray:
    """i, f, o = s(W x + U h), g = tanh(W x + U h), c' = f c + i g, h' = o tanh(c') (Hochreiter & Schmidhuber 1997, with
    the forget gate of Gers et al. 2000); gates in the order i, f, g, o, state h and then c."""
    dim = state_BS.shape[1] // 2
    gates_BG = entered_BG + state_BS[:, :dim] @ layer["state"].T + layer["state_bias"]
    enter_BD, forget_BD = (_sigmoid(gates_BG[:, i * dim : (i + 1) * dim]) for i in (0, 1))
    memory_BD = forget_BD * state_BS[:, dim:] + enter_BD * np.tanh(gates_BG[:, 2 * dim : 3 * dim])
    return np.concatenate([_sigmoid(gates_BG[:, 3 * dim :]) * np.tanh(memory_BD), memory_BD], axis=1)


def rnn(layer: Layer, entered_BG: np.ndarray, state_BS: np.ndarray) -> np.ndarray:
    """h' = tanh(W x + U h) (Elman 1990)."""
    moved: np.ndarray = np.tanh(entered_BG + state_BS @ layer["state"].T + layer["state_bias"])
    return moved


CELLS: dict[str, Cell] = {
    "gru": Cell(GATES["gru"], 1, gru),
    "lstm": Cell(GATES["lstm"], 2, lstm),
    "rnn": Cell(GATES["rnn"], 1, rnn),
}
"""The one table of cells."""


def _sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """1 / (1 + exp(-x)), written with tanh, which cannot overflow."""
    half = np.multiply(x, np.float32(0.5), out=out)
    np.tanh(half, out=half)
    half *= np.float32(0.5)
    half += np.float32(0.5)
    return half
