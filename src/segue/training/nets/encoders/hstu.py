"""HSTU's encoder in torch (Zhai et al. 2024, "Actions Speak Louder than Words", section 3.2).

Shape letters as in ``layers.py``; S = T + 1 moments, L distances, G buckets of gaps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.sequences import NO_TIME
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.neural.time_features import GAP_STEP, NUM_GAP_BUCKETS
from segue.training.nets.encoders.encoder import EncoderBatch, SequenceEncoder
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_, select_column
from segue.training.nets.layers.pointwise_attention import PointwiseAttention, pointwise_attention


class HSTULayer(nn.Module):
    """x + f2(norm(A V) * U), where U, V, Q, K = silu(f1(norm x)) and A = silu(Q K^T + what distance and gap add),
    causal (eqs. 1-3). No softmax: how much there is to attend to stays visible until the norm."""

    def __init__(self, config: HSTUConfig, dropout: Dropout) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.norm = nn.LayerNorm(config.embedding_dim)
        self.project = nn.Linear(config.embedding_dim, 4 * config.embedding_dim)
        self.near = nn.Parameter(torch.empty(config.max_length))
        self.gap = nn.Parameter(torch.empty(NUM_GAP_BUCKETS))
        self.norm_mixed = nn.LayerNorm(config.embedding_dim)
        self.merge = nn.Linear(config.embedding_dim, config.embedding_dim)
        self.dropout = dropout

    def forward(self, x_BTD: Tensor, bucket_BTT: Tensor | None) -> Tensor:
        batch, time, dim = x_BTD.shape
        parts = F.silu(self.project(self.norm(x_BTD))).view(batch, time, 4, self.heads, dim // self.heads)
        u, q, k, v = parts.permute(2, 0, 3, 1, 4)
        attend = PointwiseAttention.apply if self.training else pointwise_attention
        mixed = attend(q, k, v, self.near, self.gap, bucket_BTT).transpose(1, 2).reshape(batch, time, dim)
        gate = u.transpose(1, 2).reshape(batch, time, dim)
        return x_BTD + self.merge(self.dropout(self.norm_mixed(mixed) * gate))


class HSTUEncoder(SequenceEncoder):
    """[B, T, D] embedded events, oldest first and padding behind, -> [B, T, D] what each position expects next.

    A position sees how long before it, or with ``target_time`` before the moment of asking, every event was. Since the
    norm in a layer takes away how much was attended to, which alone tells how long ago the only event of a history was,
    the wait from each event to the moment of asking also adds a vector to it; there we differ from the paper.
    """

    timed = True

    def __init__(self, config: HSTUConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.target_time = config.target_time
        self.dropout = Dropout(config.dropout, noise)
        self.layers = nn.ModuleList(HSTULayer(config, self.dropout) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.embedding_dim)
        normal_(self, generator)
        if config.target_time:
            self.wait = nn.Parameter(torch.zeros(NUM_GAP_BUCKETS, config.embedding_dim))

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None, times_BS: Tensor | None = None) -> Tensor:
        bucket_BTT = None if times_BS is None else self._buckets(times_BS)
        if bucket_BTT is not None and self.target_time:
            x_BTD = x_BTD + self.wait[bucket_BTT.diagonal(dim1=1, dim2=2).long()]
        x_BTD = self.dropout(x_BTD)
        for layer in self.layers:
            x_BTD = layer(x_BTD, bucket_BTT)
        return self.norm(x_BTD)

    def _buckets(self, times_BS: Tensor) -> Tensor:
        """int32 [B, T, T]: the bucket of the time from event s to where position t stands; 0 where it is unknown."""
        then_BT = times_BS[:, :-1]
        here_BT = times_BS[:, 1:] if self.target_time else then_BT
        # In place: a batch of long windows has a million gaps, and memory is slower than logarithms.
        gap_BTT = (here_BT[:, :, None] - then_BT[:, None, :]).float().mul_(1e-6).clamp_(min=0)
        number_BTT = gap_BTT.log1p_().mul_(1 / GAP_STEP).add_(1).clamp_(max=NUM_GAP_BUCKETS - 1)
        number_BTT.mul_((here_BT != NO_TIME).float()[:, :, None]).mul_((then_BT != NO_TIME).float()[:, None, :])
        return number_BTT.to(torch.int32)

    def states(self, x_BTD: Tensor, steps: EncoderBatch) -> Tensor:
        return self(x_BTD, None, steps.times_BS)[steps.is_target_BT]

    def newest(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        return select_column(self(x_BTD, last_B, times_BS), last_B)
