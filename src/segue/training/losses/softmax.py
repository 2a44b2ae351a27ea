"""Softmax cross-entropy, computed in chunks of the [targets, candidates] matrix.

One function serves the full softmax (all items are candidates) and the sampled one (candidates are sampled, each with
an offset that corrects for it). It computes its gradient in the forward pass, while a chunk is still in
the processor's cache, so that nothing of the size of the score matrix is ever kept.

Shape letters: N targets, K candidates, D hidden size, V catalog size with PAD.
"""

from typing import Any

import torch
from torch import Tensor

from segue.training.losses.chunked import hardest_threshold, loss_operands

CHUNK_BYTES = 4 << 20
"""A chunk of scores should fit the last-level cache beside its operands."""
SAFE_EXPONENT = 60.0
"""exp of this is far inside the range of float32 and bfloat16: below it no row maximum has to be subtracted."""


def softmax_loss(
    hidden_ND: Tensor,
    table_VD: Tensor,
    targets_N: Tensor,
    candidates_K: Tensor,
    offset_K: Tensor,
    *,
    hardest: int = 0,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Return the mean of -log p(target), where Z = exp(s_target) + sum over candidates j other than the target of
    exp(s_j + offset_j).

    With every item a candidate and zero offsets
    this is the full softmax. With K drawn items and offset_j = log count_j - log(draws * q_j) the sum is the unbiased
    importance estimate of the full one (Bengio & Senecal 2008, eq. 8; the target itself is always present, so it
    needs no correction).

    Args:
        hidden_ND: query of each target.
        table_VD: keys of the table rows in use.
        targets_N: int64, row of each target.
        candidates_K: int64, distinct rows in ascending order.
        offset_K: added to the scores of the candidates.
        hardest: number of the largest terms of each target's sum to keep (TRON, Wilm et al. 2023); 0: all.
        precision: bfloat16 rounds the operands and the scores of the large products; the target score, the sums over
            candidates and all accumulations over chunks stay float32.
    """
    operands, position_N = loss_operands(hidden_ND, table_VD, targets_N, candidates_K)
    loss: Tensor = _Softmax.apply(*operands, offset_K, position_N, (hardest, precision))
    return loss


class _Softmax(torch.autograd.Function):
    """Forward and backward pass in one; ``position_N`` as in ``target_positions``: the target is left out there."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        positive_ND: Tensor,
        chosen_KD: Tensor,
        offset_K: Tensor,
        position_N: Tensor,
        how: tuple[int, torch.dtype],
    ) -> Tensor:
        hardest, precision = how
        count, full = len(hidden_ND), hidden_ND.dtype
        target_N = (hidden_ND * positive_ND).sum(dim=1)
        chosen, hidden = chosen_KD.detach().to(precision), hidden_ND.detach().to(precision)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_chosen_KD = torch.zeros_like(chosen_KD)
        pull_N = torch.empty_like(target_N)
        total = target_N.new_zeros(())
        offset = None if not offset_K.any() else offset_K.to(precision)
        size = max(1, CHUNK_BYTES // (chosen.element_size() * len(chosen)))
        for start in range(0, count, size):
            part = slice(start, start + size)
            score_nK = hidden[part] @ chosen.T
            if offset is not None:
                score_nK += offset
            target_n = target_N[part]
            highest_n = torch.maximum(score_nK.amax(dim=1).to(full), target_n)
            if float(highest_n.max()) > SAFE_EXPONENT:
                score_nK -= highest_n[:, None].to(precision)
                target_n = target_n - highest_n
            weight_nK = score_nK.exp_()
            row = torch.nonzero(position_N[part] >= 0)[:, 0]
            weight_nK[row, position_N[part][row]] = 0.0
            if 0 < hardest < len(chosen):
                weight_nK.masked_fill_(weight_nK < hardest_threshold(weight_nK, hardest), 0.0)
            sum_n = weight_nK.sum(dim=1, dtype=full) + target_n.exp()
            total += (sum_n.log() - target_n).sum()
            pull_n = target_n.exp() / sum_n - 1.0
            pull_N[part] = pull_n
            grad_hidden_ND[part] = (weight_nK @ chosen).to(full) / sum_n[:, None] + pull_n[:, None] * positive_ND[part]
            grad_chosen_KD += weight_nK.T @ (hidden_ND[part] / sum_n[:, None]).to(precision)
        grad_positive_ND = pull_N[:, None] * hidden_ND
        ctx.save_for_backward(grad_hidden_ND, grad_positive_ND, grad_chosen_KD)
        ctx.count = count
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0] / ctx.count
        hidden, positive, chosen = ctx.saved_tensors
        return hidden * scale, positive * scale, chosen * scale, None, None, None
