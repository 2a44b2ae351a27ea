"""Settings of NextItNet, dilated causal convolutions with residuals (Yuan et al. 2019)."""

from dataclasses import dataclass
from typing import Annotated

from segue.config.ranges import Range
from segue.models.neural.configs.shared import TimedNetworkConfig


@dataclass(frozen=True)
class NextItNetConfig(TimedNetworkConfig):
    """Size of the network.

    Raises:
        ValueError: a setting lies outside its range, or there is no dilation.
    """

    kernel_size: Annotated[int, Range(ge=1)] = 3
    """Number of positions that one convolution mixes."""
    dilations: Annotated[tuple[int, ...], Range(ge=1)] = (1, 4)
    """Distance between the positions of a convolution, one entry a residual block. The second convolution of the block
    has twice this distance."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the embedded input and on the branch of each block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dilations:
            raise ValueError("dilations must be one or more numbers, got none.")
