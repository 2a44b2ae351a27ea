"""What a training minimises: which items each target is compared with, and by which loss."""

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
    """One training's loss over a catalog of size V, whose table has so many ``columns``; ``counts_V`` is how often
    each item occurs in its log. Items outside ``offered_V`` (bool [V]) are not compared with: nothing is learned
    against them."""

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
        self.every = all_items(size, offered_V) if is_full(config, size, columns) else None
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
        """The items that all targets of a batch are compared with; the same for the same (seed, step, batch)."""
        if self.every is not None:
            return self.every
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
        """The mean over targets; ``targets_N`` and ``items_K`` are rows of ``key_RD``."""
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
    """The loss of that name over a catalog of so many items; None: a softmax, which has a faster road of its own.

    The offsets of these losses are log(times drawn): they compare a target with negatives as they were drawn, and
    none of them estimates a sum over the catalog, which a correction could mend."""
    kernels: dict[str, Kernel] = {
        "bce": bce,
        "gbce": gbce(config.gbce_t, items),
        "bpr-max": with_elu_scores(bpr_max(config.score_penalty), config.elu_alpha),
        "top1-max": with_elu_scores(top1_max, config.elu_alpha),
    }
    kernel = kernels.get(config.loss)
    return None if kernel is None else with_hardest_negatives(kernel, config.num_hardest_negatives)
