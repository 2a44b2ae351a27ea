"""How a net is trained: settings alone, readable without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LossConfig:
    """What is minimised, and which items each target is compared with."""

    loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto"
    """full and sampled: softmax over every item or over drawn ones; auto: full up to 30,000 items where memory_gb holds
    it, else sampled; the others, as published, over drawn ones: SASRec's, gSASRec's, GRU4Rec's."""
    negatives: int = 2048
    """Items drawn for a batch, and shared by its targets, when the loss is not full."""
    negative_power: float = 0.5
    """They are drawn ~ popularity ** this; 0: all alike."""
    negatives_from: Literal["popularity", "in-batch", "mixed"] = "popularity"
    """Drawn; or the batch's own targets, and none drawn; or both."""
    log_q: bool = True
    """Whether the sampled softmax undoes the drawing; without that, popular items are held down."""
    hardest: int = 0
    """Look only at each target's n highest-scoring negatives; 0: at all of them."""
    calibration: float = 0.75
    """gbce's t, from 0 (plain BCE) to 1 (probabilities as if every item had been a negative)."""
    score_penalty: float = 1.0
    """Weight of the squares of the negatives' scores in bpr-max."""
    elu: float | None = None
    """bpr-max and top1-max see scores below 0 through an ELU with this alpha; 'none': as they are."""
    memory_gb: float | None = None
    """What a training may take, in 10**9 bytes; 'none': the memory of the machine, or of its control group."""

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ValueError(f"negatives must be at least 1, got {self.negatives}.")
        if self.hardest < 0:
            raise ValueError(f"hardest must be 0 (all) or more, got {self.hardest}.")
        if not 0 <= self.calibration <= 1:
            raise ValueError(f"calibration must be in [0, 1], got {self.calibration}.")
        if self.score_penalty < 0:
            raise ValueError(f"score_penalty must not be negative, got {self.score_penalty}.")
        for name in ("elu", "memory_gb"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, or none, got {getattr(self, name)}.")


@dataclass(frozen=True)
class TrainingConfig(LossConfig):
    """How a net is trained: one flat set of names, the loss's among them."""

    epochs: int = 10
    """Passes over the log, at most."""
    batch_tokens: int = 4096
    """Events in a batch, padding included."""
    optimizer: Literal["adam", "adagrad"] = "adam"
    """adagrad is what GRU4Rec was published with."""
    learning_rate: float = 3e-3
    """After a warm-up over the first twentieth of the steps; falls along a half cosine to a twentieth."""
    momentum: float = 0.0
    """adagrad's, for the item table on the rows that a step touches."""
    weight_decay: float = 0.0
    """Decoupled, on the encoder's matrices."""
    clip: float = 1.0
    """Longest gradient of the encoder; longer ones are shortened to it."""
    patience: int = 3
    """Epochs without a better validation before it stops; without validation every epoch is run."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the large matrix products; auto: bfloat16 where the processor multiplies it natively."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch_tokens", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")
        if self.momentum and self.optimizer != "adagrad":
            raise ValueError(f"momentum is adagrad's; adam has its own, so leave momentum out (got {self.momentum}).")
