"""Time embeddings in training. Their rows come from `time_rows`, as in serving."""

import torch
from torch import Tensor, nn

from segue.data.sequences import NO_TIME
from segue.models.neural.configs.shared import TimeInput
from segue.models.neural.time_features import num_rows, time_rows


class TimeEmbeddingLayer(nn.Module):
    """Torch counterpart of ``models.neural.time_features.TimeEmbedding``; all embeddings start at zero."""

    def __init__(self, inputs: tuple[TimeInput, ...], dim: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.embeddings = nn.Parameter(torch.zeros(num_rows(inputs), dim))

    def forward(self, times_BT: Tensor) -> Tensor:
        """Return the sum of each event's time embeddings, [B, T, D].

        ``times_BT``: int64 UTC microseconds, oldest first; NO_TIME for an unknown time.
        """
        before_BT = torch.full_like(times_BT, NO_TIME)
        before_BT[:, 1:] = times_BT[:, :-1]
        rows = time_rows(times_BT.cpu().numpy(), before_BT.cpu().numpy(), self.inputs)
        return self.embeddings[torch.from_numpy(rows).to(self.embeddings.device)].sum(dim=2)
