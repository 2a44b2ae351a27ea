"""Self-attention and the transformer blocks around it. Shape letters as in ``layers.py``; E width of a head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.training.nets.layers import Dropout


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2).

    Causal, padding needs no mask: it lies behind the events, where the causal one already hides it. Otherwise every
    event looks at every position where ``inside_BT`` is True.
    """

    def __init__(self, dim: int, heads: int, *, causal: bool = True, rotary: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.rotary = rotary
        self.project = nn.Linear(dim, 3 * dim)
        self.merge = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, inside_BT: Tensor | None = None) -> Tensor:
        batch, time, dim = x_BTD.shape
        q, k, v = self.project(x_BTD).view(batch, time, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        mask = None if inside_BT is None else inside_BT[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.merge(mixed.transpose(1, 2).reshape(batch, time, dim))


def rotate(x_BHTE: Tensor) -> Tensor:
    """Turns pairs of a head's numbers by angles in proportion to the position, so that products of queries and keys
    depend on their distance alone (Su et al. 2021, eq. 34); number e is paired with number e + E/2."""
    half = x_BHTE.shape[3] // 2
    speeds = 10000.0 ** (-torch.arange(half, device=x_BHTE.device, dtype=torch.float32) / half)
    angles_TE = torch.arange(x_BHTE.shape[2], device=x_BHTE.device, dtype=torch.float32)[:, None] * speeds
    cos, sin = angles_TE.cos().to(x_BHTE.dtype), angles_TE.sin().to(x_BHTE.dtype)
    left, right = x_BHTE[..., :half], x_BHTE[..., half:]
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm x), then x + feed-forward(norm x)."""

    def __init__(self, attention: Attention, dim: int, inner: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = attention
        self.norm_inner = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.dropout = dropout

    def forward(self, x_BTD: Tensor, inside_BT: Tensor | None = None) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.attention(self.norm_attention(x_BTD), inside_BT))
        inner = F.gelu(self.widen(self.norm_inner(x_BTD)), approximate="tanh")
        return x_BTD + self.dropout(self.narrow(inner))


class GatedBlock(nn.Module):
    """A LiGR block (Borisyuk et al. 2024, section 4; the one of eSASRec): each branch passes a gate that the stream
    itself sets, x + sigmoid(gate x) * branch(norm x), and the feed-forward is a SwiGLU (Shazeer 2020, eq. 6)."""

    def __init__(self, attention: Attention, dim: int, inner: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = attention
        self.gate_attention = nn.Linear(dim, dim)
        self.norm_inner = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 2 * inner)
        self.narrow = nn.Linear(inner, dim)
        self.gate_inner = nn.Linear(dim, dim)
        self.dropout = dropout

    def forward(self, x_BTD: Tensor, inside_BT: Tensor | None = None) -> Tensor:
        mixed = self.attention(self.norm_attention(x_BTD), inside_BT)
        x_BTD = x_BTD + self.dropout(self.gate_attention(x_BTD).sigmoid() * mixed)
        swish, linear = self.widen(self.norm_inner(x_BTD)).chunk(2, dim=-1)
        inner = self.narrow(F.silu(swish) * linear)
        return x_BTD + self.dropout(self.gate_inner(x_BTD).sigmoid() * inner)


BLOCKS: dict[str, type[Block] | type[GatedBlock]] = {"prenorm": Block, "ligr": GatedBlock}
"""The setting's word -> the block."""
