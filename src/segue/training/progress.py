"""Progress of a training: reports to callbacks, the state saved in checkpoints, and the result."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Progress of a training after a step, as passed to the callback."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    validation: float | None
    events_per_s: float
    left_s: float


@dataclass(frozen=True)
class TrainingResult:
    """Epochs, losses and validations of a finished training."""

    epochs: int
    """Number of epochs run."""
    best_epoch: int
    """Epoch whose weights the net holds, counted from 1."""
    validations: tuple[float, ...]
    losses: tuple[float, ...]
    events_per_s: float


@dataclass
class TrainingProgressState:
    """Counters of a training, saved with every checkpoint."""

    epoch: int = 0
    """Number of finished epochs."""
    batch: int = 0
    """Number of finished batches of the current epoch."""
    loss_sum: float = 0.0
    num_targets: int = 0
    """Number of targets of the current epoch, over which ``loss_sum`` is summed."""
    events: int = 0
    """Number of input events of the current epoch."""
    losses: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    best_epoch: int = 0
    finished: bool = False
    trained_s: float = 0.0
