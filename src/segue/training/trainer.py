"""The loop: batches in, weights out; it stops, keeps the best and tells its progress."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from segue.data.catalog import PAD
from segue.data.sequences import Sequences, pieces
from segue.models.rows import item_counts
from segue.models.scorer import Scorer
from segue.training.batches import Batches
from segue.training.checkpoint import Checkpoint, State
from segue.training.config import TrainingConfig
from segue.training.nets.encoder import Steps
from segue.training.nets.tied import TiedNet, TorchScorer
from segue.training.objective import Objective
from segue.training.optimizers import optimizers
from segue.training.tasks import Batch
from segue.training.team import Team


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


@dataclass
class Run:
    """How far a training is: plain numbers, saved with every checkpoint."""

    epoch: int = 0
    """Whole epochs behind it."""
    batch: int = 0
    """Batches of the present epoch behind it."""
    total: float = 0.0
    seen: int = 0
    """The present epoch's summed loss and targets."""
    events: int = 0
    """The present epoch's inputs."""
    losses: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    best_epoch: int = 0
    finished: bool = False
    trained_s: float = 0.0


class Trainer:
    """Trains one net on one log."""

    def __init__(
        self, net: TiedNet, sequences: Sequences, config: TrainingConfig, seed: int, team: Team | None = None
    ) -> None:
        self.net = net
        self.config = config
        self.seed = seed
        self.team = team or Team()
        known = sequences.known()
        self.batches = Batches(known, net.task, config.batch_tokens, seed)
        self.objective = Objective(config, item_counts(known, len(net.table_VD)), seed, net.table_VD.shape[1])
        net.noise.to(net.device)
        self.rows, self.encoder = optimizers(config, net.table_VD, net.encoder.parameters())
        self.dtype = resolve_precision(config.precision, net.device)
        self.step = 0
        self.run_so_far = Run()
        self.best: dict[str, Tensor] | None = None

    def run(
        self,
        validate: Callable[[Scorer], float] | None = None,
        progress: Callable[[Progress], None] | None = None,
        *,
        stop_after: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Outcome:
        """Trains, and leaves the best weights (by ``validate``; the last ones where there is none) in the net.

        ``stop_after`` ends the run behind that epoch, on the learning-rate curve of the whole run. With a
        ``checkpoint`` the training goes on from the state in it, to the same bits as if it had never stopped."""
        if checkpoint is not None:
            self._go_on_from(checkpoint)
        run = self.run_so_far
        last = min(self.config.epochs, stop_after or self.config.epochs)
        while run.epoch < last and not run.finished:
            self._epoch(progress, checkpoint)
            if validate is None:
                run.best_epoch = run.epoch
            else:
                run.validations.append(self.team.agree(lambda: validate(TorchScorer(self.net))))
                if run.validations[-1] >= max(run.validations):
                    self.best, run.best_epoch = self._weights(), run.epoch
                run.finished = run.epoch - run.best_epoch >= self.config.patience
            if checkpoint is not None and self.team.leads:
                checkpoint.save(self.state())
        if self.best is not None:
            self._restore(self.best)
        done = len(run.losses) * self.batches.num_events
        rate = done / max(run.trained_s, 1e-9)
        return Outcome(len(run.losses), run.best_epoch, tuple(run.validations), tuple(run.losses), rate)

    def _epoch(self, progress: Callable[[Progress], None] | None, checkpoint: Checkpoint | None) -> None:
        """One epoch, or the rest of one."""
        run = self.run_so_far
        steps = self.batches.num_batches * self.config.epochs
        for batch in self.batches.epoch(run.epoch, skip=run.batch):
            started = time.perf_counter()
            loss = self.train_step(batch, min(1.0, self.step / steps))
            if not np.isfinite(loss):
                raise ValueError(f"The loss is {loss} at step {self.step}: lower learning_rate and train again.")
            run.total += loss * batch.num_targets
            run.seen += batch.num_targets
            run.events += batch.num_events
            self.step += 1
            run.batch += 1
            run.trained_s += time.perf_counter() - started
            # The clock of the process that writes decides; a Ctrl-C may reach any of them.
            if checkpoint is not None and self.team.any(checkpoint.due if self.team.leads else checkpoint.stop):
                if self.team.leads:
                    checkpoint.save(self.state())
                if self.team.any(checkpoint.stop):
                    raise KeyboardInterrupt
            if progress is not None:
                progress(self._progress(steps))
        run.losses.append(run.total / run.seen)
        run.epoch, run.batch, run.total, run.seen, run.events = run.epoch + 1, 0, 0.0, 0, 0

    def _progress(self, steps: int) -> Progress:
        run = self.run_so_far
        events = self.batches.num_events
        rate = (run.epoch * events + run.events) / max(run.trained_s, 1e-9)
        left_s = (events * (self.config.epochs - run.epoch) - run.events) / rate
        last = run.validations[-1] if run.validations else None
        return Progress(run.epoch, self.config.epochs, self.step, steps, run.total / run.seen, last, rate, left_s)

    def state(self) -> State:
        """Everything that the rest of the run depends on; random draws depend on (seed, epoch, step) alone."""
        tensors = {f"net.{name}": value for name, value in self._weights().items()}
        tensors |= {f"rows.{name}": value for name, value in self.rows.state().items()}
        for i, slot in enumerate(self.encoder.state_dict()["state"].values()):
            tensors |= {f"encoder.{i}.{name}": value for name, value in slot.items()}
        tensors |= {f"best.{name}": value for name, value in (self.best or {}).items()}
        numbers = {**asdict(self.run_so_far), "step": self.step, "threads": torch.get_num_threads()}
        return State({name: value.contiguous() for name, value in tensors.items()}, {**numbers, "is": self._identity()})

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.load()
        if state is None:
            return
        if state.numbers["is"] != self._identity():
            raise ValueError(f"{checkpoint.path} belongs to another training: its data, settings or seed differ.")
        # Sums are split among threads: another number of them would round differently.
        torch.set_num_threads(state.numbers["threads"])
        names = {f.name for f in fields(Run)}
        self.run_so_far = Run(**{name: value for name, value in state.numbers.items() if name in names})
        self.step = state.numbers["step"]
        self._restore(_under("net.", state.tensors))
        self.rows.load(_under("rows.", state.tensors))
        self.best = _under("best.", state.tensors) or None
        slots = self.encoder.state_dict()
        count = len(slots["param_groups"][0]["params"])
        slots["state"] = {i: own for i in range(count) if (own := _under(f"encoder.{i}.", state.tensors))}
        self.encoder.load_state_dict(slots)

    def _identity(self) -> str:
        """What must be equal for a state to be this training's."""
        digest = hashlib.sha256(repr((self.config, self.seed, self.net.length, self.net.temperature)).encode())
        log = self.batches.sequences
        times = () if log.times is None else (log.times,)
        for array in (log.items, log.starts, log.stops, *times):
            for piece in pieces(array):
                digest.update(np.ascontiguousarray(piece).data)
        shapes = [(name, tuple(value.shape)) for name, value in self._weights().items()]
        digest.update(repr(shapes).encode())
        return digest.hexdigest()

    def train_step(self, batch: Batch, done: float) -> float:
        """One step on one batch, ``done`` (0 to 1) of the way along the learning-rate curve; returns the loss."""
        net, device = self.net, self.net.device
        net.train()
        net.noise.seed((self.seed * 1_000_003 + self.step) * self.team.size + self.team.rank)
        candidates = self.objective.candidates(batch, self.step)
        touched_R = self._touched(batch, candidates.items)

        def rows_of(items: np.ndarray) -> Tensor:
            found = torch.from_numpy(items.astype(np.int64)).to(device)
            return found if touched_R is None else torch.searchsorted(touched_R, found)

        table = net.table_VD if touched_R is None else net.table_VD[touched_R]
        table = table.detach().requires_grad_()
        share = batch.share(self.team.rank, self.team.size)
        total = torch.zeros((), device=device)
        if share.num_targets:
            query_ND = self._queries(table, share, rows_of(share.inputs_BT), done)
            targets_N = rows_of(share.targets_BT[share.targets_BT != PAD])
            offset_K = torch.from_numpy(candidates.offset).to(device)
            loss = self.objective.loss(
                query_ND, net.key(table), targets_N, rows_of(candidates.items), offset_K, self.dtype
            )
            total = loss * (share.num_targets / batch.num_targets)
            total.backward()
        parameters = list(net.encoder.parameters())
        for tensor in (table, *parameters):
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        total = total.detach()
        self.team.add([table.grad, *(p.grad for p in parameters), total])  # type: ignore[list-item]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)
        rate = self.config.learning_rate * min(1.0, done / 0.05 + 0.02) * _half_cosine(done)
        for group in self.encoder.param_groups:
            group["lr"] = rate
        self.encoder.step()
        self.encoder.zero_grad(set_to_none=True)
        assert table.grad is not None
        self.rows.step(touched_R, table.grad, rate)
        return float(total)

    def _touched(self, batch: Batch, items_K: np.ndarray) -> Tensor | None:
        """The rows of the table that the step reads and writes, ascending; None: all of them."""
        if self.objective.every is not None:
            return None
        touched = np.unique(np.concatenate([batch.inputs_BT.ravel(), batch.targets_BT.ravel(), items_K, [PAD]]))
        return torch.from_numpy(touched.astype(np.int64)).to(self.net.device)

    def _queries(self, table_RD: Tensor, batch: Batch, inputs_BT: Tensor, done: float) -> Tensor:
        """What every target is predicted by, float32 [N, D]."""
        net = self.net
        inside_BT, asked_BT = (
            torch.from_numpy(items != PAD).to(net.device) for items in (batch.inputs_BT, batch.targets_BT)
        )
        times_BS, cuts_B = (
            None if extra is None else torch.from_numpy(extra).to(net.device)
            for extra in (batch.times_BS, batch.cuts_B)
        )
        with torch.autocast(net.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            hidden_ND = net.states(table_RD, Steps(inputs_BT, inside_BT, asked_BT, times_BS, cuts_B, done))
        return net.query(hidden_ND.float())

    def _weights(self) -> dict[str, Tensor]:
        weights = {name: value.detach().clone() for name, value in self.net.encoder.state_dict().items()}
        return {**weights, "table": self.net.table_VD.clone()}

    def _restore(self, weights: dict[str, Tensor]) -> None:
        self.net.table_VD.copy_(weights["table"])
        self.net.encoder.load_state_dict({name: value for name, value in weights.items() if name != "table"})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _half_cosine(done: float) -> float:
    return float(0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * done)))


def resolve_device(name: str) -> torch.device:
    """auto: a GPU where there is one. ValueError for a GPU that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"There is no GPU for device '{name}' here, or this PyTorch cannot use it: take device cpu.")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 only where it is asked for, or where the processor has instructions for it."""
    if name == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        name = "bfloat16" if native else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
