"""Self-attention and the transformer blocks around it. Shape letters as in ``basic.py``; E width of a head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.training.nets.layers.basic import Dropout, select_column


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2).

    Causal attention needs no padding mask: padding lies behind the events, where the causal mask hides it. Without
    ``causal`` every event attends to every position where ``inside_BT`` is True.
    """

    def __init__(self, dim: int, heads: int, *, causal: bool = True, rotary: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.rotary = rotary
        self.project = nn.Linear(dim, 3 * dim)
        self.merge = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, inside_BT: Tensor | None = None) -> Tensor:
        """Return the output at every position.

        Args:
            x_BTD: embedded events, oldest first.
            inside_BT: bool, False for padding; None: causal attention, which needs no mask.

        Returns:
            [B, T, D].
        """
        batch, time, dim = x_BTD.shape
        q, k, v = self.project(x_BTD).view(batch, time, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        mask = None if inside_BT is None else inside_BT[:, None, None, :]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.merge(attended.transpose(1, 2).reshape(batch, time, dim))

    def last_state(self, x_BTD: Tensor, last_B: Tensor) -> Tensor:
        """Return the output at the last event of each row, which is enough in the last block of an exported net.

        Args:
            x_BTD: embedded events, oldest first.
            last_B: int64, column of each row's last event.

        Returns:
            [B, D].
        """
        if self.rotary or not self.causal:
            return select_column(self(x_BTD), last_B)
        batch, time, dim = x_BTD.shape
        weight, bias = self.project.weight, self.project.bias
        q = F.linear(select_column(x_BTD, last_B), weight[:dim], bias[:dim]).view(
            batch, self.heads, 1, dim // self.heads
        )
        kv = F.linear(x_BTD, weight[dim:], bias[dim:]).view(batch, time, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)
        visible_BT = torch.arange(time, device=x_BTD.device) <= last_B[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=visible_BT[:, None, None, :])
        return self.merge(attended.reshape(batch, dim))


def rotate(x_BHTE: Tensor) -> Tensor:
    """Rotate pairs of a head's components by angles in proportion to the position (Su et al. 2021, eq. 34).

    Products of queries and keys then depend on their distance alone. Component e is paired with component e + E/2.
    """
    half = x_BHTE.shape[3] // 2
    speeds = 10000.0 ** (-torch.arange(half, device=x_BHTE.device, dtype=torch.float32) / half)
    angles_TE = torch.arange(x_BHTE.shape[2], device=x_BHTE.device, dtype=torch.float32)[:, None] * speeds
    cos, sin = angles_TE.cos().to(x_BHTE.dtype), angles_TE.sin().to(x_BHTE.dtype)
    left, right = x_BHTE[..., :half], x_BHTE[..., half:]
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: x + attention(norm x), then x + feed-forward(norm x)."""

    def __init__(self, attention: Attention, dim: int, inner: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = attention
        self.norm_inner = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.dropout = dropout

    def forward(self, x_BTD: Tensor, inside_BT: Tensor | None = None) -> Tensor:
        """Return the output at every position.

        Args:
            x_BTD: embedded events, oldest first.
            inside_BT: bool, False for padding; None: causal attention, which needs no mask.

        Returns:
            [B, T, D].
        """
        return self._finish(x_BTD, self.attention(self.norm_attention(x_BTD), inside_BT))

    def last_state(self, x_BTD: Tensor, last_B: Tensor) -> Tensor:
        """Return the output of ``forward`` at the last event of each row.

        Args:
            x_BTD: embedded events, oldest first.
            last_B: int64, column of each row's last event.

        Returns:
            [B, D].
        """
        return self._finish(select_column(x_BTD, last_B), self.attention.last_state(self.norm_attention(x_BTD), last_B))

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add both branches, given the output of attention."""
        x = x + self.dropout(attended)
        inner = F.gelu(self.widen(self.norm_inner(x)), approximate="tanh")
        return x + self.dropout(self.narrow(inner))


class GatedTransformerBlock(nn.Module):
    """LiGR block (Borisyuk et al. 2024, section 4; used by eSASRec).

    Each branch passes a gate of the input: x + sigmoid(gate x) * branch(norm x). The feed-forward net is a SwiGLU
    (Shazeer 2020, eq. 6).
    """

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
        """Return the output at every position.

        Args:
            x_BTD: embedded events, oldest first.
            inside_BT: bool, False for padding; None: causal attention, which needs no mask.

        Returns:
            [B, T, D].
        """
        return self._finish(x_BTD, self.attention(self.norm_attention(x_BTD), inside_BT))

    def last_state(self, x_BTD: Tensor, last_B: Tensor) -> Tensor:
        """Return the output of ``forward`` at the last event of each row.

        Args:
            x_BTD: embedded events, oldest first.
            last_B: int64, column of each row's last event.

        Returns:
            [B, D].
        """
        return self._finish(select_column(x_BTD, last_B), self.attention.last_state(self.norm_attention(x_BTD), last_B))

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add both gated branches, given the output of attention."""
        x = x + self.dropout(self.gate_attention(x).sigmoid() * attended)
        swish, linear = self.widen(self.norm_inner(x)).chunk(2, dim=-1)
        inner = self.narrow(F.silu(swish) * linear)
        return x + self.dropout(self.gate_inner(x).sigmoid() * inner)


BLOCKS: dict[str, type[TransformerBlock] | type[GatedTransformerBlock]] = {
    "prenorm": TransformerBlock,
    "ligr": GatedTransformerBlock,
}
"""Block classes by the value of the setting ``block_type``."""
