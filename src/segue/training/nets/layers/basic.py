"""Small torch layers that the nets share.

Shape letters: B batch, T time step, D hidden size, V catalog size with PAD, H heads, F inner width.
"""

import math

import torch
from torch import Tensor, nn

_ALL_64_BITS = -(2**63)


class DropoutRng:
    """Random bytes for the dropout of a net, from one generator that is reseeded before each step.

    No generator state has to be saved to repeat a step. Bytes are drawn eight at a time, about 10 times faster than one
    Bernoulli draw per element.
    """

    def __init__(self) -> None:
        self._generator = torch.Generator()

    def to(self, device: torch.device) -> None:
        """Draw on ``device`` from now on. Each kind of device has its own random stream."""
        self._generator = torch.Generator(device)

    def seed(self, value: int) -> None:
        """Seed all draws until the next call."""
        self._generator.manual_seed(value)

    def bytes(self, count: int) -> Tensor:
        """Return ``count`` independent uniform bytes, uint8."""
        words = torch.empty(-(-count // 8), dtype=torch.int64, device=self._generator.device)
        words.random_(_ALL_64_BITS, None, generator=self._generator)
        return words.view(torch.uint8)[:count]


class Dropout(nn.Module):
    """Dropout with a probability rounded to 1/256; the other elements are scaled to keep the mean."""

    def __init__(self, probability: float, noise: DropoutRng) -> None:
        super().__init__()
        self.cut = round(probability * 256)
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.cut == 0:
            return x
        keep = self.noise.bytes(x.numel()).view(x.shape) >= self.cut
        return x * (keep.to(x.dtype) * (256 / (256 - self.cut)))


def normal_(module: nn.Module, generator: torch.Generator, std: float = 0.02) -> None:
    """Initialize every matrix with N(0, std), every bias with 0 and every gain of a norm with 1, in place.

    Args:
        module: module with the parameters.
        generator: source of all random numbers.
        std: standard deviation.
    """
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            if parameter.dim() > 1:
                parameter.normal_(0.0, std, generator=generator)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)


def xavier_uniform_(module: nn.Module, generator: torch.Generator) -> None:
    """Initialize every matrix with U(+-sqrt(6 / (in + out))) and every bias with 0, in place.

    The gates of a stacked GRU matrix count as separate matrices.

    Args:
        module: module with the parameters.
        generator: source of all random numbers.
    """
    for parameter in module.parameters():
        with torch.no_grad():
            if parameter.dim() < 2:
                parameter.zero_()
                continue
            gates = parameter.shape[0] // parameter.shape[1] if parameter.shape[0] % parameter.shape[1] == 0 else 1
            fan = parameter.shape[0] // gates + parameter.shape[1]
            bound = math.sqrt(6.0 / fan)
            parameter.uniform_(-bound, bound, generator=generator)


def select_column(x_BTD: Tensor, column_B: Tensor) -> Tensor:
    """Return one position of each row.

    Args:
        x_BTD: any values.
        column_B: int64, column of each row.

    Returns:
        [B, D].
    """
    index_B1D = column_B.view(-1, 1, 1).expand(-1, 1, x_BTD.shape[2])
    return x_BTD.gather(1, index_B1D).squeeze(1)
