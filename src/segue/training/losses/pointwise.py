"""Pointwise losses: binary cross-entropies of the target and of each negative.

Kernels for ``chunked_loss``; shape letters as there, s scores.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.training.losses.chunked import Kernel


def bce(target_n: Tensor, score_nK: Tensor, weight_nK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return BCE, -log sigma(s_target) - mean over negatives of log(1 - sigma(s_j)): SASRec (Kang & McAuley 2018).

    Differs: there each target has one negative of its own. The mean over a shared set is the expectation of that loss
    for a negative from the same distribution, with less noise, for any number of negatives.

    Args:
        target_n: score of each target.
        score_nK: score of each candidate.
        weight_nK: number of negatives that a candidate stands for.

    Returns:
        Loss [n], its derivative by the target's score [n], and by the candidates' scores [n, K].
    """
    share_nK = weight_nK / weight_nK.sum(dim=1, keepdim=True).clamp_(min=1.0)
    loss_n = F.softplus(-target_n) + (share_nK * F.softplus(score_nK)).sum(dim=1)
    return loss_n, torch.sigmoid(target_n) - 1.0, share_nK * torch.sigmoid(score_nK)


def gbce(calibration: float, items: int) -> Kernel:
    """Return the gBCE kernel, -(beta log sigma(s_target) + sum over k negatives of log(1 - sigma(s_j))) / (k + 1).

    The loss of gSASRec (Petrov & Macdonald 2023), beta = alpha (t (1 - 1/alpha) + 1/alpha) = 1 - t (1 - alpha).

    ``calibration`` is their t: 0 is the plain BCE with k negatives, 1 gives the probabilities of the BCE with all
    ``items`` as negatives. alpha = k / (items - 1) is the sampled share of a target's possible negatives.

    Args:
        calibration: t, from 0 to 1.
        items: number of items in the catalog, without PAD.
    """

    def kernel(target_n: Tensor, score_nK: Tensor, weight_nK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count_n = weight_nK.sum(dim=1)
        drawn_n = (count_n / max(1, items - 1)).clamp_(max=1.0)
        beta_n = 1.0 - calibration * (1.0 - drawn_n)
        scale_n = 1.0 / (count_n + 1.0)
        loss_n = beta_n * F.softplus(-target_n) + (weight_nK * F.softplus(score_nK)).sum(dim=1)
        pull_n = beta_n * (torch.sigmoid(target_n) - 1.0)
        return scale_n * loss_n, scale_n * pull_n, scale_n[:, None] * weight_nK * torch.sigmoid(score_nK)

    return kernel
