"""BERT4Rec's encoder in torch (Sun et al. 2019): every event sees all others, and hidden ones are asked for."""

import torch
from torch import Tensor, nn

from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.training.nets.encoders.encoder import EncoderBatch, SequenceEncoder, column_indices
from segue.training.nets.layers.attention import Attention, TransformerBlock
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_, select_column
from segue.training.tasks import MaskedItemTask


class BERT4RecEncoder(SequenceEncoder):
    """What comes next is what a mask behind the newest event hides.

    Two ways we differ from the paper, since a mask has nothing but its place to go by: places are counted from the
    newest event, so that the one asked for is always the same, and attention sees distances too (rotary). Blocks are
    pre-norm.
    """

    def __init__(self, config: BERT4RecConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.share, self.last_share = config.mask_probability, config.last_mask_probability
        self.dropout = Dropout(config.dropout, noise)
        self.mask = nn.Parameter(torch.empty(1, config.embedding_dim))
        self.position = nn.Parameter(torch.empty(config.max_length + 1, config.embedding_dim))
        self.blocks = nn.ModuleList(
            TransformerBlock(
                Attention(config.embedding_dim, config.num_heads, causal=False, rotary=True),
                config.embedding_dim,
                4 * config.embedding_dim,
                self.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.embedding_dim)
        normal_(self, generator)

    def task(self, length: int) -> MaskedItemTask:
        return MaskedItemTask(length, self.share, self.last_share)

    def forward(self, x_BTD: Tensor, hidden_BT: Tensor, inside_BT: Tensor) -> Tensor:
        """[B, T, D]: the state of every position, of which those in ``hidden_BT`` show the mask, and those outside
        of ``inside_BT`` (padding) are seen by nobody."""
        place = (inside_BT.sum(dim=1, keepdim=True) - 1 - column_indices(x_BTD)).clamp(min=0)
        x_BTD = torch.where(hidden_BT[..., None], self.mask.to(x_BTD.dtype), x_BTD)
        x_BTD = self.dropout(x_BTD + self.position[place])
        for block in self.blocks:
            x_BTD = block(x_BTD, inside_BT)
        return self.norm(x_BTD)

    def states(self, x_BTD: Tensor, steps: EncoderBatch) -> Tensor:
        hidden_BTD = self(x_BTD, steps.is_target_BT, steps.is_event_BT | steps.is_target_BT)
        return hidden_BTD[steps.is_target_BT]

    def newest(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        longer_BTD = torch.cat([x_BTD, torch.zeros_like(x_BTD[:, :1])], dim=1)
        next_B1 = last_B[:, None] + 1
        column_T = column_indices(longer_BTD)
        hidden_BTD = self(longer_BTD, column_T == next_B1, column_T <= next_B1)
        return select_column(hidden_BTD, last_B + 1)
