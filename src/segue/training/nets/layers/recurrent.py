"""The recurrent layers in torch: a GRU with a gradient written by hand, an LSTM and a plain RNN step by step.

The equations stand beside their numpy twins, in ``models/neural/recurrent_cells.py``.
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
    """One layer of a cell over whole rows of events.

    ``looked_up``: there is no input matrix, what enters is a row of it already, [.., G] wide.
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
        """[B, T, D] of each part of the state after every event, the hidden state first, from ``start_BS`` on (None:
        zeros). No gradient goes back into the start."""
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
        entered_BTG = (x_BTE if self.input is None else F.linear(x_BTE, self.input)).float() + self.input_bias
        if start_BS is None:
            start_BS = entered_BTG.new_zeros(len(x_BTE), CELLS[self.cell].parts * dim)
        parts = list(start_BS.split(dim, dim=1))
        after = []
        for entered_BG in entered_BTG.unbind(1):
            parts = step(entered_BG + F.linear(parts[0], self.state).float() + self.state_bias, parts)
            after.append(parts)
        return [torch.stack(states, dim=1) for states in zip(*after, strict=True)]


def _lstm(gates_BG: Tensor, parts: list[Tensor]) -> list[Tensor]:
    enter_BD, forget_BD, fresh_BD, out_BD = gates_BG.chunk(4, dim=1)
    memory_BD = forget_BD.sigmoid() * parts[1] + enter_BD.sigmoid() * fresh_BD.tanh()
    return [out_BD.sigmoid() * memory_BD.tanh(), memory_BD]


def _rnn(gates_BG: Tensor, parts: list[Tensor]) -> list[Tensor]:
    return [gates_BG.tanh()]
