"""Torch encoder of SASRec (Kang & McAuley 2018), pre-norm or gated, with four position encodings."""

from typing import Any

import torch
from torch import Tensor, nn

from segue.models.neural.configs.sasrec import SASRecConfig
from segue.training.nets.encoders.encoder import SequenceEncoder, column_indices
from segue.training.nets.layers.attention import BLOCKS, Attention
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_


class SASRecEncoder(SequenceEncoder):
    """Causal transformer."""

    def __init__(self, config: SASRecConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout, noise)
        self.position_encoding = config.position_encoding
        if self.position_encoding in ("learned", "reversed"):
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
        """See `SequenceEncoder`."""
        x_BTD = self.dropout(self._add_positions(x_BTD, last_B))
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)

    def last_state(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        """See `SequenceEncoder.last_state`. The last block computes this position alone."""
        x_BTD = self.dropout(self._add_positions(x_BTD, last_B))
        for block in self.blocks[:-1]:
            x_BTD = block(x_BTD)
        last: Any = self.blocks[-1]
        x_BD: Tensor = self.norm(last.last_state(x_BTD, last_B))
        return x_BD

    def _add_positions(self, x_BTD: Tensor, last_B: Tensor | None) -> Tensor:
        if self.position_encoding == "learned":
            return x_BTD + self.position[: x_BTD.shape[1]]
        if self.position_encoding == "reversed":
            return x_BTD + self.position[distance_to_last(x_BTD, last_B)]
        return x_BTD


def distance_to_last(x_BTD: Tensor, last_B: Tensor | None) -> Tensor:
    """Return the number of events between each event and the last event of its row; 0 for padding.

    Args:
        x_BTD: embedded events.
        last_B: int64, column of each row's last event; None: every row is full.

    Returns:
        int64 [B, T], or [T] without ``last_B``.
    """
    if last_B is None:
        return column_indices(x_BTD).flip(0)
    return (last_B[:, None] - column_indices(x_BTD)).clamp(min=0)
