"""Recurrent layers in torch: a GRU with a gradient written by hand, an LSTM and a plain RNN step by step.

The equations stand beside the numpy cells, in ``models/neural/recurrent_cells.py``.
Shape letters: B batch, T time step, D hidden size, E width of the input, G all gates side by side, S
state size kept between two events.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.neural.configs.shared import CellName
from segue.models.neural.recurrent_cells import CELLS
from segue.training.nets.layers.gru_autograd import GRUFunction


class RecurrentLayer(nn.Module):
    """One layer of a recurrent cell over whole rows of events.

    With ``looked_up`` there is no input matrix: the inputs are rows of it already, [.., G] wide.
    """

    def __init__(self, cell: CellName, dim: int, *, looked_up: bool = False) -> None:
        super().__init__()
        gates = CELLS[cell].gates
        self.cell = cell
        self.input = None if looked_up else nn.Parameter(torch.empty(gates * dim, dim))
        self.state = nn.Parameter(torch.empty(gates * dim, dim))
        self.input_bias = nn.Parameter(torch.empty(gates * dim))
        self.state_bias = nn.Parameter(torch.empty(gates * dim))

    def forward(self, x_BTE: Tensor, start_BS: Tensor | None = None) -> list[Tensor]:
        """Return each part of the state after every event, the hidden state first.

        Args:
            x_BTE: embedded events.
            start_BS: initial state, which gets no gradient; None: zeros.

        Returns:
            One [B, T, D] per part of the state.
        """
        if self.cell != "gru":
            return self._step_by_step(x_BTE, start_BS)
        dtype = torch.bfloat16 if torch.is_autocast_enabled(x_BTE.device.type) else torch.float32
        x_TBE = x_BTE.float().transpose(0, 1).contiguous()
        states: Tensor = GRUFunction.apply(
            x_TBE, self.input, self.state, self.input_bias, self.state_bias, dtype, start_BS
        )
        return [states.transpose(0, 1)]

    def _step_by_step(self, x_BTE: Tensor, start_BS: Tensor | None) -> list[Tensor]:
        dim = self.state.shape[1]
        step = {"lstm": _lstm, "rnn": _rnn}[self.cell]
        gate_inputs_BTG = (x_BTE if self.input is None else F.linear(x_BTE, self.input)).float() + self.input_bias
        if start_BS is None:
            start_BS = gate_inputs_BTG.new_zeros(len(x_BTE), CELLS[self.cell].parts * dim)
        parts = list(start_BS.split(dim, dim=1))
        states_T = []
        for gate_inputs_BG in gate_inputs_BTG.unbind(1):
            parts = step(gate_inputs_BG + F.linear(parts[0], self.state).float() + self.state_bias, parts)
            states_T.append(parts)
        return [torch.stack(states, dim=1) for states in zip(*states_T, strict=True)]


def _lstm(gates_BG: Tensor, parts: list[Tensor]) -> list[Tensor]:
    input_BD, forget_BD, candidate_BD, out_BD = gates_BG.chunk(4, dim=1)
    cell_BD = forget_BD.sigmoid() * parts[1] + input_BD.sigmoid() * candidate_BD.tanh()
    return [out_BD.sigmoid() * cell_BD.tanh(), cell_BD]


def _rnn(gates_BG: Tensor, parts: list[Tensor]) -> list[Tensor]:
    return [gates_BG.tanh()]
