"""How a net is trained: settings alone, readable without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainingConfig:
    """How a net is trained."""

    epochs: int = 10
    """Passes over the log, at most."""
    batch_tokens: int = 4096
    """Events in a batch, padding included."""
    learning_rate: float = 3e-3
    """Adam's, after a warm-up over the first twentieth of the steps; falls along a half cosine to a twentieth."""
    loss: Literal["auto", "full", "sampled"] = "auto"
    """Softmax over every item or over drawn ones; auto: full up to 30,000 items."""
    negatives: int = 2048
    """Items drawn for a batch when the loss is sampled."""
    negative_power: float = 0.5
    """They are drawn ~ popularity ** this."""
    weight_decay: float = 0.0
    """Decoupled, on the encoder's matrices."""
    clip: float = 1.0
    """Longest gradient of the encoder; longer ones are shortened to it."""
    patience: int = 3
    """Epochs without a better validation before it stops; without validation every epoch is run."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the large matrix products; auto: bfloat16 where the processor multiplies it natively."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_tokens", "negatives", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
