"""Any loss of a target's score and its negatives' scores, with [targets, candidates] there only a chunk at a time.

A loss is a kernel: it tells a chunk's values and slopes, and the products with the operands are made here, in the
forward pass, while the chunk is still at hand. Nothing of the size of the score matrix is kept for the backward pass.

Shape letters: N targets, n those of a chunk, K candidates, R table rows at hand, D hidden size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_BYTES = 4 << 20
"""What a kernel has in its hands at once, its half a dozen temporaries included, should fit the last-level cache."""
TEMPORARIES = 6

Kernel = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""``(target_n, score_nK, weight_nK) -> (loss_n, pull_n, push_nK)``: the loss of each target, its slope along the
target's score, its slopes along the candidates' scores. ``weight_nK`` is how many negatives a candidate stands for:
zero where it is none of this target's, and the slope there must be zero."""


def target_positions(candidates_K: Tensor, targets_N: Tensor) -> Tensor:
    """Where among the ascending candidates each target lies; -1 where it is none of them."""
    slot_N = torch.searchsorted(candidates_K, targets_N).clamp_(max=len(candidates_K) - 1)
    return torch.where(candidates_K[slot_N] == targets_N, slot_N, -1)


def hardest_threshold(score_nK: Tensor, hardest: int) -> Tensor:
    """[n, 1]: each row's ``hardest``-th largest score; what is below it is not among the hardest, ties are."""
    return score_nK.topk(hardest, dim=1, sorted=False).values.amin(dim=1, keepdim=True)


def with_hardest_negatives(kernel: Kernel, hardest: int) -> Kernel:
    """The kernel, shown only each target's ``hardest`` highest-scoring negatives (0: all)."""
    if hardest == 0:
        return kernel

    def narrow(target_n: Tensor, score_nK: Tensor, weight_nK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if hardest < score_nK.shape[1]:
            shown_nK = score_nK.masked_fill(weight_nK == 0, -torch.inf)
            weight_nK = weight_nK.masked_fill(shown_nK < hardest_threshold(shown_nK, hardest), 0.0)
        return kernel(target_n, score_nK, weight_nK)

    return narrow


def chunked_loss(
    kernel: Kernel,
    hidden_ND: Tensor,
    table_RD: Tensor,
    targets_N: Tensor,
    candidates_K: Tensor,
    times_K: Tensor,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """The mean over targets of ``kernel``; a target is never its own negative.

    ``candidates_K`` are distinct rows of the table in ascending order, each drawn ``times_K`` times. ``precision``
    bfloat16 rounds the operands of the large products; the scores, and all that a kernel does with them, are float32.
    """
    slot_N = target_positions(candidates_K, targets_N)
    positive_ND = F.embedding(targets_N, table_RD)  # whose gradient adds up in a fixed order, unlike that of an index
    operands = hidden_ND, positive_ND, table_RD[candidates_K]
    loss: Tensor = _Chunked.apply(*operands, times_K, slot_N, (kernel, precision))
    return loss


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        positive_ND: Tensor,
        chosen_KD: Tensor,
        times_K: Tensor,
        slot_N: Tensor,
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
            row = torch.nonzero(slot_N[part] >= 0)[:, 0]
            weight_nK[row, slot_N[part][row]] = 0.0
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
