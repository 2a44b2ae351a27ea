"""Recurrent cells in numpy: one step of GRU, LSTM and plain RNN (torch: ``training/nets/layers/recurrent.py``).

Shape letters: B batch, D hidden size, S state size of one layer, G all gates side by side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from segue.models.neural.configs.shared import GATES
from segue.models.numpy_layers import sigmoid

Layer = Mapping[str, np.ndarray]
"""Parameters of one layer: ``state`` [G, D], ``state_bias`` [G], ``input_bias`` [G] and, without one-hot input,
``input`` [G, E]."""


@dataclass(frozen=True)
class Cell:
    """Sizes and step function of one type of recurrent cell."""

    gates: int
    """G / D."""
    parts: int
    """S / D: number of parts of the state; the hidden state, which is the output, is the first one."""
    step: Callable[[Layer, np.ndarray, np.ndarray], np.ndarray]
    """(layer, gate inputs [B, G], state [B, S]) -> next state, float32 [B, S]."""


def gru(layer: Layer, gate_inputs_BG: np.ndarray, state_BS: np.ndarray) -> np.ndarray:
    """Step a GRU (Cho et al. 2014, eqs. 5-8; differs: the reset gate is applied behind the product).

    r = s(Wr x + Ur h), z = s(Wz x + Uz h), n = tanh(Wn x + r * (Un h)), h' = (1 - z) n + z h, with a bias beside each
    product; gates in the order r, z, n.

    Args:
        layer: parameters.
        gate_inputs_BG: float32 [B, G], ``W x + b`` of each row.
        state_BS: float32 [B, S], not written to.

    Returns:
        float32 [B, S].
    """
    # In place where possible: for the single row of a live event, allocation is half of the time.
    dim = state_BS.shape[1]
    gate_states_BG = state_BS @ layer["state"].T
    gate_states_BG += layer["state_bias"]
    gates = gate_inputs_BG[:, : 2 * dim] + gate_states_BG[:, : 2 * dim]
    sigmoid(gates, out=gates)
    proposal_BD = gates[:, :dim] * gate_states_BG[:, 2 * dim :]
    proposal_BD += gate_inputs_BG[:, 2 * dim :]
    np.tanh(proposal_BD, out=proposal_BD)
    next_BD: np.ndarray = state_BS - proposal_BD
    next_BD *= gates[:, dim:]
    next_BD += proposal_BD
    return next_BD


def lstm(layer: Layer, gate_inputs_BG: np.ndarray, state_BS: np.ndarray) -> np.ndarray:
    """Step an LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = s(W x + U h), g = tanh(W x + U h), c' = f c + i g, h' = o tanh(c'); gates in the order i, f, g, o, state
    h and then c.

    Args:
        layer: parameters.
        gate_inputs_BG: float32 [B, G], ``W x + b`` of each row.
        state_BS: float32 [B, S], not written to.

    Returns:
        float32 [B, S].
    """
    dim = state_BS.shape[1] // 2
    gates_BG = gate_inputs_BG + state_BS[:, :dim] @ layer["state"].T + layer["state_bias"]
    input_BD, forget_BD = (sigmoid(gates_BG[:, i * dim : (i + 1) * dim]) for i in (0, 1))
    memory_BD = forget_BD * state_BS[:, dim:] + input_BD * np.tanh(gates_BG[:, 2 * dim : 3 * dim])
    return np.concatenate([sigmoid(gates_BG[:, 3 * dim :]) * np.tanh(memory_BD), memory_BD], axis=1)


def rnn(layer: Layer, gate_inputs_BG: np.ndarray, state_BS: np.ndarray) -> np.ndarray:
    """Step a plain RNN: h' = tanh(W x + U h) (Elman 1990).

    Args:
        layer: parameters.
        gate_inputs_BG: float32 [B, G], ``W x + b`` of each row.
        state_BS: float32 [B, S], not written to.

    Returns:
        float32 [B, S].
    """
    next_BD: np.ndarray = np.tanh(gate_inputs_BG + state_BS @ layer["state"].T + layer["state_bias"])
    return next_BD


CELLS: dict[str, Cell] = {
    "gru": Cell(GATES["gru"], 1, gru),
    "lstm": Cell(GATES["lstm"], 2, lstm),
    "rnn": Cell(GATES["rnn"], 1, rnn),
}
"""Recurrent cells by their name in the settings."""
