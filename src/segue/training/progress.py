"""How far a training is: what is told while it runs, what is kept with its states, what it came to."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where a training stands; handed to the callback after every step that is worth a look."""

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
    """What a training did, besides the weights it left in the net."""

    epochs: int
    """Epochs run."""
    best_epoch: int
    """The one whose weights the net holds, counted from 1."""
    validations: tuple[float, ...]
    losses: tuple[float, ...]
    events_per_s: float


@dataclass
class TrainingProgressState:
    """How far a training is: plain numbers, saved with every checkpoint."""

    epoch: int = 0
    """Whole epochs behind it."""
    batch: int = 0
    """Batches of the present epoch behind it."""
    total: float = 0.0
    seen: int = 0
    """The present epoch's summed loss and targets."""
    events: int = 0
    """The present epoch's inputs."""
    losses: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    best_epoch: int = 0
    finished: bool = False
    trained_s: float = 0.0
