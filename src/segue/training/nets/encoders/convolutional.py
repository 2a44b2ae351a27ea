"""Convolutional torch encoders, both causal: Caser (Tang & Wang 2018) and NextItNet (Yuan et al. 2019).

Shape letters as in ``layers/basic.py``; L events of a sliding window, C filters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.neural.configs.caser import CaserConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.training.nets.encoders.encoder import SequenceEncoder
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_


class CausalConvolution(nn.Module):
    """Causal convolution over the last ``kernel`` positions, ``dilation`` apart.

    It is one matrix product over shifted copies side by side, which is faster on a CPU than a convolution.
    """

    def __init__(self, dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.dilation = dilation
        self.mix = nn.Linear(kernel * dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the output at every position, [B, T, D]."""
        return self.mix(torch.cat(shift_right(x_BTD, self.kernel, self.dilation), dim=-1))


def shift_right(x_BTD: Tensor, count: int, dilation: int = 1) -> list[Tensor]:
    """Return the events at distances (count - 1) * dilation, ..., dilation, 0 before each position.

    Args:
        x_BTD: embedded events.
        count: number of shifts.
        dilation: distance between two shifts.

    Returns:
        ``count`` times [B, T, D], the oldest first; zeros before the first event.
    """
    padded = F.pad(x_BTD, (0, 0, (count - 1) * dilation, 0))
    return [padded[:, i * dilation : i * dilation + x_BTD.shape[1]] for i in range(count)]


class DilatedBlock(nn.Module):
    """Residual block of two dilated convolutions, the second twice as wide (Yuan et al. 2019, section 3.4).

    Differs: normalized before each convolution, not after it.
    """

    def __init__(self, dim: int, kernel: int, dilation: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm_near = nn.LayerNorm(dim)
        self.near = CausalConvolution(dim, kernel, dilation)
        self.norm_far = nn.LayerNorm(dim)
        self.far = CausalConvolution(dim, kernel, 2 * dilation)
        self.dropout = dropout

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the output at every position, [B, T, D]."""
        near_BTD = self.near(F.relu(self.norm_near(x_BTD)))
        return x_BTD + self.dropout(self.far(F.relu(self.norm_far(near_BTD))))


class NextItNetEncoder(SequenceEncoder):
    """Stack of dilated causal convolutions."""

    def __init__(self, config: NextItNetConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout, noise)
        self.blocks = nn.ModuleList(
            DilatedBlock(config.embedding_dim, config.kernel_size, dilation, self.dropout)
            for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.embedding_dim)
        normal_(self, generator)

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None) -> Tensor:
        """See `SequenceEncoder`."""
        x_BTD = self.dropout(x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)


class CaserEncoder(SequenceEncoder):
    """Convolutions over the last L events as an image of L rows and D columns, at every position.

    Horizontal filters cover h = 1 ... L neighboring rows and keep their largest output in the window. Vertical filters
    weight the L rows (Tang & Wang 2018, section 3.2). A fully connected layer mixes both. Differs: every position is
    trained, not only the last one.
    """

    def __init__(self, config: CaserConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.window = config.window
        self.dropout = Dropout(config.dropout, noise)
        self.horizontal = nn.ModuleList(
            nn.Linear(height * config.embedding_dim, config.num_horizontal_filters)
            for height in range(1, config.window + 1)
        )
        self.vertical = nn.Linear(config.window, config.num_vertical_filters, bias=False)
        self.mix = nn.Linear(
            config.window * config.num_horizontal_filters + config.num_vertical_filters * config.embedding_dim,
            config.embedding_dim,
        )
        self.merge = nn.Linear(config.embedding_dim, config.embedding_dim)
        self.norm = nn.LayerNorm(config.embedding_dim)
        normal_(self, generator, std=0.05)

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None) -> Tensor:
        """See `SequenceEncoder`."""
        rows = shift_right(x_BTD, self.window)
        horizontal = [self._max_outputs(x_BTD, i + 1, filters) for i, filters in enumerate(self.horizontal)]
        vertical = self.vertical(torch.stack(rows, dim=-1)).flatten(2)
        mixed = F.relu(self.mix(self.dropout(torch.cat([*horizontal, vertical], dim=-1))))
        return self.norm(x_BTD + self.merge(mixed))

    def _max_outputs(self, x_BTD: Tensor, height: int, filters: nn.Module) -> Tensor:
        """Return the largest output of each filter over its positions in the window, [B, T, C]."""
        padded_BTD = F.pad(x_BTD, (0, 0, self.window - height, 0))
        outputs_BTC = F.relu(filters(torch.cat(shift_right(padded_BTD, height), dim=-1)))
        time = x_BTD.shape[1]
        return torch.stack([outputs_BTC[:, i : i + time] for i in range(self.window - height + 1)]).amax(dim=0)
