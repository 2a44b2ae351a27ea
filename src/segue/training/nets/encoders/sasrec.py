"""SASRec's encoder in torch (Kang & McAuley 2018), pre-norm or gated, with four ways to tell positions apart."""

from typing import Any

import torch
from torch import Tensor, nn

from segue.models.neural.configs.sasrec import SASRecConfig
from segue.training.nets.encoders.encoder import SequenceEncoder, column_indices
from segue.training.nets.layers.attention import BLOCKS, Attention
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_


class SASRecEncoder(SequenceEncoder):
    """[B, T, D] embedded events, oldest first and padding behind, -> [B, T, D] what each position expects next."""

    def __init__(self, config: SASRecConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout, noise)
        self.positions = config.position_encoding
        if config.position_encoding in ("learned", "reversed"):
            self.position = nn.Parameter(torch.empty(config.max_length, config.embedding_dim))
        self.blocks = nn.ModuleList(
            BLOCKS[config.block_type](
                Attention(config.embedding_dim, config.num_heads, rotary=config.position_encoding == "rotary"),
                config.embedding_dim,
                4 * config.embedding_dim,
                self.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.embedding_dim)
        normal_(self, generator)

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None) -> Tensor:
        x_BTD = self.dropout(self._placed(x_BTD, last_B))
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)

    def newest(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        """[B, D]: as ``forward``; in the last block the other positions are only looked at."""
        x_BTD = self.dropout(self._placed(x_BTD, last_B))
        for block in self.blocks[:-1]:
            x_BTD = block(x_BTD)
        last: Any = self.blocks[-1]
        x_BD: Tensor = self.norm(last.newest(x_BTD, last_B))
        return x_BD

    def _placed(self, x_BTD: Tensor, last_B: Tensor | None) -> Tensor:
        if self.positions == "learned":
            return x_BTD + self.position[: x_BTD.shape[1]]
        if self.positions == "reversed":
            return x_BTD + self.position[distance_to_last(x_BTD, last_B)]
        return x_BTD


def distance_to_last(x_BTD: Tensor, last_B: Tensor | None) -> Tensor:
    """int64 [B, T] or [T]: how many events lie between each one and its row's newest; 0 for padding."""
    if last_B is None:
        return column_indices(x_BTD).flip(0)
    return (last_B[:, None] - column_indices(x_BTD)).clamp(min=0)
