"""Training objective: the negatives of each batch and the loss over them."""

import numpy as np
import torch
from torch import Tensor

from segue.data.catalog import PAD
from segue.training.config import TrainingConfig
from segue.training.losses import Kernel, bce, bpr_max, chunked_loss, gbce, softmax_loss, top1_max, with_elu_scores
from segue.training.losses.chunked import with_hardest_negatives
from segue.training.memory_budget import is_full
from segue.training.negative_sampling import NegativeSample, NegativeSampler, all_items
from segue.training.tasks import Batch


class Objective:
    """Loss of a training over a catalog of size V.

    Args:
        config: settings of the loss.
        counts_V: int [V], number of events of each item in the training log.
        seed: seed of the negatives.
        columns: width of the item table, for the memory estimate.
        offered_V: bool [V], the items that may be negatives; None: all.
    """

    def __init__(
        self,
        config: TrainingConfig,
        counts_V: np.ndarray,
        seed: int,
        columns: int,
        *,
        offered_V: np.ndarray | None = None,
    ) -> None:
        size = len(counts_V)
        self.config = config
        self.seed = seed
        self.all_items = all_items(size, offered_V) if is_full(config, size, columns) else None
        self.kernel = kernel_of(config, size - 1)
        self.sampler = NegativeSampler(
            counts_V,
            config.num_negatives,
            config.negative_sampling_exponent,
            source=config.negative_source,
            corrected=config.logq_correction and self.kernel is None,
            offered_V=offered_V,
        )

    def candidates(self, batch: Batch, step: int) -> NegativeSample:
        """Return the negatives of a batch, a function of (seed, step, batch).

        Args:
            batch: the batch, whose targets may be negatives of each other.
            step: number of the training step.
        """
        if self.all_items is not None:
            return self.all_items
        targets = batch.targets_BT[batch.targets_BT != PAD]
        return self.sampler.draw(np.random.default_rng((self.seed, 1, step)), targets)

    def loss(
        self,
        query_ND: Tensor,
        key_RD: Tensor,
        targets_N: Tensor,
        items_K: Tensor,
        offset_K: Tensor,
        precision: torch.dtype,
    ) -> Tensor:
        """Return the mean loss over targets, a scalar.

        Args:
            query_ND: query of each target.
            key_RD: table rows in use, as they enter the dot product.
            targets_N: int64, row of each target in ``key_RD``.
            items_K: int64 ascending, row of each negative in ``key_RD``.
            offset_K: float32, added to the scores of the negatives.
            precision: dtype of the large matrix products.
        """
        if self.kernel is not None:
            return chunked_loss(self.kernel, query_ND, key_RD, targets_N, items_K, offset_K.exp(), precision)
        return softmax_loss(
            query_ND,
            key_RD,
            targets_N,
            items_K,
            offset_K,
            hardest=self.config.num_hardest_negatives,
            precision=precision,
        )


def kernel_of(config: TrainingConfig, items: int) -> Kernel | None:
    """Return the kernel of the configured loss; None: a softmax, which has its own faster function.

    The offsets of these losses are log(times sampled): they compare a target with negatives as they were sampled.
    None of them estimates a sum over the catalog, so that none needs the log-q correction.

    Args:
        config: settings of the loss.
        items: number of items in the catalog, without PAD.
    """
    kernels: dict[str, Kernel] = {
        "bce": bce,
        "gbce": gbce(config.gbce_t, items),
        "bpr-max": with_elu_scores(bpr_max(config.score_penalty), config.elu_alpha),
        "top1-max": with_elu_scores(top1_max, config.elu_alpha),
    }
    kernel = kernels.get(config.loss)
    return None if kernel is None else with_hardest_negatives(kernel, config.num_hardest_negatives)
