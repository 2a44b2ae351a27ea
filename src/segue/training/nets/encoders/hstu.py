"""Torch encoder of HSTU (Zhai et al. 2024, "Actions Speak Louder than Words", section 3.2).

Shape letters as in ``layers/basic.py``; S = T + 1 timestamps, L distances, G buckets of gaps.
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
    """Causal HSTU layer: x + f2(norm(A V) * U), where U, V, Q, K = silu(f1(norm x)) (eqs. 1-3).

    A = silu(Q K^T + bias of distance + bias of time gap). Without a softmax, the total weight of the attended events
    stays in the output until the norm.
    """

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
        """Return the output at every position.

        Args:
            x_BTD: embedded events, oldest first.
            bucket_BTT: int32, bucket of the time gap between two events; None: no timestamps.

        Returns:
            [B, T, D].
        """
        batch, time, dim = x_BTD.shape
        parts = F.silu(self.project(self.norm(x_BTD))).view(batch, time, 4, self.heads, dim // self.heads)
        u, q, k, v = parts.permute(2, 0, 3, 1, 4)
        attend = PointwiseAttention.apply if self.training else pointwise_attention
        attended = attend(q, k, v, self.near, self.gap, bucket_BTT).transpose(1, 2).reshape(batch, time, dim)
        gate = u.transpose(1, 2).reshape(batch, time, dim)
        return x_BTD + self.merge(self.dropout(self.norm_mixed(attended) * gate))


class HSTUEncoder(SequenceEncoder):
    """Stack of HSTU layers with time gaps from each event to the position, or to the target with ``target_time``.

    The norm in a layer removes the total weight of attention, and with it the age of the only event of a history. With
    ``target_time``, the bucket of the gap between each event and the next timestamp therefore also adds an embedding
    to the event; differs from the paper.
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
        """Return the hidden state at every position.

        Args:
            x_BTD: embedded events, oldest first and padding at the end.
            last_B: ignored; states depend on earlier events alone.
            times_BS: int64 UTC microseconds of the inputs and of the target; None: unknown.

        Returns:
            [B, T, D].
        """
        bucket_BTT = None if times_BS is None else self._buckets(times_BS)
        if bucket_BTT is not None and self.target_time:
            x_BTD = x_BTD + self.wait[bucket_BTT.diagonal(dim1=1, dim2=2).long()]
        x_BTD = self.dropout(x_BTD)
        for layer in self.layers:
            x_BTD = layer(x_BTD, bucket_BTT)
        return self.norm(x_BTD)

    def _buckets(self, times_BS: Tensor) -> Tensor:
        """Return the bucket of the time from event s to the time of position t, int32 [B, T, T]; 0 if unknown."""
        event_BT = times_BS[:, :-1]
        now_BT = times_BS[:, 1:] if self.target_time else event_BT
        # In place: a batch of long windows has 1e6 gaps, and memory is slower than logarithms.
        gap_BTT = (now_BT[:, :, None] - event_BT[:, None, :]).float().mul_(1e-6).clamp_(min=0)
        bucket_BTT = gap_BTT.log1p_().mul_(1 / GAP_STEP).add_(1).clamp_(max=NUM_GAP_BUCKETS - 1)
        bucket_BTT.mul_((now_BT != NO_TIME).float()[:, :, None]).mul_((event_BT != NO_TIME).float()[:, None, :])
        return bucket_BTT.to(torch.int32)

    def target_states(self, x_BTD: Tensor, batch: EncoderBatch) -> Tensor:
        """See `SequenceEncoder.target_states`."""
        return self(x_BTD, None, batch.times_BS)[batch.is_target_BT]

    def last_state(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        """See `SequenceEncoder.last_state`."""
        return select_column(self(x_BTD, last_B, times_BS), last_B)
