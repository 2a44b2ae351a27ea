"""SASRec's encoder in torch (Kang & McAuley 2018), pre-norm, with learned positions counted from the oldest event."""

import torch
from torch import Tensor, nn

from segue.models.sasrec import SASRecConfig
from segue.training.nets.layers import Block, Dropout, Noise, normal_


class TransformerEncoder(nn.Module):
    """[B, T, D] embedded events, oldest first and padding behind, -> [B, T, D] what each position expects next."""

    def __init__(self, config: SASRecConfig, noise: Noise, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout, noise)
        self.position = nn.Parameter(torch.empty(config.length, config.dim))
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, 4 * config.dim, self.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        normal_(self, generator)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = self.dropout(x_BTD + self.position[: x_BTD.shape[1]])
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)
