"""NextItNet: dilated causal convolutions with residuals (Yuan et al. 2019); settings."""

from dataclasses import dataclass

from segue.models.neural.configs.shared import TimeConfig


@dataclass(frozen=True)
class NextItNetConfig(TimeConfig):
    """The shape of the network."""

    embedding_dim: int = 64
    """Width of item vectors and hidden states."""
    kernel_size: int = 3
    """Positions that one convolution mixes."""
    dilations: tuple[int, ...] = (1, 4)
    """One block each; its two convolutions mix positions this far apart, and twice this far."""
    max_length: int = 50
    """The newest events that are read; older ones are not seen."""
    dropout: float = 0.2
    """On the embedded input and on each block's branch."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embedding_dim", "kernel_size", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must be one or more numbers, at least 1 each, got {list(self.dilations)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
