"""Optimizers: sparse row updates of the item table, of cost O(rows used by the batch), and those of the encoder."""

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from segue.training.config import TrainingConfig

BETAS = (0.9, 0.99)
MAX_WEIGHT = 1e18
"""Absolute value of a weight above which products of two embeddings may overflow."""


def check_loss(loss: float, step: int) -> None:
    """Raise ValueError if the loss of a step is not finite."""
    if not math.isfinite(loss):
        raise ValueError(f"The loss is {loss} at step {step}: lower learning_rate and train again.")


def check_weights(weights: Iterable[Tensor], epoch: int) -> None:
    """Raise ValueError if a weight is not finite or so large that scores overflow, after an epoch of finite losses."""
    for weight in weights:
        largest = float(weight.detach().abs().max()) if weight.numel() else 0.0
        if not largest < MAX_WEIGHT:  # also for NaN
            raise ValueError(f"A weight is {largest:g} after epoch {epoch}: lower learning_rate and train again.")


def rate_at(config: TrainingConfig, done: float) -> float:
    """Return the learning rate at a point of the schedule.

    Args:
        config: settings of schedule and peak rate.
        done: share of the training that is done, 0 to 1.
    """
    if config.schedule == "constant":
        return config.learning_rate
    half_cosine = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * done))
    return config.learning_rate * min(1.0, done / 0.05 + 0.02) * half_cosine


class SparseRowOptimizer(Protocol):
    """Optimizer of the rows of one table."""

    def step(self, rows_R: Tensor | None, grad_RD: Tensor, rate: float) -> None:
        """Update rows of the table in place.

        Args:
            rows_R: int64, distinct rows; None: all rows.
            grad_RD: gradient of the loss by these rows.
            rate: learning rate.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save, by name; later steps update them in place."""
        ...

    def load(self, state: dict[str, Tensor]) -> None:
        """Copy in the tensors that ``state`` returned."""
        ...


def optimizers(
    config: TrainingConfig, table_VD: Tensor, parameters: Iterable[nn.Parameter]
) -> tuple[SparseRowOptimizer, torch.optim.Optimizer]:
    """Return the optimizer of the item table and that of the encoder, as the settings name them.

    Args:
        config: settings of the optimizer.
        table_VD: the item table, which is updated in place.
        parameters: parameters of the encoder.
    """
    rows, rate, decay = row_optimizer(config, table_VD), config.learning_rate, config.weight_decay
    if config.optimizer == "adagrad":
        return rows, Adagrad(parameters, rate, momentum=config.momentum, weight_decay=decay)
    return rows, torch.optim.AdamW(parameters, lr=rate, betas=BETAS, weight_decay=decay)


def row_optimizer(config: TrainingConfig, table_VD: Tensor) -> SparseRowOptimizer:
    """Return the optimizer of a table, as the settings name it.

    Args:
        config: settings of the optimizer.
        table_VD: the table, which is updated in place.
    """
    return RowAdagrad(table_VD, config.momentum) if config.optimizer == "adagrad" else RowAdam(table_VD)


class RowAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) on chosen rows of a table.

    Moments of unused rows stay as they are ("lazy" Adam). Bias correction counts the steps of each row, so that the
    first step of a rare item is as long as that of a popular item. If every step uses all rows, this is plain Adam.

    Args:
        table_VD: the table, which is updated in place.
        betas: decay rates of the two moments.
        epsilon: constant added to the root of the second moment.
    """

    def __init__(self, table_VD: Tensor, betas: tuple[float, float] = BETAS, epsilon: float = 1e-8) -> None:
        self.table_VD = table_VD
        self.betas = betas
        self.epsilon = epsilon
        self.mean_VD = torch.zeros_like(table_VD)
        self.square_VD = torch.zeros_like(table_VD)
        self.steps_V = torch.zeros(len(table_VD), dtype=torch.float32, device=table_VD.device)

    def step(self, rows_R: Tensor | None, grad_RD: Tensor, rate: float) -> None:
        """See `SparseRowOptimizer.step`."""
        first, second = self.betas
        if rows_R is None:
            mean, square, steps = self.mean_VD, self.square_VD, self.steps_V
        else:
            mean, square, steps = self.mean_VD[rows_R], self.square_VD[rows_R], self.steps_V[rows_R]
        steps += 1.0
        mean.lerp_(grad_RD, 1.0 - first)
        square.mul_(second).addcmul_(grad_RD, grad_RD, value=1.0 - second)
        root = (square / (1.0 - second**steps)[:, None]).sqrt_().add_(self.epsilon)
        change = mean / (1.0 - first**steps)[:, None] / root
        if rows_R is None:
            self.table_VD.sub_(change, alpha=rate)
            return
        self.mean_VD[rows_R], self.square_VD[rows_R], self.steps_V[rows_R] = mean, square, steps
        self.table_VD.index_add_(0, rows_R, change, alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save, by name; later steps update them in place."""
        return {"mean": self.mean_VD, "square": self.square_VD, "steps": self.steps_V}

    def load(self, state: dict[str, Tensor]) -> None:
        """Copy in the tensors that ``state`` returned."""
        self.mean_VD.copy_(state["mean"])
        self.square_VD.copy_(state["square"])
        self.steps_V.copy_(state["steps"])


EPSILON = 1e-6
"""Constant added to the sum of squares, inside the root."""


def adagrad_step(
    weight: Tensor, grad: Tensor, square: Tensor, velocity: Tensor | None, *, rate: float, momentum: float
) -> None:
    """Take one step of Adagrad (Duchi et al. 2011) in place: the gradient over the root of the sum of all squares.

    With ``velocity`` the step is rate * scaled gradient + momentum * the previous step (heavy ball, Polyak 1964, on the
    scaled gradient), as GRU4Rec was published.

    Args:
        weight: the weights to update.
        grad: their gradient.
        square: sum of squared gradients, updated as well.
        velocity: previous step, updated as well; None: no momentum.
        rate: learning rate.
        momentum: share of the previous step in this one.
    """
    square.addcmul_(grad, grad)
    change = grad * (square + EPSILON).rsqrt_() * rate
    if velocity is not None:
        change = velocity.mul_(momentum).add_(change)
    weight.sub_(change)


class RowAdagrad:
    """Adagrad with momentum on chosen rows of a table; sums and velocities of unused rows stay as they are.

    Args:
        table_VD: the table, which is updated in place.
        momentum: share of a row's previous step in its next one; 0: none.
    """

    def __init__(self, table_VD: Tensor, momentum: float = 0.0) -> None:
        self.table_VD = table_VD
        self.momentum = momentum
        self.square_VD = torch.zeros_like(table_VD)
        self.velocity_VD = torch.zeros_like(table_VD) if momentum else None

    def step(self, rows_R: Tensor | None, grad_RD: Tensor, rate: float) -> None:
        """See `SparseRowOptimizer.step`."""
        tables = [t for t in (self.table_VD, self.square_VD, self.velocity_VD) if t is not None]
        used = tables if rows_R is None else [table[rows_R] for table in tables]
        weight, square, *rest = used
        adagrad_step(weight, grad_RD, square, rest[0] if rest else None, rate=rate, momentum=self.momentum)
        if rows_R is not None:
            for table, rows in zip(tables, used, strict=True):
                table[rows_R] = rows

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save, by name; later steps update them in place."""
        velocity = {} if self.velocity_VD is None else {"velocity": self.velocity_VD}
        return {"square": self.square_VD, **velocity}

    def load(self, state: dict[str, Tensor]) -> None:
        """Copy in the tensors that ``state`` returned."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


class Adagrad(torch.optim.Optimizer):
    """Adagrad with momentum on whole parameters, with decoupled weight decay.

    Args:
        parameters: parameters to update.
        lr: learning rate.
        momentum: share of the previous step in the next one; 0: none.
        weight_decay: decoupled decay, as a share of the learning rate.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                own = self.state[weight]
                if not own:
                    own["square"] = torch.zeros_like(weight)
                    if group["momentum"]:
                        own["velocity"] = torch.zeros_like(weight)
                weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                options = {"rate": group["lr"], "momentum": group["momentum"]}
                adagrad_step(weight, weight.grad, own["square"], own.get("velocity"), **options)
