"""Training loop: one net, one log, with early stopping, checkpoints and progress reports."""

import time
from collections.abc import Callable
from dataclasses import asdict, fields

import numpy as np
import torch
from torch import Tensor

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.training.batching.session_parallel import make_batches
from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.checkpoints.identity import training_identity
from segue.training.checkpoints.state_file import TrainingState
from segue.training.config import TrainingConfig
from segue.training.devices import resolve_precision
from segue.training.distributed import ProcessGroup
from segue.training.nets.encoders.encoder import EncoderBatch
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet, TorchScorer
from segue.training.nets.layers.feature_embedding import UsedFeatures
from segue.training.nets.layers.session_states import SessionStates
from segue.training.objective import Objective
from segue.training.optimizers import check_loss, check_weights, optimizers, rate_at, row_optimizer
from segue.training.progress import Progress, TrainingProgressState, TrainingResult
from segue.training.tasks import Batch


class Trainer:
    """Trains one net on one log."""

    def __init__(
        self,
        net: TiedEmbeddingNet,
        sequences: Sequences,
        config: TrainingConfig,
        seed: int,
        process_group: ProcessGroup | None = None,
    ) -> None:
        """Prepare batches, objective and optimizers.

        Args:
            net: an untrained net, on the device to train on.
            sequences: events by user or session, indexed by the net's catalog.
            config: settings of the training.
            seed: seed of batches, negatives and dropout.
            process_group: processes that train together; None: this one alone.
        """
        self.net = net
        self.config = config
        self.seed = seed
        self.process_group = process_group or ProcessGroup()
        known = sequences.drop_unknown()
        self.batches = make_batches(known, net.task, net.encoder, config, seed)
        shape = net.encoder.state_shape
        self.session_states = (
            SessionStates(config.parallel_sessions, shape, net.device)
            if config.parallel_sessions and shape is not None
            else None
        )
        size, columns = net.table_VD.shape
        counts_V = item_counts(known, size)
        offered_V = net.offered_items(counts_V)
        self.objective = Objective(config, counts_V, seed, columns, offered_V=offered_V)
        self.not_offered_V = None if offered_V is None else torch.from_numpy(~offered_V).to(net.device)
        net.noise.to(net.device)
        self.table_optimizer, self.encoder_optimizer = optimizers(config, net.table_VD, net.encoder.parameters())
        self.feature_optimizers = {
            name: row_optimizer(config, side.embeddings_FD) for name, side in net.feature_layers.items()
        }
        self.dtype = resolve_precision(config.precision, net.device)
        self.step = 0
        self.progress_state = TrainingProgressState()
        self.best: dict[str, Tensor] | None = None

    def run(
        self,
        validate: Callable[[Scorer], float] | None = None,
        progress: Callable[[Progress], None] | None = None,
        *,
        stop_after: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> TrainingResult:
        """Train the net, and leave the weights of the best epoch in it.

        Args:
            validate: metric of a scorer, larger is better; None: the last epoch is the best one.
            progress: called after every step.
            stop_after: number of epochs to run, on the learning-rate schedule of the whole training; None: all.
            checkpoint: state to resume from and to save to. A resumed training gives the same bits.

        Returns:
            Epochs, losses and validations of the training.

        Raises:
            ValueError: the loss is not finite, or the checkpoint belongs to another training.
            KeyboardInterrupt: a signal requested the end; the state is saved.
        """
        if checkpoint is not None:
            self._resume(checkpoint)
        run = self.progress_state
        last = min(self.config.epochs, stop_after or self.config.epochs)
        while run.epoch < last and not run.finished:
            self._epoch(progress, checkpoint)
            if validate is None:
                run.best_epoch = run.epoch
            else:
                run.validations.append(self.process_group.broadcast_from_main(lambda: validate(TorchScorer(self.net))))
                if run.validations[-1] >= max(run.validations):
                    self.best, run.best_epoch = self.net.weights(), run.epoch
                run.finished = run.epoch - run.best_epoch >= self.config.patience
            if checkpoint is not None and self.process_group.is_main:
                checkpoint.save(self.state())
        if self.best is not None:
            self.net.load_weights(self.best)
        done = len(run.losses) * self.batches.num_events
        rate = done / max(run.trained_s, 1e-9)
        return TrainingResult(len(run.losses), run.best_epoch, tuple(run.validations), tuple(run.losses), rate)

    def _epoch(self, progress: Callable[[Progress], None] | None, checkpoint: Checkpoint | None) -> None:
        """Train one epoch, or the rest of one."""
        run = self.progress_state
        steps = self.batches.steps(self.config.epochs)
        for batch in self.batches.epoch(run.epoch, skip=run.batch):
            started = time.perf_counter()
            loss = self.train_step(batch, min(1.0, self.step / steps))
            check_loss(loss, self.step)
            run.loss_sum += loss * batch.num_targets
            run.num_targets += batch.num_targets
            run.events += batch.num_events
            self.step += 1
            run.batch += 1
            run.trained_s += time.perf_counter() - started
            # The primary process writes, so its clock decides; a Ctrl-C may reach any process.
            if checkpoint is not None and self.process_group.any(
                checkpoint.due if self.process_group.is_main else checkpoint.stop
            ):
                if self.process_group.is_main:
                    checkpoint.save(self.state())
                if self.process_group.any(checkpoint.stop):
                    raise KeyboardInterrupt
            if progress is not None:
                progress(self._progress(steps))
        check_weights([*self.net.encoder.parameters(), self.net.table_VD], run.epoch + 1)
        run.losses.append(run.loss_sum / run.num_targets)
        run.epoch, run.batch, run.loss_sum, run.num_targets, run.events = run.epoch + 1, 0, 0.0, 0, 0

    def _progress(self, steps: int) -> Progress:
        run = self.progress_state
        events = self.batches.num_events
        rate = (run.epoch * events + run.events) / max(run.trained_s, 1e-9)
        left_s = (events * (self.config.epochs - run.epoch) - run.events) / rate
        last = run.validations[-1] if run.validations else None
        return Progress(
            run.epoch, self.config.epochs, self.step, steps, run.loss_sum / run.num_targets, last, rate, left_s
        )

    def state(self) -> TrainingState:
        """Return the state that the rest of the training depends on; random numbers depend on (seed, epoch, step)."""
        tensors = {f"net.{name}": value for name, value in self.net.weights().items()}
        tensors |= {f"rows.{name}": value for name, value in self.table_optimizer.state().items()}
        for side, rows in self.feature_optimizers.items():
            tensors |= {f"{side}.{name}": value for name, value in rows.state().items()}
        for i, slot in enumerate(self.encoder_optimizer.state_dict()["state"].values()):
            tensors |= {f"encoder.{i}.{name}": value for name, value in slot.items()}
        tensors |= {f"best.{name}": value for name, value in (self.best or {}).items()}
        tensors |= {} if self.session_states is None else {"session_states": self.session_states.states_NLS}
        numbers = {**asdict(self.progress_state), "step": self.step, "threads": torch.get_num_threads()}
        return TrainingState(
            {name: value.contiguous() for name, value in tensors.items()}, {**numbers, "is": self._identity()}
        )

    def _resume(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.load()
        if state is None:
            return
        if state.numbers["is"] != self._identity():
            raise ValueError(f"{checkpoint.path} belongs to another training: its data, settings or seed differ.")
        # Sums are split among threads: another number of them would round differently.
        torch.set_num_threads(state.numbers["threads"])
        names = {f.name for f in fields(TrainingProgressState)}
        self.progress_state = TrainingProgressState(
            **{name: value for name, value in state.numbers.items() if name in names}
        )
        self.step = state.numbers["step"]
        self.net.load_weights(state.tensors_under("net."))
        self.table_optimizer.load(state.tensors_under("rows."))
        for side, rows in self.feature_optimizers.items():
            rows.load(state.tensors_under(f"{side}."))
        self.best = state.tensors_under("best.") or None
        if self.session_states is not None:
            self.session_states.load(state.tensors["session_states"])
        slots = self.encoder_optimizer.state_dict()
        count = len(slots["param_groups"][0]["params"])
        slots["state"] = {i: own for i in range(count) if (own := state.tensors_under(f"encoder.{i}."))}
        self.encoder_optimizer.load_state_dict(slots)

    def _identity(self) -> str:
        return training_identity(self.net, self.batches.sequences, self.config, self.seed)

    def train_step(self, batch: Batch, done: float) -> float:
        """Update the weights on one batch.

        Args:
            batch: inputs and targets, the same in every process.
            done: share of the training that is done, 0 to 1, for the learning-rate schedule.

        Returns:
            The mean loss over the targets of the batch.
        """
        net, device = self.net, self.net.device
        net.train()
        net.noise.seed((self.seed * 1_000_003 + self.step) * self.process_group.size + self.process_group.rank)
        candidates = self.objective.candidates(batch, self.step)
        rows_R = self._table_rows(batch, candidates.items)

        def rows_of(items: np.ndarray) -> Tensor:
            indices = torch.from_numpy(items.astype(np.int64)).to(device)
            return indices if rows_R is None else torch.searchsorted(rows_R, indices)

        table = net.table_VD if rows_R is None else net.table_VD[rows_R]
        table = table.detach().requires_grad_()
        features = None if net.features is None else net.features.select_rows(rows_R)
        contexts, contexts_BT = net.encode_contexts(batch.contexts_BT)
        share = batch.shard(self.process_group.rank, self.process_group.size)
        if self.session_states is not None and share.carry is not None:
            self.session_states.carry_over(share.carry)
        total = torch.zeros((), device=device)
        if share.num_targets:
            items = net.add_features(table, features)
            own_BT = None if contexts_BT is None else contexts_BT[self.process_group.rank :: self.process_group.size]
            added_BTD = net.context_embeddings(contexts, own_BT)
            query_ND = self._queries(items, share, rows_of(share.inputs_BT), added_BTD, done)
            targets_N = rows_of(share.targets_BT[share.targets_BT != PAD])
            offset_K = torch.from_numpy(candidates.offset).to(device)
            loss = self.objective.loss(
                query_ND, net.key(items), targets_N, rows_of(candidates.items), offset_K, self.dtype
            )
            total = loss * (share.num_targets / batch.num_targets)
            total.backward()
        parameters = list(net.encoder.parameters())
        sides = {"feature embeddings": features, "context embeddings": contexts}
        used = {name: side for name, side in sides.items() if side is not None}
        leaves = [table, *parameters, *(side.embeddings_FD for side in used.values())]
        for tensor in leaves:
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        if self.not_offered_V is not None:  # a Seq2Seq net may have sampled them itself
            assert table.grad is not None
            table.grad[self.not_offered_V if rows_R is None else self.not_offered_V[rows_R]] = 0.0
        total = total.detach()
        states = [] if self.session_states is None else [self.session_states.states_NLS]
        self.process_group.all_reduce([*(leaf.grad for leaf in leaves if leaf.grad is not None), total, *states])
        assert table.grad is not None
        self._update_weights(rows_R, table.grad, used, rate_at(self.config, done))
        return float(total)

    def _update_weights(
        self, rows_R: Tensor | None, grad_RD: Tensor, sides: dict[str, UsedFeatures], rate: float
    ) -> None:
        """Apply the gradients of a step to the encoder, the item table and the feature embeddings."""
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(self.net.encoder.parameters()), self.config.max_grad_norm)
        for group in self.encoder_optimizer.param_groups:
            group["lr"] = rate
        self.encoder_optimizer.step()
        self.encoder_optimizer.zero_grad(set_to_none=True)
        self.table_optimizer.step(rows_R, grad_RD, rate)
        for name, side in sides.items():
            assert side.embeddings_FD.grad is not None
            self.feature_optimizers[name].step(side.rows_F, side.embeddings_FD.grad, rate)

    def _table_rows(self, batch: Batch, items_K: np.ndarray) -> Tensor | None:
        """Return the rows of the item table that a step reads and updates, int64 ascending; None: all of them."""
        if self.objective.all_items is not None:
            return None
        rows = np.unique(np.concatenate([batch.inputs_BT.ravel(), batch.targets_BT.ravel(), items_K, [PAD]]))
        return torch.from_numpy(rows.astype(np.int64)).to(self.net.device)

    def _queries(
        self, table_RD: Tensor, batch: Batch, inputs_BT: Tensor, added_BTD: Tensor | None, done: float
    ) -> Tensor:
        """Return the query of every target, float32 [N, D]."""
        net = self.net
        is_event_BT, is_target_BT = (
            torch.from_numpy(items != PAD).to(net.device) for items in (batch.inputs_BT, batch.targets_BT)
        )
        times_BS, cuts_B = (
            None if extra is None else torch.from_numpy(extra).to(net.device)
            for extra in (batch.times_BS, batch.cuts_B)
        )
        with torch.autocast(net.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            steps = EncoderBatch(
                inputs_BT, is_event_BT, is_target_BT, times_BS, cuts_B, added_BTD, done, self.session_states
            )
            hidden_ND = net.target_states(table_RD, steps)
        return net.query(hidden_ND.float())
