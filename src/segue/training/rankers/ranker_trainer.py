"""Trains a ranker's net: batches of histories of like length, cross-entropy, stops when validation gets no better.

Shape letters: B cases of a batch, C candidates.
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
from segue.training.nets.rankers.towers import DINNet, PooledNet, RankerNet, tensor
from segue.training.rankers.config import RankerTrainingConfig

NETS: dict[type, Callable[..., RankerNet]] = {
    PooledRankerConfig: PooledNet,
    DINConfig: DINNet,
    DIENConfig: DIENNet,
    DualGRUConfig: DualGRUNet,
}
WARM_UP = 0.05
POOL = 16
"""So many batches' cases are sorted by length together: little padding, and still every epoch other batches."""


def build_ranker_net(config: Any, log: Sequences, size: int, seed: int) -> RankerNet:
    """An untrained net for a catalog of size V; equal arguments give equal weights."""
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
    """What a training did."""

    epochs: int
    best_epoch: int
    validations: tuple[float, ...]
    losses: tuple[float, ...]
    cases_per_s: float


class RankerTrainer:
    """One net, its optimizer and the cases it learns from."""

    def __init__(
        self,
        net: RankerNet,
        interactions: ItemHistories,
        config: RankerTrainingConfig,
        seed: int,
        reads: tuple[int, int],
    ) -> None:
        """``reads``: the events of a history, and the interactions of a candidate, that the net looks at."""
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
        """Trains at most ``epochs``, on freshly drawn cases each; with ``validate`` (higher is better) the net ends as
        it was best. ``stop_after`` ends earlier on the same curve of rates."""
        losses: list[float] = []
        validations: list[float] = []
        best, kept, asked, started = 0, copy.deepcopy(self.net.state_dict()), 0, time.perf_counter()
        while len(losses) < (stop_after or self.config.epochs):
            rng = np.random.default_rng((self.seed, 4, len(losses)))
            cases = draw(rng)
            asked += len(cases)
            losses.append(self._epoch(cases, rng, len(losses)))
            if validate is not None:
                validations.append(validate(self.net.eval()))
                if len(validations) == 1 or validations[-1] > validations[best - 1]:
                    best, kept = len(losses), copy.deepcopy(self.net.state_dict())
            if progress is not None:
                progress(len(losses), losses[-1], validations[-1] if validations else None)
            if validate is not None and len(losses) - best >= self.config.patience:
                break
        if validate is not None:
            self.net.load_state_dict(kept)
        self.net.eval()
        spent = time.perf_counter() - started
        return RankerTrainingResult(len(losses), best or len(losses), tuple(validations), tuple(losses), asked / spent)

    def _epoch(self, cases: ClickExamples, rng: np.random.Generator, epoch: int) -> float:
        """One pass; the mean loss."""
        self.net.train()
        total, batches = 0.0, list(self._batches(cases, rng))
        for i, rows in enumerate(batches):
            done = (epoch + i / len(batches)) / self.config.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * group["share"] * rate(done)
            self.net.noise.seed(int(rng.integers(0, 1 << 62)))
            total += self._step(cases.take(rows))
        return total / len(batches)

    def _batches(self, cases: ClickExamples, rng: np.random.Generator) -> Iterator[np.ndarray]:
        lengths = np.minimum(cases.histories.lengths, self.reads[0])
        size = self.config.batch_size
        order = rng.permutation(len(cases))
        rows = []
        for start in range(0, len(order), POOL * size):
            pool = order[start : start + POOL * size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            rows += [pool[i : i + size] for i in range(0, len(pool), size)]
        yield from (rows[i] for i in rng.permutation(len(rows)))

    def _step(self, cases: ClickExamples) -> float:
        seen = encode_examples(cases, self.reads[0], self.interactions, self.reads[1])
        log_odds_BC, extra = self.net(seen)
        asked_BC = tensor(cases.is_candidate).float()
        wanted_BC = tensor(cases.labels_BC).float()
        each_BC = F.binary_cross_entropy_with_logits(log_odds_BC, wanted_BC, weight=asked_BC, reduction="sum")
        loss = each_BC / asked_BC.sum()
        self.optimizer.zero_grad(set_to_none=True)
        (loss if extra is None else loss + extra).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return float(loss.detach())


def rate(done: float) -> float:
    """Share of the learning rate when this share of all epochs is done: up in a line, down along a half cosine."""
    if done < WARM_UP:
        return max(0.05, done / WARM_UP)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
