"""What a training minimises: which items each target is compared with, and by which loss."""

import numpy as np
import torch
from torch import Tensor

from segue.training.config import TrainingConfig
from segue.training.losses import softmax_loss
from segue.training.negatives import Candidates, Sampler, every_item
from segue.training.tasks import Batch


class Objective:
    """One training's loss over a catalogue of size V; ``counts_V`` is how often each item occurs in its log.

    ``only_seen``: items that never occur are not compared with, so that nothing is learned against them.
    """

    def __init__(self, config: TrainingConfig, counts_V: np.ndarray, seed: int, *, only_seen: bool = False) -> None:
        size = len(counts_V)
        full = config.loss == "full" or (config.loss == "auto" and size <= 30_000)
        self.config = config
        self.seed = seed
        offered_V = counts_V > 0 if only_seen else None
        self.every = every_item(size, offered_V) if full else None
        self.sampler = Sampler(counts_V, config.negatives, config.negative_power, offered_V=offered_V)

    def candidates(self, batch: Batch, step: int) -> Candidates:
        """The items that all targets of a batch are compared with; the same for the same (seed, step, batch)."""
        if self.every is not None:
            return self.every
        return self.sampler.draw(np.random.default_rng((self.seed, 1, step)))

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
        return softmax_loss(query_ND, key_RD, targets_N, items_K, offset_K, precision=precision)
