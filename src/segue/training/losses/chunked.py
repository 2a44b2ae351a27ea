"""Loss of a target's score and its negatives' scores, computed in chunks of the [targets, candidates] matrix.

A loss is a kernel that returns a chunk's values and derivatives. The products with the operands are made here, in the
forward pass, while the chunk is in the cache. Nothing of the size of the score matrix is kept for the backward pass.

Shape letters: N targets, n those of a chunk, K candidates, R table rows at hand, D hidden size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_BYTES = 4 << 20
"""Size of a chunk with a kernel's half a dozen temporaries, which should fit the last-level cache."""
TEMPORARIES = 6

Kernel = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""``(target_n, score_nK, weight_nK) -> (loss_n, pull_n, push_nK)``: the loss of each target, its derivative by the
target's score and by the candidates' scores. ``weight_nK`` is the number of negatives that a candidate stands for: zero
if it is not a negative of this target, and the derivative there must be zero."""


def target_positions(candidates_K: Tensor, targets_N: Tensor) -> Tensor:
    """Return the position of each target among the candidates, int64 [N]; -1 if it is not a candidate.

    Args:
        candidates_K: int64, ascending.
        targets_N: int64.
    """
    position_N = torch.searchsorted(candidates_K, targets_N).clamp_(max=len(candidates_K) - 1)
    return torch.where(candidates_K[position_N] == targets_N, position_N, -1)


def hardest_threshold(score_nK: Tensor, hardest: int) -> Tensor:
    """Return the ``hardest``-th largest score of each row, [n, 1]; scores tied with it count as hardest too.

    Args:
        score_nK: scores of candidates.
        hardest: number of hardest negatives, at most K.
    """
    return score_nK.topk(hardest, dim=1, sorted=False).values.amin(dim=1, keepdim=True)


def with_hardest_negatives(kernel: Kernel, hardest: int) -> Kernel:
    """Return the kernel restricted to the highest-scoring negatives of each target.

    Args:
        kernel: the loss.
        hardest: number of negatives per target; 0: all.
    """
    if hardest == 0:
        return kernel

    def restricted(target_n: Tensor, score_nK: Tensor, weight_nK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if hardest < score_nK.shape[1]:
            negative_nK = score_nK.masked_fill(weight_nK == 0, -torch.inf)
            weight_nK = weight_nK.masked_fill(negative_nK < hardest_threshold(negative_nK, hardest), 0.0)
        return kernel(target_n, score_nK, weight_nK)

    return restricted


def chunked_loss(
    kernel: Kernel,
    hidden_ND: Tensor,
    table_RD: Tensor,
    targets_N: Tensor,
    candidates_K: Tensor,
    times_K: Tensor,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Return the mean of ``kernel`` over targets; a target is never its own negative.

    Args:
        kernel: the loss.
        hidden_ND: query of each target.
        table_RD: keys of the table rows in use.
        targets_N: int64, row of each target.
        candidates_K: int64, distinct rows in ascending order.
        times_K: number of times that each candidate was sampled.
        precision: bfloat16 rounds the operands of the large products; scores and all that a kernel does with them stay
            float32.
    """
    operands, position_N = loss_operands(hidden_ND, table_RD, targets_N, candidates_K)
    loss: Tensor = _Chunked.apply(*operands, times_K, position_N, (kernel, precision))
    return loss


def loss_operands(
    hidden_ND: Tensor, table_RD: Tensor, targets_N: Tensor, candidates_K: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return the differentiable operands of a loss, and the position of each target among the candidates.

    Args:
        hidden_ND: query of each target.
        table_RD: keys of the table rows in use.
        targets_N: int64, row of each target.
        candidates_K: int64, distinct rows in ascending order.

    Returns:
        Queries [N, D], keys of the targets [N, D], keys of the candidates [K, D]; positions as in ``target_positions``.
    """
    # The gradient of F.embedding is summed in a fixed order, unlike that of an index.
    positive_ND = F.embedding(targets_N, table_RD)
    return (hidden_ND, positive_ND, table_RD[candidates_K]), target_positions(candidates_K, targets_N)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        positive_ND: Tensor,
        chosen_KD: Tensor,
        times_K: Tensor,
        position_N: Tensor,
        how: tuple[Kernel, torch.dtype],
    ) -> Tensor:
        kernel, precision = how
        count, full = len(hidden_ND), hidden_ND.dtype
        target_N = (hidden_ND * positive_ND).sum(dim=1)
        chosen, hidden = chosen_KD.detach().to(precision), hidden_ND.detach().to(precision)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_chosen_KD = torch.zeros_like(chosen_KD)
        pull_N = torch.empty_like(target_N)
        total = target_N.new_zeros(())
        size = max(1, CHUNK_BYTES // (TEMPORARIES * target_N.element_size() * len(chosen)))
        for start in range(0, count, size):
            part = slice(start, start + size)
            score_nK = (hidden[part] @ chosen.T).to(full)
            weight_nK = times_K.to(full).expand_as(score_nK).clone()
            row = torch.nonzero(position_N[part] >= 0)[:, 0]
            weight_nK[row, position_N[part][row]] = 0.0
            loss_n, pull_n, push_nK = kernel(target_N[part], score_nK, weight_nK)
            total += loss_n.sum()
            pull_N[part] = pull_n
            push = push_nK.to(precision)
            grad_hidden_ND[part] = (push @ chosen).to(full) + pull_n[:, None] * positive_ND[part]
            grad_chosen_KD += push.T @ hidden[part]
        ctx.save_for_backward(grad_hidden_ND, pull_N[:, None] * hidden_ND, grad_chosen_KD)
        ctx.count = count
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0] / ctx.count
        hidden, positive, chosen = ctx.saved_tensors
        return hidden * scale, positive * scale, chosen * scale, None, None, None
