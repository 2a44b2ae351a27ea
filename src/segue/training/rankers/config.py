"""How a ranker's net is trained: settings alone, readable without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RankerTrainingConfig:
    """One flat set of names."""

    epochs: int = 8
    """Passes over the cases, at most; negatives are drawn afresh for each."""
    batch_size: int = 512
    """Cases in a batch."""
    learning_rate: float = 4e-3
    """After a warm-up over the first twentieth of the steps; falls along a half cosine to a twentieth."""
    embedding_rate: float = 0.3
    """The item vectors' learning rate as a share of that."""
    weight_decay: float = 1e-4
    """Decoupled, on everything but the item vectors."""
    max_grad_norm: float = 1.0
    """Longest gradient; longer ones are shortened to it."""
    patience: int = 2
    """Epochs without a better AUC on validation before it stops."""
    calibration: Literal["platt", "isotonic"] = "platt"
    """The curve from log-odds to probability, fitted on validation."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        for name in ("embedding_rate", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
