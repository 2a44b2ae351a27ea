"""Training of a click ranker: batches of histories of similar length, binary cross-entropy, early stopping.

Shape letters: B examples of a batch, C candidates.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.factorization.spectral import spectral_embeddings
from segue.models.rankers.dien import DIENConfig
from segue.models.rankers.din import DINConfig
from segue.models.rankers.dual_gru import DualGRUConfig
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.pooled import PooledRankerConfig
from segue.models.rankers.ranker_input import encode_examples
from segue.training.nets.layers.basic import DropoutRng
from segue.training.nets.rankers.dien import DIENNet
from segue.training.nets.rankers.dual_gru import DualGRUNet
from segue.training.nets.rankers.towers import DINNet, PooledNet, RankerNet, to_tensor
from segue.training.rankers.config import RankerTrainingConfig

NETS: dict[type, Callable[..., RankerNet]] = {
    PooledRankerConfig: PooledNet,
    DINConfig: DINNet,
    DIENConfig: DIENNet,
    DualGRUConfig: DualGRUNet,
}
WARM_UP = 0.05
"""Share of the training in which the learning rate rises."""
POOL = 16
"""Number of batches whose examples are sorted by length together: little padding, yet different batches each epoch."""


def build_ranker_net(config: Any, log: Sequences, size: int, seed: int) -> RankerNet:
    """Build an untrained net; equal arguments give equal weights.

    Args:
        config: settings of the ranker.
        log: events for the spectral initialization of item embeddings.
        size: catalog size V, PAD included.
        seed: seed of the initial weights.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng((seed, 2))
    if config.spectral_init:
        table = spectral_embeddings(log, size, config.embedding_dim, rng)
    else:
        table = rng.normal(0.0, config.embedding_dim**-0.5, (size, config.embedding_dim)).astype(np.float32)
    table[0] = 0.0
    return NETS[type(config)](config, DropoutRng(), torch.from_numpy(table), generator)


@dataclass(frozen=True)
class RankerTrainingResult:
    """Epochs, losses and validations of a finished training."""

    epochs: int
    """Number of epochs run."""
    best_epoch: int
    """Epoch whose weights the net holds, counted from 1."""
    validations: tuple[float, ...]
    losses: tuple[float, ...]
    cases_per_s: float


class RankerTrainer:
    """Trainer of one net, with its optimizer."""

    def __init__(
        self,
        net: RankerNet,
        interactions: ItemHistories,
        config: RankerTrainingConfig,
        seed: int,
        reads: tuple[int, int],
    ) -> None:
        """Prepare the optimizer.

        Args:
            net: an untrained net.
            interactions: interactions of all items.
            config: settings of the training.
            seed: seed of examples, batches and dropout.
            reads: number of events of a history, and of interactions of a candidate, that the net reads.
        """
        self.net = net
        self.interactions = interactions if reads[1] else None
        self.config = config
        self.seed = seed
        self.reads = reads
        table = [net.reader.table]
        others = [parameter for parameter in net.parameters() if parameter is not net.reader.table]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": others, "share": 1.0, "weight_decay": config.weight_decay},
                {"params": table, "share": config.embedding_rate, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.99),
        )

    def run(
        self,
        draw: Callable[[np.random.Generator], ClickExamples],
        *,
        validate: Callable[[RankerNet], float] | None = None,
        stop_after: int | None = None,
        progress: Callable[[int, float, float | None], None] | None = None,
    ) -> RankerTrainingResult:
        """Train the net, and leave the weights of the best epoch in it.

        Args:
            draw: source of the examples of each epoch.
            validate: metric of a net, larger is better; None: the last epoch is the best one.
            stop_after: number of epochs to run, on the learning-rate schedule of the whole training; None: all.
            progress: called with number, loss and validation of each epoch.
        """
        losses: list[float] = []
        validations: list[float] = []
        best, weights, count, started = 0, copy.deepcopy(self.net.state_dict()), 0, time.perf_counter()
        while len(losses) < (stop_after or self.config.epochs):
            rng = np.random.default_rng((self.seed, 4, len(losses)))
            examples = draw(rng)
            count += len(examples)
            losses.append(self._epoch(examples, rng, len(losses)))
            if validate is not None:
                validations.append(validate(self.net.eval()))
                if len(validations) == 1 or validations[-1] > validations[best - 1]:
                    best, weights = len(losses), copy.deepcopy(self.net.state_dict())
            if progress is not None:
                progress(len(losses), losses[-1], validations[-1] if validations else None)
            if validate is not None and len(losses) - best >= self.config.patience:
                break
        if validate is not None:
            self.net.load_state_dict(weights)
        self.net.eval()
        rate = count / (time.perf_counter() - started)
        return RankerTrainingResult(len(losses), best or len(losses), tuple(validations), tuple(losses), rate)

    def _epoch(self, examples: ClickExamples, rng: np.random.Generator, epoch: int) -> float:
        """Train one epoch and return its mean loss."""
        self.net.train()
        total, batches = 0.0, list(self._batches(examples, rng))
        for i, rows in enumerate(batches):
            done = (epoch + i / len(batches)) / self.config.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * group["share"] * rate_share(done)
            self.net.noise.seed(int(rng.integers(0, 1 << 62)))
            total += self._step(examples.take(rows))
        return total / len(batches)

    def _batches(self, examples: ClickExamples, rng: np.random.Generator) -> Iterator[np.ndarray]:
        lengths = np.minimum(examples.histories.lengths, self.reads[0])
        size = self.config.batch_size
        order = rng.permutation(len(examples))
        rows = []
        for start in range(0, len(order), POOL * size):
            pool = order[start : start + POOL * size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            rows += [pool[i : i + size] for i in range(0, len(pool), size)]
        yield from (rows[i] for i in rng.permutation(len(rows)))

    def _step(self, examples: ClickExamples) -> float:
        inputs = encode_examples(examples, self.reads[0], self.interactions, self.reads[1])
        log_odds_BC, auxiliary_loss = self.net(inputs)
        weight_BC = to_tensor(examples.is_candidate).float()
        labels_BC = to_tensor(examples.labels_BC).float()
        total = F.binary_cross_entropy_with_logits(log_odds_BC, labels_BC, weight=weight_BC, reduction="sum")
        loss = total / weight_BC.sum()
        self.optimizer.zero_grad(set_to_none=True)
        (loss if auxiliary_loss is None else loss + auxiliary_loss).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return float(loss.detach())


def rate_share(done: float) -> float:
    """Return the share of the peak learning rate at a share of all epochs: linear warm-up, then half a cosine."""
    if done < WARM_UP:
        return max(0.05, done / WARM_UP)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
