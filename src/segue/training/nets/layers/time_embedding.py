"""The vectors of times under training; which rows an event has is asked of the very function that serves."""

import torch
from torch import Tensor, nn

from segue.data.sequences import NO_TIME
from segue.models.neural.configs.shared import TimeInput
from segue.models.neural.time_features import num_rows, time_rows


class TimeEmbeddingLayer(nn.Module):
    """Torch twin of ``models.clock.Clock``; it starts at zero, so that a net begins as if it knew no times."""

    def __init__(self, inputs: tuple[TimeInput, ...], dim: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.vectors = nn.Parameter(torch.zeros(num_rows(inputs), dim))

    def forward(self, times_BT: Tensor) -> Tensor:
        """[B, T, D] for events at these times, int64, oldest first; NO_TIME where nobody knows."""
        before_BT = torch.full_like(times_BT, NO_TIME)
        before_BT[:, 1:] = times_BT[:, :-1]
        rows = time_rows(times_BT.cpu().numpy(), before_BT.cpu().numpy(), self.inputs)
        return self.vectors[torch.from_numpy(rows).to(self.vectors.device)].sum(dim=2)
