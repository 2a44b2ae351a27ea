"""The loop: batches in, weights out; it stops, keeps the best and tells its progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.training.batches import Batch, Batches
from segue.training.config import TrainingConfig
from segue.training.losses import softmax_loss
from segue.training.negatives import Candidates, Sampler, every_item
from segue.training.nets.tied import TiedNet, TorchScorer
from segue.training.optimizers import RowAdam


@dataclass(frozen=True)
class Progress:
    """Where a training stands; handed to the callback after every step that is worth a look."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    validation: float | None
    events_per_s: float
    left_s: float


@dataclass(frozen=True)
class Outcome:
    """What a training did, besides the weights it left in the net."""

    epochs: int
    """Epochs run."""
    best_epoch: int
    """The one whose weights the net holds, counted from 1."""
    validations: tuple[float, ...]
    losses: tuple[float, ...]
    events_per_s: float


class Trainer:
    """Trains one net on one log."""

    def __init__(self, net: TiedNet, sequences: Sequences, config: TrainingConfig, seed: int) -> None:
        self.net = net
        self.config = config
        self.seed = seed
        known = sequences.known()
        self.batches = Batches(known, net.length, config.batch_tokens, seed)
        size = len(net.table_VD)
        full = config.loss == "full" or (config.loss == "auto" and size <= 30_000)
        _, where = known.positions()
        counts_V = np.bincount(known.items[where], minlength=size)
        self.every = every_item(size) if full else None
        self.sampler = Sampler(counts_V, config.negatives, config.negative_power)
        self.rows = RowAdam(net.table_VD)
        self.encoder = torch.optim.AdamW(
            net.encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        self.dtype = resolve_precision(config.precision)
        self.step = 0

    def run(
        self,
        validate: Callable[[Scorer], float] | None = None,
        progress: Callable[[Progress], None] | None = None,
        *,
        stop_after: int | None = None,
    ) -> Outcome:
        """Trains, and leaves the best weights (by ``validate``; the last ones where there is none) in the net.

        ``stop_after`` ends the run behind that epoch, on the learning-rate curve of the whole run."""
        validations: list[float] = []
        losses: list[float] = []
        best: dict[str, Tensor] | None = None
        best_epoch = 0
        trained_s = 0.0
        for epoch in range(min(self.config.epochs, stop_after or self.config.epochs)):
            started = time.perf_counter()
            losses.append(self._epoch(epoch, validations, progress))
            trained_s += time.perf_counter() - started
            if validate is None:
                best_epoch = epoch + 1
                continue
            validations.append(validate(TorchScorer(self.net)))
            if validations[-1] >= max(validations):
                best, best_epoch = self._weights(), epoch + 1
            elif epoch + 1 - best_epoch >= self.config.patience:
                break
        if best is not None:
            self._restore(best)
        done = len(losses) * self.batches.num_targets
        return Outcome(len(losses), best_epoch, tuple(validations), tuple(losses), done / max(trained_s, 1e-9))

    def _epoch(self, epoch: int, validations: list[float], progress: Callable[[Progress], None] | None) -> float:
        plan = len(self.batches.plan(epoch))
        steps = plan * self.config.epochs
        total, seen = 0.0, 0
        started = time.perf_counter()
        for batch in self.batches.epoch(epoch):
            loss = self._step(batch, min(1.0, self.step / steps))
            if not np.isfinite(loss):
                raise ValueError(f"The loss is {loss} at step {self.step}: lower learning_rate and train again.")
            total += loss * batch.num_targets
            seen += batch.num_targets
            self.step += 1
            if progress is not None:
                rate = seen / (time.perf_counter() - started)
                left_s = (self.batches.num_targets * (self.config.epochs - epoch) - seen) / rate
                last = validations[-1] if validations else None
                progress(Progress(epoch, self.config.epochs, self.step, steps, total / seen, last, rate, left_s))
        return total / seen

    def _step(self, batch: Batch, done: float) -> float:
        net = self.net
        net.train()
        net.noise.seed(self.seed * 1_000_003 + self.step)
        candidates = self._candidates()
        inputs_BT = torch.from_numpy(batch.inputs_BT.astype(np.int64))
        targets_BT = torch.from_numpy(batch.targets_BT.astype(np.int64))
        mask_BT = targets_BT != PAD
        targets_N = targets_BT[mask_BT]
        items_K = torch.from_numpy(candidates.items)
        touched_R = None
        if self.every is None:
            touched_R = torch.unique(torch.cat([inputs_BT.flatten(), targets_N, items_K]))
            inputs_BT = torch.searchsorted(touched_R, inputs_BT)
            targets_N = torch.searchsorted(touched_R, targets_N)
            items_K = torch.searchsorted(touched_R, items_K)
        table = net.table_VD if touched_R is None else net.table_VD[touched_R]
        table = table.detach().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            hidden_ND = net.encoder(net.embed(table, inputs_BT))[mask_BT]
        query = net.query(hidden_ND.float())
        loss = softmax_loss(
            query, net.key(table), targets_N, items_K, torch.from_numpy(candidates.offset), precision=self.dtype
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.encoder.parameters(), self.config.clip)
        rate = self.config.learning_rate * min(1.0, done / 0.05 + 0.02) * _half_cosine(done)
        for group in self.encoder.param_groups:
            group["lr"] = rate
        self.encoder.step()
        self.encoder.zero_grad(set_to_none=True)
        assert table.grad is not None
        self.rows.step(touched_R, table.grad, rate)
        return float(loss.detach())

    def _candidates(self) -> Candidates:
        if self.every is not None:
            return self.every
        return self.sampler.draw(np.random.default_rng((self.seed, 1, self.step)))

    def _weights(self) -> dict[str, Tensor]:
        weights = {name: value.detach().clone() for name, value in self.net.encoder.state_dict().items()}
        return {**weights, "table": self.net.table_VD.clone()}

    def _restore(self, weights: dict[str, Tensor]) -> None:
        self.net.table_VD.copy_(weights.pop("table"))
        self.net.encoder.load_state_dict(weights)


def _half_cosine(done: float) -> float:
    return float(0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * done)))


def resolve_precision(name: str) -> torch.dtype:
    """bfloat16 only where it is asked for, or where the processor has instructions for it."""
    if name == "auto":
        name = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
