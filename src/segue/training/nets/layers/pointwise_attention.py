"""Pointwise attention with biases, and its gradient written by hand, tile by tile: no [T, T] matrix is kept.

A weight is silu(q . k + bias), not a softmax (Zhai et al. 2024, eq. 2). On a CPU the plain composition is limited by
moving matrices of [B, H, T, T] to memory and back. A tile stays in the cache, and no score above the diagonal is
computed. Shape letters as in ``basic.py``; E width of a head, L distances, G buckets of gaps.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 64
"""Number of queries in a tile."""
TILE_NUMBERS = 1 << 17
"""Approximate largest number of weights that are held at once."""


def pointwise_attention(
    q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, near_L: Tensor, gap_G: Tensor, bucket_BTT: Tensor | None
) -> Tensor:
    """Return the outputs: position t is the sum over s <= t of weight[t, s] v_s.

    The weight is silu(q_t . k_s + near[t - s] + gap[bucket[t, s]]). This is the definition, for exported graphs and for
    tests. ``PointwiseAttention`` computes the same values faster.

    Args:
        q_BHTE: queries.
        k_BHTE: keys.
        v_BHTE: values.
        near_L: bias by distance t - s.
        gap_G: bias by bucket of the time gap.
        bucket_BTT: integers, bucket of the gap between t and s; None: no timestamps.

    Returns:
        [B, H, T, E].
    """
    column_T = torch.arange(q_BHTE.shape[2], device=q_BHTE.device)
    score = q_BHTE @ k_BHTE.transpose(-1, -2) + near_L[(column_T[:, None] - column_T).clamp(min=0)]
    if bucket_BTT is not None:
        score = score + gap_G[bucket_BTT.long()][:, None]
    weight = F.silu(score)
    weight = torch.where(column_T[:, None] >= column_T, weight, torch.zeros_like(weight))
    return weight.to(v_BHTE.dtype) @ v_BHTE


class PointwiseAttention(torch.autograd.Function):
    """Autograd function of ``pointwise_attention``, with the same arguments; ``bucket_BTT`` is int32."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        """Return the outputs of ``pointwise_attention``, [B, H, T, E].

        Args:
            ctx: context of autograd.
            arguments: arguments of ``pointwise_attention``, in its order.
        """
        q, k, v, near_L, gap_G, bucket_BTT = arguments
        ctx.save_for_backward(q, k, v, near_L, gap_G, bucket_BTT)
        out = torch.empty_like(v)
        near_TT = _by_distance(near_L, q.shape[2])
        for rows, queries, keys in _tiles(q):
            score = _score(q, k, (near_TT, gap_G, bucket_BTT), (rows, queries, keys))
            weight = F.silu(score, inplace=True).tril_(queries.start)
            out[rows, :, queries] = weight.to(v.dtype) @ v[rows, :, keys]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of each argument; scores are computed again instead of kept.

        Args:
            ctx: context of autograd.
            grads: gradient of the outputs [B, H, T, E].
        """
        q, k, v, near_L, gap_G, bucket_BTT = ctx.saved_tensors
        grad = grads[0].to(v.dtype).contiguous()
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        near_TT = _by_distance(near_L, q.shape[2])
        grad_near_TT = torch.zeros(near_TT.shape, device=q.device)
        grad_gap_G = torch.zeros(gap_G.shape, dtype=torch.float64, device=q.device)
        for rows, queries, keys in _tiles(q):
            score = _score(q, k, (near_TT, gap_G, bucket_BTT), (rows, queries, keys))
            grad_out = grad[rows, :, queries]
            weight = F.silu(score).tril_(queries.start)
            grad_v[rows, :, keys] += weight.to(v.dtype).transpose(-1, -2) @ grad_out
            score_grad = (grad_out @ v[rows, :, keys].transpose(-1, -2)).to(score.dtype)
            score_grad = torch.ops.aten.silu_backward(score_grad, score).tril_(queries.start)
            low = score_grad.to(q.dtype)
            grad_q[rows, :, queries] = low @ k[rows, :, keys]
            grad_k[rows, :, keys] += low.transpose(-1, -2) @ q[rows, :, queries]
            summed = score_grad.float().sum(dim=1)
            grad_near_TT[queries, keys] += summed.sum(dim=0)
            if bucket_BTT is not None:
                bucket = bucket_BTT[rows, queries, keys].reshape(-1)
                grad_gap_G += torch.bincount(bucket, weights=summed.view(-1), minlength=len(gap_G))
        distance_TT = _distances(q.shape[2], q.device)
        grad_near_L = torch.zeros_like(near_L).index_add_(0, distance_TT.view(-1), grad_near_TT.view(-1))
        return grad_q, grad_k, grad_v, grad_near_L, grad_gap_G.to(gap_G.dtype), None


def _tiles(q_BHTE: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Yield (rows, queries, keys that are visible to the newest query)."""
    batch, heads, time = q_BHTE.shape[:3]
    rows = max(1, TILE_NUMBERS // (heads * min(TILE, time) * time))
    for first in range(0, batch, rows):
        for start in range(0, time, TILE):
            stop = min(time, start + TILE)
            yield slice(first, min(batch, first + rows)), slice(start, stop), slice(0, stop)


def _score(
    q: Tensor, k: Tensor, biases: tuple[Tensor, Tensor, Tensor | None], tile: tuple[slice, slice, slice]
) -> Tensor:
    near_TT, gap_G, bucket_BTT = biases
    rows, queries, keys = tile
    score = (q[rows, :, queries] @ k[rows, :, keys].transpose(-1, -2)).float()
    score += near_TT[queries, keys]
    if bucket_BTT is not None:
        bucket = bucket_BTT[rows, queries, keys]
        score += gap_G.index_select(0, bucket.reshape(-1)).view(bucket.shape)[:, None]
    return score


def _distances(time: int, device: torch.device) -> Tensor:
    column_T = torch.arange(time, device=device)
    return (column_T[:, None] - column_T).clamp(min=0)


def _by_distance(near_L: Tensor, time: int) -> Tensor:
    return near_L[_distances(time, near_L.device)]
