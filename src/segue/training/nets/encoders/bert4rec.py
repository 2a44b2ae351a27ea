"""Torch encoder of BERT4Rec (Sun et al. 2019): attention in both directions, trained on masked events."""

import torch
from torch import Tensor, nn

from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.training.nets.encoders.encoder import EncoderBatch, SequenceEncoder, column_indices
from segue.training.nets.layers.attention import Attention, TransformerBlock
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_, select_column
from segue.training.tasks import MaskedItemTask


class BERT4RecEncoder(SequenceEncoder):
    """Bidirectional transformer; the next item is predicted at a mask after the last event.

    Differs from the paper, since a mask has only its position: positions are counted from the last event, so that the
    predicted one is always the same, and attention is rotary, so that it depends on distances. Blocks are pre-norm.
    """

    def __init__(self, config: BERT4RecConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.mask_probability, self.last_mask_probability = config.mask_probability, config.last_mask_probability
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
        """Return the masked-item task, in windows of ``length`` events."""
        return MaskedItemTask(length, self.mask_probability, self.last_mask_probability)

    def forward(self, x_BTD: Tensor, masked_BT: Tensor, inside_BT: Tensor) -> Tensor:
        """Return the hidden state at every position.

        Args:
            x_BTD: embedded events, oldest first and padding at the end.
            masked_BT: bool, positions whose event is replaced by the mask.
            inside_BT: bool, False for padding, which is not attended to.

        Returns:
            [B, T, D].
        """
        position_BT = (inside_BT.sum(dim=1, keepdim=True) - 1 - column_indices(x_BTD)).clamp(min=0)
        x_BTD = torch.where(masked_BT[..., None], self.mask.to(x_BTD.dtype), x_BTD)
        x_BTD = self.dropout(x_BTD + self.position[position_BT])
        for block in self.blocks:
            x_BTD = block(x_BTD, inside_BT)
        return self.norm(x_BTD)

    def target_states(self, x_BTD: Tensor, batch: EncoderBatch) -> Tensor:
        """See `SequenceEncoder.target_states`."""
        hidden_BTD = self(x_BTD, batch.is_target_BT, batch.is_event_BT | batch.is_target_BT)
        return hidden_BTD[batch.is_target_BT]

    def last_state(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        """See `SequenceEncoder.last_state`. The state of a mask after the last event."""
        extended_BTD = torch.cat([x_BTD, torch.zeros_like(x_BTD[:, :1])], dim=1)
        next_B1 = last_B[:, None] + 1
        column_T = column_indices(extended_BTD)
        hidden_BTD = self(extended_BTD, column_T == next_B1, column_T <= next_B1)
        return select_column(hidden_BTD, last_B + 1)
