"""Optimisers for the item table: a step costs what the batch touched, not what the catalogue holds."""

import torch
from torch import Tensor


class RowAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) on chosen rows of a table.

    Moments of untouched rows rest ("lazy" Adam); bias correction counts the steps of each row, so that a rare item's
    first step is as long as a popular item's was. With every row touched at every step this is plain Adam.
    """

    def __init__(self, table_VD: Tensor, betas: tuple[float, float] = (0.9, 0.99), epsilon: float = 1e-8) -> None:
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
