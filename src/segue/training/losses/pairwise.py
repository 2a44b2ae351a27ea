"""Pairwise "max" losses of GRU4Rec: the target against its negatives, weighted by their softmax.

From Hidasi & Karatzoglou (2018), "Recurrent neural networks with top-k gains". Kernels for ``chunked_loss``; shape
letters as there. s_j is the softmax over the negatives alone (the target has no share in it), r scores.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.training.losses.chunked import Kernel

MASKED_SCORE = -1e30
"""log of no weight: finite, so that a target without any negative gives no NaN; exp of it is 0."""


def bpr_max(penalty: float) -> Kernel:
    """Return the BPR-max kernel, -log sum_j s_j sigma(r_target - r_j) + penalty * sum_j s_j r_j^2.

    The penalty ("score regularisation") is on the negatives' scores, never on the target's. The logarithm of the sum
    is taken as a log-sum-exp: a target far below its negatives still has its full slope.
    """

    def kernel(target_n: Tensor, score_nK: Tensor, weight_nK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_share_nK = _log_share(score_nK, weight_nK)
        gap_nK = target_n[:, None] - score_nK
        each_nK = log_share_nK + F.logsigmoid(gap_nK)
        log_n = each_nK.logsumexp(dim=1)
        share_nK, part_nK = log_share_nK.exp(), (each_nK - log_n[:, None]).exp_()
        lost_nK = part_nK * torch.sigmoid(-gap_nK)
        square_n = (share_nK * score_nK.square()).sum(dim=1)
        # d(-log P)/dr_j = s_j - w_j sigma(r_target - r_j), with w_j = s_j sigma(r_target - r_j) / P
        push_nK = share_nK - part_nK + lost_nK
        push_nK += penalty * share_nK * (score_nK.square() - square_n[:, None] + 2.0 * score_nK)
        return _with_negatives(weight_nK, penalty * square_n - log_n, -lost_nK.sum(dim=1), push_nK)

    return kernel


def top1_max(target_n: Tensor, score_nK: Tensor, weight_nK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return TOP1-max, sum_j s_j (sigma(r_j - r_target) + sigma(r_j^2)).

    Args:
        target_n: score of each target.
        score_nK: score of each candidate.
        weight_nK: number of negatives that a candidate stands for.

    Returns:
        Loss [n], its derivative by the target's score [n], and by the candidates' scores [n, K].
    """
    share_nK = _log_share(score_nK, weight_nK).exp_()
    rank_nK, size_nK = torch.sigmoid(score_nK - target_n[:, None]), torch.sigmoid(score_nK.square())
    loss_n = (share_nK * (rank_nK + size_nK)).sum(dim=1)
    slope_nK = share_nK * rank_nK * (1.0 - rank_nK)
    push_nK = share_nK * (rank_nK + size_nK - loss_n[:, None]) + slope_nK
    push_nK += 2.0 * share_nK * score_nK * size_nK * (1.0 - size_nK)
    return _with_negatives(weight_nK, loss_n, -slope_nK.sum(dim=1), push_nK)


def with_elu_scores(kernel: Kernel, alpha: float | None) -> Kernel:
    """Return the kernel on r = ELU(score): the score if it is above 0, else alpha (exp(score) - 1).

    ELU rises everywhere, so that it changes no ranking, and serving can leave it out.

    Args:
        kernel: the loss.
        alpha: scale of the negative part; None: the kernel unchanged.
    """
    if alpha is None:
        return kernel
    floor = alpha

    def with_elu(target_n: Tensor, score_nK: Tensor, weight_nK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r_n, r_nK = F.elu(target_n, floor), F.elu(score_nK, floor)
        loss_n, pull_n, push_nK = kernel(r_n, r_nK, weight_nK)
        pull_n = torch.where(target_n > 0, pull_n, pull_n * (r_n + floor))
        return loss_n, pull_n, torch.where(score_nK > 0, push_nK, push_nK * (r_nK + floor))

    return with_elu


def _log_share(score_nK: Tensor, weight_nK: Tensor) -> Tensor:
    """Return log s_j; a candidate that was sampled twice has two shares."""
    logit_nK = torch.where(weight_nK > 0, score_nK + weight_nK.log(), MASKED_SCORE)
    return logit_nK.log_softmax(dim=1)


def _with_negatives(
    weight_nK: Tensor, loss_n: Tensor, pull_n: Tensor, push_nK: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss and derivatives with zeros for targets without any negative."""
    some_n = (weight_nK.amax(dim=1) > 0).to(loss_n.dtype)
    return loss_n * some_n, pull_n * some_n, push_nK * some_n[:, None]
