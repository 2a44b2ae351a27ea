"""GRU4Rec's encoder in torch (Hidasi et al. 2016; the cell of Cho et al. 2014, reset behind the product)."""

import torch
from torch import Tensor, nn

from segue.models.gru4rec import GRU4RecConfig
from segue.training.nets.encoder import Encoder
from segue.training.nets.layers import Dropout, Noise, xavier_uniform_
from segue.training.nets.recurrence import Recurrence


class GruLayer(nn.Module):
    """One layer; gates lie in the order reset, update, candidate."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(3 * dim, dim))
        self.state = nn.Parameter(torch.empty(3 * dim, dim))
        self.input_bias = nn.Parameter(torch.empty(3 * dim))
        self.state_bias = nn.Parameter(torch.empty(3 * dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        dtype = torch.bfloat16 if torch.is_autocast_enabled(x_BTD.device.type) else torch.float32
        x_TBD = x_BTD.float().transpose(0, 1).contiguous()
        states: Tensor = Recurrence.apply(x_TBD, self.input, self.state, self.input_bias, self.state_bias, dtype)
        return states.transpose(0, 1)


class GruEncoder(Encoder):
    """[B, T, D] embedded events, oldest first and padding behind, -> [B, T, D] the state after each event.

    Every row starts from a zero state, so no session ever sees another one's.
    """

    def __init__(self, config: GRU4RecConfig, noise: Noise, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout_input = Dropout(config.dropout_input, noise)
        self.dropout_hidden = Dropout(config.dropout_hidden, noise)
        self.layers = nn.ModuleList(GruLayer(config.dim) for _ in range(config.layers))
        xavier_uniform_(self, generator)

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None) -> Tensor:
        x_BTD = self.dropout_input(x_BTD)
        for layer in self.layers:
            x_BTD = self.dropout_hidden(layer(x_BTD))
        return x_BTD
