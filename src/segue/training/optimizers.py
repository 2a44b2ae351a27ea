"""Optimizers: for the item table such that a step costs what the batch touched, and for the encoder beside it."""

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from segue.training.config import TrainingConfig

BETAS = (0.9, 0.99)


def rate_at(config: TrainingConfig, done: float) -> float:
    """The learning rate ``done`` (0 to 1) of the way through a training."""
    if config.schedule == "constant":
        return config.learning_rate
    half_cosine = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * done))
    return config.learning_rate * min(1.0, done / 0.05 + 0.02) * half_cosine


class SparseRowOptimizer(Protocol):
    """Moves rows of one table."""

    def step(self, rows_R: Tensor | None, grad_RD: Tensor, rate: float) -> None:
        """Moves the rows (None: all of them) against their gradient."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The tensors to save; they are updated in place by later steps."""
        ...

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from what ``state`` gave."""
        ...


def optimizers(
    config: TrainingConfig, table_VD: Tensor, parameters: Iterable[nn.Parameter]
) -> tuple[SparseRowOptimizer, torch.optim.Optimizer]:
    """The table's and the encoder's, by the setting's name."""
    rows, rate, decay = row_optimizer(config, table_VD), config.learning_rate, config.weight_decay
    if config.optimizer == "adagrad":
        return rows, Adagrad(parameters, rate, momentum=config.momentum, weight_decay=decay)
    return rows, torch.optim.AdamW(parameters, lr=rate, betas=BETAS, weight_decay=decay)


def row_optimizer(config: TrainingConfig, table_VD: Tensor) -> SparseRowOptimizer:
    """A table's, by the setting's name."""
    return RowAdagrad(table_VD, config.momentum) if config.optimizer == "adagrad" else RowAdam(table_VD)


class RowAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) on chosen rows of a table.

    Moments of untouched rows rest ("lazy" Adam); bias correction counts the steps of each row, so that a rare item's
    first step is as long as a popular item's was. With every row touched at every step this is plain Adam.
    """

    def __init__(self, table_VD: Tensor, betas: tuple[float, float] = BETAS, epsilon: float = 1e-8) -> None:
        self.table_VD = table_VD
        self.betas = betas
        self.epsilon = epsilon
        self.mean_VD = torch.zeros_like(table_VD)
        self.square_VD = torch.zeros_like(table_VD)
        self.steps_V = torch.zeros(len(table_VD), dtype=torch.float32, device=table_VD.device)

    def step(self, rows_R: Tensor | None, grad_RD: Tensor, rate: float) -> None:
        """Moves the rows (None: all of them) against their gradient."""
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
        """The tensors to save; they are updated in place by later steps."""
        return {"mean": self.mean_VD, "square": self.square_VD, "steps": self.steps_V}

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from what ``state`` gave."""
        self.mean_VD.copy_(state["mean"])
        self.square_VD.copy_(state["square"])
        self.steps_V.copy_(state["steps"])


EPSILON = 1e-6
"""Beside the sum of squares, inside the root."""


def adagrad_step(
    weight: Tensor, grad: Tensor, square: Tensor, velocity: Tensor | None, how: tuple[float, float]
) -> None:
    """One step of Adagrad (Duchi et al. 2011) in place: the gradient over the root of the sum of all squares so far.

    ``how`` is rate and momentum: with ``velocity`` the step is rate * scaled gradient + momentum * the step before it
    (heavy ball, Polyak 1964, on the scaled gradient), which is what GRU4Rec was published with.
    """
    rate, momentum = how
    square.addcmul_(grad, grad)
    change = grad * (square + EPSILON).rsqrt_() * rate
    if velocity is not None:
        change = velocity.mul_(momentum).add_(change)
    weight.sub_(change)


class RowAdagrad:
    """Adagrad with momentum on chosen rows of a table; sums and velocities of untouched rows rest."""

    def __init__(self, table_VD: Tensor, momentum: float = 0.0) -> None:
        self.table_VD = table_VD
        self.momentum = momentum
        self.square_VD = torch.zeros_like(table_VD)
        self.velocity_VD = torch.zeros_like(table_VD) if momentum else None

    def step(self, rows_R: Tensor | None, grad_RD: Tensor, rate: float) -> None:
        """Moves the rows (None: all of them) against their gradient."""
        tables = [t for t in (self.table_VD, self.square_VD, self.velocity_VD) if t is not None]
        at_hand = tables if rows_R is None else [table[rows_R] for table in tables]
        weight, square, *rest = at_hand
        adagrad_step(weight, grad_RD, square, rest[0] if rest else None, (rate, self.momentum))
        if rows_R is not None:
            for table, rows in zip(tables, at_hand, strict=True):
                table[rows_R] = rows

    def state(self) -> dict[str, Tensor]:
        """The tensors to save; they are updated in place by later steps."""
        velocity = {} if self.velocity_VD is None else {"velocity": self.velocity_VD}
        return {"square": self.square_VD, **velocity}

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from what ``state`` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


class Adagrad(torch.optim.Optimizer):
    """The same on whole parameters, with decoupled weight decay."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient."""
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
                adagrad_step(weight, weight.grad, own["square"], own.get("velocity"), (group["lr"], group["momentum"]))
